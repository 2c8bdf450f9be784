"""``evaluate``: one model and what it is compared with on the same data, side by side.

What is given by name is opened here, and closed again; what the caller opened stays open.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trtqat.checks import check_choice, check_kind, check_members
from trtqat.data.batches import Dataset
from trtqat.data.dataset import first, is_random, open_dataset
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.baseline import named_baseline
from trtqat.evaluation.contenders import Contender, Measured, Role
from trtqat.evaluation.locate import LocateOptions
from trtqat.evaluation.measure import measure
from trtqat.evaluation.metrics.asked import ask_metrics
from trtqat.evaluation.open_graph import open_graph_baseline
from trtqat.evaluation.open_pytorch import OpenOptions, open_pytorch
from trtqat.evaluation.open_sizes import sizes_for, take_sizes
from trtqat.evaluation.options import EvaluateOptions, with_fields
from trtqat.evaluation.report import Report
from trtqat.evaluation.rivals import (
    open_fake_quantized,
    open_reference,
    open_rivals,
    parse_rivals,
)
from trtqat.exporting.source import ModelSource
from trtqat.plan.sizes import sizes_in_words
from trtqat.runtime.opening import open as open_model
from trtqat.runtime.protocol import Model, ObservableModel

if TYPE_CHECKING:
    from trtqat.runtime.pytorch import PyTorchPrecision

_LOG = logging.getLogger(__name__)

# What tells an opened model, and a data set, from anything else.
_OF_MODEL = ("session", "batch_range")
_OF_DATA = ("__len__", "batch", "name")
_Opened = TypeVar("_Opened", bound=Model)
_FAKE_QUANTIZED = "trtqat.Torch('model.py:qat', checkpoint='qat.pt')"


def evaluate(
    model: Model | str | Path,
    data: Dataset | str | Path,
    options: EvaluateOptions | None = None,
    *,
    baseline: Model | ModelSource | Measured | str | Path | None = None,
    baseline_precision: PyTorchPrecision = "fp32",
    rivals: str | Sequence[str | Model] = (),
    fake_quantized: ModelSource | ObservableModel | str | Path | None = None,
    steps: Sequence[Model] = (),
    reference: bool = False,
    locate: bool = False,
    limit: int | None = None,
    opening: OpenOptions | None = None,
    progress: Progress | None = None,
    **fields: Any,  # noqa: ANN401
) -> Report:
    """Measures accuracy over every image, and latency and throughput at given batch sizes.

    Args:
        model: An engine or a graph, opened or as a path.
        data: Data that fits the model's inputs, or what names it, as ``"npz:test.npz"``.
        options: What to measure and to demand.
        baseline: What it is compared with: a PyTorch model by its source or pointer, an ONNX file,
            any opened model, or the path of a report that an earlier evaluation wrote. What runs on
            another kind of device is not timed, nor an ONNX file beside an engine.
        baseline_precision: Arithmetic of a baseline that is given by its source.
        rivals: What a user might run instead, measured in the same turns: opened models, and names
            as ``"fp16,torch-fp16"``.
        fake_quantized: The quantization-aware model that was exported, by its source or
            pointer, or opened: a step between the baseline and the model, run for accuracy alone.
        steps: What else lies between the two.
        reference: Whether an engine's graph on ONNX Runtime is the last step.
        locate: Whether to find the layers in which accuracy goes.
        limit: Take only the first so many images.
        opening: How to open what is given by name.
        progress: Called with what is done and its total, of each part anew.
        **fields: Fields of ``EvaluateOptions``, instead of those of ``options``.

    Raises:
        UsageError: The batch size is outside of a model's range, a gate lacks its figure, or what
            is asked for does not belong to such a model.
        DataError: The data is empty or does not fit.
        SourceError: A PyTorch model cannot be loaded.
        InferenceError: A runtime failed.
        TrtqatError: Something cannot be opened or located; the class says why.
    """
    options = with_fields(options, fields)
    # Before anything is loaded, which takes longer.
    asked = ask_metrics(options.metrics, options.max_drop)
    opening = OpenOptions() if opening is None else opening
    check_kind("opening", opening, OpenOptions, "trtqat.evaluation.open_pytorch.OpenOptions()")
    check_choice("baseline_precision", baseline_precision, ("fp32", "tf32", "fp16"))
    if isinstance(fake_quantized, (str, os.PathLike)):
        fake_quantized = ModelSource(fake_quantized)
    names, opened_rivals = _parted(rivals)
    _check_opened(model, data, baseline, opened_rivals, steps, fake_quantized)
    against = named_baseline(baseline)
    recorded = against if isinstance(against, Measured) else None
    with contextlib.ExitStack() as stack:
        opener = _Opener(model, opening, stack)
        graph = opener.source_graph() if locate else None
        dataset = opener.dataset(data, limit, progress)
        source = against if isinstance(against, ModelSource) else None
        more_rivals = opener.rivals(names, source)
        observed = opener.fake_quantized(fake_quantized)
        checked = opener.reference() if reference else ()
        contenders = [
            Contender(opener.subject, "subject"),
            *(opener.beside(each, "rival") for each in (*opened_rivals, *more_rivals)),
            *(opener.beside(each, "step") for each in (*observed, *steps, *checked)),
            *opener.baseline(against, baseline_precision),
        ]
        where = None
        if graph is not None:
            where = LocateOptions(graph, next(iter(observed), None), opener.timing_cache)
        return measure(
            contenders,
            dataset,
            options,
            asked=asked,
            recorded=recorded,
            locate=where,
            progress=progress,
        )


class _Opener:
    """Opens what is given by name; an exit stack closes it."""

    def __init__(
        self, model: Model | str | Path, options: OpenOptions, stack: contextlib.ExitStack
    ) -> None:
        self._options, self._stack = options, stack
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._graph = None if options.graph is None else Path(options.graph)
        self.timing_cache = None if options.timing_cache is None else Path(options.timing_cache)
        self.subject: Model
        if isinstance(model, (str, os.PathLike)):
            self.subject = self._held(
                open_model(
                    model,
                    cuda_graph=options.cuda_graph,
                    allow_engine_code=options.allow_engine_code,
                    trust=options.trust,
                    flavour=options.flavour,
                    weights=options.weights,
                    graph=options.graph,
                    runtime_cache=options.runtime_cache,
                    plugins=options.plugins,
                )
            )
        else:
            self.subject = model

    def source_graph(self) -> Path:
        """The graph that the subject was built from."""
        return self.subject.source_graph(self._graph)

    def dataset(
        self, data: Dataset | str | Path, limit: int | None, progress: Progress | None
    ) -> Dataset:
        """Data that fits the subject."""
        if isinstance(data, (str, os.PathLike)):
            # Random data has no size of its own.
            is_made = is_random(str(data))
            inputs = self.subject.session_inputs if is_made else self.subject.inputs
            opened = open_dataset(data, inputs, limit=limit, progress=progress)
        else:
            opened = data if limit is None else first(data, limit)
        self._sizes = sizes_for(self.subject, opened)
        engine = self.subject.engine
        if engine is not None and self._sizes:
            # The caller's engine is left as it was.
            self._stack.callback(setattr, engine, "profiles", engine.profiles)
            _LOG.info("'%s' runs at %s.", engine.name, sizes_in_words(self._sizes))
        take_sizes(self.subject, self._sizes)
        return opened

    def rivals(self, names: Sequence[str], source: ModelSource | None) -> list[Model]:
        """Rivals by name."""
        opened = open_rivals(names, self.subject, self._options, source)
        rivals = [self._held(each) for each in opened]
        for each in rivals:
            take_sizes(each, self._sizes)
        return rivals

    def fake_quantized(
        self, given: ModelSource | ObservableModel | None
    ) -> tuple[ObservableModel, ...]:
        """The model that was exported, if it is asked for."""
        if not isinstance(given, ModelSource):
            return () if given is None else (given,)
        return (self._held(open_fake_quantized(given, self.subject)),)

    def reference(self) -> tuple[Model]:
        """The subject's graph on ONNX Runtime."""
        return (self._held(open_reference(self.subject, self._graph)),)

    def baseline(
        self, given: Model | ModelSource | Measured | Path | None, precision: PyTorchPrecision
    ) -> tuple[Contender, ...]:
        """What the subject is compared with, unless that is recorded."""
        if given is None or isinstance(given, Measured):
            return ()
        if isinstance(given, Path):
            graph = self._held(open_graph_baseline(given, self.subject))
            # By the wall clock, which an engine is not timed by.
            return (Contender(graph, "baseline", is_timed=self.subject.device == "cpu"),)
        if not isinstance(given, ModelSource):
            return (self.beside(given, "baseline"),)
        cuda_graph = self._options.cuda_graph
        opened = open_pytorch(given, self.subject, precision=precision, cuda_graph=cuda_graph)
        return (self.beside(self._held(opened), "baseline"),)

    def beside(self, model: Model, role: Role) -> Contender:
        """A contender that is timed with the subject, if both are on one kind of device."""
        return Contender(model, role, is_timed=model.device == self.subject.device)

    def _held(self, opened: _Opened) -> _Opened:
        self._stack.callback(opened.close)
        return opened


