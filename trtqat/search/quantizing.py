"""``trtqat.quantize_source``: from an FP32 model and its training data to ``int8.pt``.

An ONNX file is quantized in ``float_graph``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from trtqat.checks import check_kind
from trtqat.data.dataset import files_of, is_random, open_dataset
from trtqat.errors import TrtqatError, UsageError
from trtqat.evaluation.metrics.metric import Metric
from trtqat.exporting.source import ModelSource
from trtqat.extras import require
from trtqat.files import is_file, is_onnx, sha256_of
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.placing.placement import Layer, Target
from trtqat.quant.quantize import Quantized, quantize
from trtqat.quant.recipe import recipe_of
from trtqat.search.accuracy_target import Ladder, find_within_target
from trtqat.search.agreement import OutputAgreement, compare_models, notes_on_outputs, where_far_off
from trtqat.search.asked_metric import asked_metric, parts_of_key
from trtqat.search.counting import LabelledSamples
from trtqat.search.float_model import check_files, check_runs, load_float_model
from trtqat.search.model_inputs import find_inputs
from trtqat.search.options import QuantizeOptions
from trtqat.search.result import QuantizeResult
from trtqat.search.running import Announce, Progress, outputs_of
from trtqat.search.samples import SpreadSamples, open_training
from trtqat.search.saved_search import SavedSearch, digest_of, key_of, state_path
from trtqat.search.sensitivity import LayerSensitivity, measure_sensitivity
from trtqat.tensors import TensorSpec
from trtqat.user_code import in_words
from trtqat.version import __version__

_CALIBRATION = "calibration"


def quantize_source(
    source: str | Path | ModelSource,
    output: str | Path,
    *,
    data: str,
    checkpoint: str | Path | None = None,
    factory_args: Mapping[str, Any] | Sequence[str] = (),
    ema: bool | None = None,
    inputs: Sequence[str | TensorSpec] = (),
    images: int = 512,
    method: Literal["auto", "max", "percentile", "mse", "entropy"] = "auto",
    keep: Sequence[str] = (),
    for_: Target | None = None,
    eval_data: str | None = None,
    metric: str | Metric | None = None,
    max_accuracy_drop: float | None = None,
    sensitivity: bool = False,
    sensitivity_images: int = 64,
    batch_size: int = 32,
    device: str | None = None,
    seed: int = 0,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Quantizes an FP32 model, and finds the layers that must stay in floating point.

    An ONNX file becomes one with explicit Q/DQ, without search: for ``trtqat.build``.

    A search that was interrupted goes on from its state, ``int8.pt.search.json`` beside the
    output, if model, ranges, data and options are the same. A model is the same if it computes the
    same of the same samples.

    Args:
        source: ``"pkg.module:factory"`` or ``"file.py:factory"`` of the FP32 model; or an FP32 ONNX
            file, for which what a model or a search needs is refused: ``checkpoint``,
            ``factory_args``, ``ema``, ``device``, ``max_accuracy_drop``, ``sensitivity``.
        output: The file to write: state dict and recipe, or for an ONNX file ``int8.onnx``.
        data: Training data that was not augmented: ``"npz:train.npz"``, ``"images:DIR"``,
            ``"cifar10:DIR"`` or ``"idx:DIR"`` (their training splits), or ``"file.py:factory"``.
        checkpoint: State dict for the factory's model.
        factory_args: Arguments of the factory, by name or as strings ``NAME=VALUE``.
        ema: Whether to take averaged or raw weights of a checkpoint that has both.
        inputs: One for each input of ``forward``, as ``"images:1x3x224x224"`` or a
            ``TensorSpec``; needed only where the data does not tell.
        images: Samples to choose ranges on, evenly spread over the data.
        method: How ranges are chosen, as for ``trtqat.quantize``.
        keep: Patterns of layers or modules that stay in floating point.
        for_: The TensorRT that it is for; None for what each can build.
        eval_data: Labelled samples to count the accuracy on, which trained nothing.
        metric: What to measure on it instead of right answers, as ``trtqat eval --metric`` takes
            it.
        max_accuracy_drop: What the accuracy may drop, in percentage points; of a metric how much
            worse it may be, in its own unit. The fewest MACs go back to floating point for it.
        sensitivity: Whether to measure what each layer costs also where no target asks for it.
        sensitivity_images: Samples for that, some of ``images``.
        batch_size: Samples at once.
        device: ``"cpu"`` or ``"cuda"``; None for a GPU where PyTorch sees one.
        seed: Which samples are taken; the same seed gives the same file.
        announce: Called with what a part of the search will take, before it begins in earnest.
        progress: Called with the part's name, what is done of it and its total.

    Returns:
        What was written. Its ``check_target`` raises where the target was not reached: then the
        file has all layers in INT8, to train from.

    Raises:
        UsageError: An argument is wrong, or the output cannot be written.
        SourceError: The source is no factory of a PyTorch model, or is quantized already.
        DataError: The data is missing or damaged, does not fit the model, or lacks labels.
        GraphError: The ONNX file is damaged or quantized already.
        MissingError: A package that an ONNX file needs is not installed.
        QuantizerError: A pattern matches nothing, there is nothing to quantize, or a quantizer saw
            nothing or values that are not finite.
    """
    began = time.monotonic()
    options = QuantizeOptions(
        data=data,
        inputs=tuple(inputs),
        images=images,
        method=method,
        keep=keep,
        for_=for_,
        eval_data=eval_data,
        metric=metric,
        max_accuracy_drop=max_accuracy_drop,
        sensitivity=sensitivity,
        sensitivity_images=sensitivity_images,
        batch_size=batch_size,
        device=device,
        seed=seed,
    )
    check_kind("The output", output, (str, os.PathLike), "'int8.pt'")
    if isinstance(source, (str, os.PathLike)) and is_onnx(source):
        of_model = {"checkpoint": checkpoint, "factory_args": factory_args, "ema": ema}
        _check_only_graph(source, {**of_model, "device": device})
        for package in ("onnx", "onnx_ir", "onnxruntime"):
            require(package, extra="onnxruntime", purpose="Quantizing an ONNX file")
        from trtqat.search.float_graph.quantizing import quantize_graph

        return quantize_graph(Path(source), Path(output), options, progress=progress)
    if not isinstance(source, ModelSource):
        source = ModelSource(source, checkpoint, factory_args, ema)
    elif checkpoint is not None or factory_args or ema is not None:
        raise UsageError(
            "A ModelSource has its checkpoint and arguments already.", "Give them there alone."
        )
    output = Path(output)
    asked = asked_metric(options.metric)
    check_files(source, output, options)
    model = load_float_model(source, options)
    specs = find_inputs(model, data, options.specs)
    quantizing = _Quantizing(model, specs, options, asked, announce, progress)
    return quantizing.run(output, began)