def _check_opened(
    model: object,
    data: object,
    baseline: object,
    rivals: Sequence[object],
    steps: object,
    fake_quantized: object,
) -> None:
    """Refuses what is neither a name nor opened, as a plain PyTorch model is neither."""
    by_name = (str, os.PathLike)
    if not isinstance(model, by_name):
        check_members("The model", model, _OF_MODEL, "'model.engine', or what trtqat.open returns")
    if not isinstance(data, by_name):
        check_members("The data", data, _OF_DATA, "'npz:test.npz', or what open_dataset returns")
    example = "trtqat.Torch('model.py:fp32'), or the path of an ONNX file or a report"
    if not (baseline is None or isinstance(baseline, (*by_name, ModelSource, Measured))):
        check_members("The baseline", baseline, _OF_MODEL, example)
    for each in rivals:
        check_members("A rival", each, _OF_MODEL, "a name as 'fp16', or an opened model")
    check_kind("steps", steps, (list, tuple), "[model]")
    for each in steps:  # type: ignore[attr-defined]
        check_members("A step", each, _OF_MODEL, "an opened model")
    if not (fake_quantized is None or isinstance(fake_quantized, ModelSource)):
        members = (*_OF_MODEL, "observe")
        check_members("The model that was exported", fake_quantized, members, _FAKE_QUANTIZED)


def _parted(rivals: str | Sequence[str | Model]) -> tuple[tuple[str, ...], list[Model]]:
    """Names of rivals, and those that are open."""
    if isinstance(rivals, str):
        return parse_rivals(rivals), []
    check_kind("rivals", rivals, (list, tuple), "'fp16,torch-fp16'")
    names = ",".join(each for each in rivals if isinstance(each, str))
    return parse_rivals(names), [each for each in rivals if not isinstance(each, str)]