def _check_only_graph(source: str | os.PathLike[str], given: Mapping[str, object]) -> None:
    """Refuses for an ONNX file what belongs to a PyTorch model."""
    for name, value in given.items():
        # False says something: ema has three values.
        if value or value is False:
            raise UsageError(
                f"'{source}' is an ONNX graph; {name} is for PyTorch models.",
                f"Leave out {name}, or give the factory of the PyTorch model.",
            )


class _Quantizing:
    """One run: what its steps share."""

    def __init__(
        self,
        model: torch.nn.Module,
        specs: Sequence[TensorSpec],
        options: QuantizeOptions,
        metric: Metric | None,
        announce: Announce | None,
        progress: Progress | None,
    ) -> None:
        self._model = model
        self._specs = specs
        self._options = options
        self._metric = metric
        self._announce = announce
        self._progress = progress
        self._names = [spec.name for spec in specs]
        self._notes: list[str] = []
        self._measured: tuple[LayerSensitivity, ...] = ()

    def run(self, output: Path, began: float) -> QuantizeResult:
        """Quantizes, searches where that was asked for, and writes the file."""
        options = self._options
        # All data is opened before anything takes long.
        chosen = self._samples()
        labelled = self._labelled()
        check_runs(self._model, chosen)
        quantized = self._quantized(chosen)
        few = list(chosen.some(options.sensitivity_images))
        saved = SavedSearch(state_path(output), self._key(quantized, few, labelled))

        def ranking() -> tuple[LayerSensitivity, ...]:
            if not self._measured:
                self._measured = measure_sensitivity(
                    quantized, few, announce=self._announce, progress=self._progress, saved=saved
                )
            return self._measured

        best, ladder = quantized, None
        with saved.kept_for_later():
            if options.sensitivity:
                ranking()
            if labelled is not None and options.max_accuracy_drop is not None:
                found, ladder = find_within_target(
                    quantized,
                    labelled,
                    options.max_accuracy_drop,
                    ranking,
                    metric=self._metric,
                    announce=self._announce,
                    progress=self._progress,
                    saved=saved,
                )
                best = found or quantized
            held = chosen.others()
            outputs = self._outputs(best, held)
        are_held_out = not set(chosen.indices) & set(held.indices)
        # An accuracy that was counted says more than an SQNR.
        is_told = ladder is not None or is_random(options.data)
        self._notes += notes_on_outputs(
            outputs,
            are_held_out=are_held_out,
            way_out=None if is_told else where_far_off(best.recording),
        )
        best.model.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        best.save(output)
        saved.remove()
        return QuantizeResult(
            path=output,
            model=type(self._model).__name__,
            inputs=tuple(str(spec.with_batch(1)) for spec in self._specs),
            images=best.images,
            method=options.method,
            for_=options.for_,
            int8_share=best.int8_share,
            layers=_explained(best.layers, ladder),
            ranges=best.ranges,
            sensitivity=self._measured,
            ladder=ladder,
            size_bytes=output.stat().st_size,
            seconds=time.monotonic() - began,
            notes=tuple(self._notes),
            outputs=outputs,
            are_held_out=are_held_out,
        )

    def _samples(self) -> SpreadSamples:
        options = self._options
        dataset = open_training(options.data, self._specs, options.seed)
        if len(dataset) < options.images:
            self._notes.append(
                f"'{dataset.name}' has {len(dataset)} samples, fewer than the {options.images} "
                "asked for; ranges are chosen on all of them."
            )
        if is_random(options.data):
            self._notes.append(
                "Ranges are chosen on random numbers: the model is good for measuring speed alone."
            )
        return SpreadSamples(dataset, self._names, options.images, options.batch_size, options.seed)

    def _labelled(self) -> LabelledSamples | None:
        options = self._options
        if options.eval_data is None:
            return None
        dataset = open_dataset(options.eval_data, self._specs, seed=options.seed)
        return LabelledSamples(
            dataset, self._names, options.batch_size, are_classes=self._metric is None
        )

    def _quantized(self, chosen: SpreadSamples) -> Quantized:
        options = self._options
        total = len(chosen.indices)

        def seen(images: int) -> None:
            if self._progress is not None:
                self._progress(_CALIBRATION, images, total)

        return quantize(
            self._model,
            chosen,
            method=options.method,
            keep=options.keep,
            for_=options.for_,
            progress=seen,
        )

    def _outputs(self, best: Quantized, held: SpreadSamples) -> tuple[OutputAgreement, ...]:
        """How close the outputs are; a sample that nobody chose does not cost what was made."""
        try:
            return compare_models(self._model, best.model, held, self._progress)
        except Exception as error:
            said = error.problem if isinstance(error, TrtqatError) else f"{in_words(error)}."
            self._notes.append(f"Outputs on samples held out are not compared: {said}")
            return ()

    def _key(
        self,
        quantized: Quantized,
        few: Sequence[tuple[torch.Tensor, ...]],
        labelled: LabelledSamples | None,
    ) -> str:
        options = self._options
        places = [each.places for each in recipe_of(quantized.model).quantizers]
        evaluated: object = None
        if labelled is not None and options.eval_data is not None:
            files = [sha256_of(each) for each in files_of(options.eval_data) if is_file(each)]
            metric = parts_of_key(options.metric)
            evaluated = (options.eval_data, len(labelled), files, *metric)
        computed: object = None
        if options.sensitivity or labelled is not None:
            # A forward that was changed has the same weights.
            with buffers_kept(quantized.model):
                outputs = outputs_of(quantized.model, few[0])
            computed = digest_of([map(torch.from_numpy, outputs.values())])
        return key_of(
            quantized.model,
            places,
            digest_of(few),
            computed,
            evaluated,
            (options.batch_size, options.seed, options.device),
            (__version__, str(torch.__version__)),
        )


def _explained(layers: Sequence[Layer], ladder: Ladder | None) -> tuple[Layer, ...]:
    """The layers, with the reason of those that the search kept."""
    chosen = ladder.chosen if ladder is not None else None
    kept = chosen.kept if chosen is not None else ()
    return tuple(
        replace(layer, kept="for the accuracy target") if layer.name in kept else layer
        for layer in layers
    )
