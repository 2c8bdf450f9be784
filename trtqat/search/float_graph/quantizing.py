"""``quantize_source`` of an ONNX file: float in, explicit Q/DQ out, without the PyTorch model.

read → run once (shapes) → plan → observe → choose ranges → put quantizers in → make pairs →
improve → verify the passes → compare with the float file on samples held out → lint → write
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trtqat.data.dataset import files_of, is_random
from trtqat.errors import QuantizerError, UsageError
from trtqat.exporting.finishing import VerifiedGraph, check_can_finish, finish
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pixels import improve_options, notes_on_weights
from trtqat.exporting.verification.reference import OF_GRAPH, GraphReference
from trtqat.exporting.verification.verify import verify
from trtqat.files import check_not_overwritten, is_onnx, weights_beside
from trtqat.graph.lenses.macs import GraphSummary
from trtqat.graph.lenses.targets import HALF_OPSET, NEWEST_OPSET_OF_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.expand_fake_quantize import expand_fake_quantize
from trtqat.graph.passes.improvements import improve
from trtqat.graph.passes.insert_quantizers import GraphQuantizer, insert_quantizers
from trtqat.graph.runnable import (
    notes_on_plugins,
    plugins_of,
    runnable,
    serialize_runnable,
)
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import external_files
from trtqat.graph_file.serialized import serialize, temporary_graphs
from trtqat.plan.coverage import int8_share
from trtqat.provenance import Provenance
from trtqat.quant.placing.placement import Layer
from trtqat.quant.placing.reasons import AS_ASKED
from trtqat.quant.ranges.observing import SeenRange
from trtqat.search.agreement import TASK, OutputAgreement, notes_on_outputs
from trtqat.search.float_graph.agreement import check_read, compare_outputs
from trtqat.search.float_graph.observing import (
    histograms,
    range_of,
    range_of_weight,
    samples_at_once,
    types_of_run,
)
from trtqat.search.float_graph.placement import PairPlan, plan_pairs, sized
from trtqat.search.float_graph.reading import FloatGraph, read_float_graph
from trtqat.search.float_graph.samples import GraphSamples, choose_samples
from trtqat.search.options import QuantizeOptions
from trtqat.search.result import QuantizeResult
from trtqat.search.running import Progress
from trtqat.search.samples import open_training
from trtqat.tensors import Array

_CALIBRATION = "calibration"
_VERIFIED_SIZES = (2, 1, 3)
_MEASURED_AT_ONCE = 8
_NAMED = 8
_WHERE_FAR_OFF = (
    "Count the right answers of both graphs by trtqat eval, and leave layers in floating point "
    "with --keep."
)
_NOT_INT8 = "TensorRT would not take its pairs for INT8"


def check_options(source: Path, output: Path, options: QuantizeOptions) -> None:
    """Refuses what only a PyTorch model has, and files that cannot be written.

    Args:
        source: The ONNX file.
        output: The file to write.
        options: What was asked for.

    Raises:
        UsageError: An option is not for graphs, or the output is none or an input.
    """
    if not is_onnx(output):
        raise UsageError(
            f"'{source}' is an ONNX graph, so the output is one, and '{output}' is not named so.",
            "Name it as int8.onnx.",
        )
    if options.max_accuracy_drop is not None or options.sensitivity:
        raise UsageError(
            f"'{source}' is an ONNX graph, for which no layer is searched.",
            "Leave out --max-accuracy-drop and --sensitivity; count right answers of both graphs "
            "by trtqat eval, and leave layers in floating point with --keep.",
        )
    check_not_overwritten(output, (source, *files_of(options.data)))


@temporary_graphs()
def quantize_graph(
    source: Path, output: Path, options: QuantizeOptions, *, progress: Progress | None = None
) -> QuantizeResult:
    """Quantizes a float ONNX file after training.

    Args:
        source: FP32, without Q/DQ.
        output: The file to write: with explicit Q/DQ, for ``trtqat build``.
        options: As for ``quantize_source``, without what searches layers.
        progress: Called with the part's name, what is done of it and its total.

    Raises:
        GraphError: It is not ONNX, is quantized already, or ONNX Runtime does not run it.
        SourceError: It has no such input, or that has another shape.
        DataError: The data is missing or damaged, or does not fit the inputs.
        QuantizerError: A pattern matches nothing, there is nothing to quantize, or a quantizer saw
            values that are not finite.
        ExportError: The finished graph computes something else than with the pairs put in.
        UsageError: An option is not for graphs, or the file cannot be written.
    """
    began = time.monotonic()
    check_options(source, output, options)
    export_options = ExportOptions(
        inputs=(), opset=_opset(options), for_=options.for_, seed=options.seed
    )
    check_can_finish(output, export_options)
    graph = read_float_graph(source, options.specs, options.for_)
    for written in (output, weights_beside(output)):
        check_not_overwritten(written, external_files(source))
    work = _Quantizing(graph, source, options, progress)
    return work.run(output, export_options, began)


def _opset(options: QuantizeOptions) -> int:
    # What TensorRT 8.6 refuses in a graph that it reads is asked for by naming a newer one.
    return HALF_OPSET if options.for_ in ("10", "11") else NEWEST_OPSET_OF_8_6


@dataclass(frozen=True)
class _Ranges:
    seen: tuple[SeenRange, ...]
    quantizers: tuple[GraphQuantizer, ...]


class _Quantizing:
    """One run: what its steps share."""

    def __init__(
        self, graph: FloatGraph, source: Path, options: QuantizeOptions, progress: Progress | None
    ) -> None:
        self._graph = graph
        self._model = graph.model
        self._source = source
        self._options = options
        self._progress = progress
        self._notes = list(graph.notes)
        # Passes change the graph; where ONNX Runtime runs it, it is compared as it was given.
        self._plugins = plugins_of(graph.model)
        self._exact = serialize_runnable(graph.model) if self._plugins else source
        self._notes += notes_on_plugins(self._plugins, " is quantized")

    def run(self, output: Path, export_options: ExportOptions, began: float) -> QuantizeResult:
        options, model = self._options, self._model
        chosen, held = self._samples()
        if not self._plugins:
            first = chosen.batch(chosen.indices[: self._graph.fixed_batch or 1])
            check_read(self._source, serialize_runnable(model), first)
        plan, ranges = self._ranges(chosen)
        insert_quantizers(model, ranges.quantizers)
        pairs = expand_fake_quantize(model)
        written = serialize_runnable(model)
        opset = max(model.graph.opset_imports[""], export_options.opset)
        self._notes += notes_on_weights(export_options, model.graph)
        improving = improve_options(export_options, model.graph)
        improvements = improve(model, improving, opset=opset)
        batches = self._verified_batches(chosen)
        verification = verify(serialize_runnable(model), GraphReference(written, batches, OF_GRAPH))
        outputs = self._outputs(held)
        are_held_out = not set(chosen.indices) & set(held.indices)
        self._notes += notes_on_outputs(
            outputs,
            are_held_out=are_held_out,
            way_out=None if is_random(options.data) else _WHERE_FAR_OFF,
        )
        verified = VerifiedGraph(
            model,
            batches=batches,
            provenance=Provenance(
                source=self._source.name,
                source_sha256=graph_sha256(self._source),
                exporter="trtqat quantize of an ONNX file",
                calibration=self._record(chosen, outputs),
            ),
            exporter="trtqat quantize of an ONNX file",
            quantizers=len(ranges.quantizers),
            disabled=0,
            pairs=pairs.count,
            improvements=improvements,
            verification=verification,
            notes=self._notes,
        )
        done = finish(verified, output, export_options, start=began)
        layers = _as_written(plan.layers, done.summary)
        macs = {layer.name: _known_macs(layer, plan) for layer in layers}
        return QuantizeResult(
            path=output,
            model=self._source.name,
            inputs=tuple(str(spec.with_batch(1)) for spec in self._graph.specs),
            images=len(chosen),
            method=options.method,
            for_=options.for_,
            int8_share=int8_share((not layer.kept, macs[layer.name]) for layer in layers),
            layers=layers,
            ranges=ranges.seen,
            sensitivity=(),
            ladder=None,
            size_bytes=done.size_bytes,
            seconds=time.monotonic() - began,
            notes=tuple(done.notes),
            outputs=outputs,
            are_held_out=are_held_out,
            findings=done.findings,
            plugins=self._plugins,
            shapes=self._graph.open_shapes,
        )

    def _samples(self) -> tuple[GraphSamples, GraphSamples]:
        """Samples to choose ranges on, and others to measure on."""
        options, graph = self._options, self._graph
        dataset = open_training(options.data, graph.specs, options.seed)
        if len(dataset) < options.images:
            self._notes.append(
                f"'{dataset.name}' has {len(dataset)} samples, fewer than the {options.images} "
                "asked for."
            )
        if is_random(options.data):
            self._notes.append(
                "Ranges are chosen on random numbers: the graph is good for measuring speed alone."
            )
        names = [spec.name for spec in graph.specs]
        return choose_samples(dataset, names, options.images, options.seed, graph.fixed_batch)

    def _ranges(self, chosen: GraphSamples) -> tuple[PairPlan, _Ranges]:
        options, model, fixed = self._options, self._model, self._graph.fixed_batch
        seen_graph = runnable(model)
        content = serialize(seen_graph)
        run = fixed or 1
        made = (value for node in seen_graph.graph for value in node.outputs)
        names = [str(value.name) for value in made if value.name]
        types = types_of_run(content, names, chosen.batch(chosen.indices[:run]))
        plan = plan_pairs(
            GraphView(sized(model, types).graph), keep=options.keep, for_=options.for_
        )
        self._check_any(plan)
        tensors = {name for each in plan.quantizers if not each.is_weight for name in each.tensors}
        size = fixed or samples_at_once(tensors, types, run, options.batch_size)
        done = 0

        def seen(images: int) -> None:
            nonlocal done
            done += images
            if self._progress is not None:
                self._progress(_CALIBRATION, done, len(chosen))

        found = histograms(content, plan.quantizers, types, lambda: chosen.batches(size), seen)
        ranges = [
            range_of_weight(each, model, options.method)
            if each.is_weight
            else range_of(each, found[each.name], options.method)
            for each in plan.quantizers
        ]
        worst_first = sorted((seen for seen, _ in ranges), key=lambda each: each.sqnr_db)
        return plan, _Ranges(tuple(worst_first), tuple(quantizer for _, quantizer in ranges))

    def _check_any(self, plan: PairPlan) -> None:
        if not plan.quantizers:
            raise QuantizerError(
                f"'{self._source}' has no layer that would be quantized, of {len(plan.layers)} "
                "convolutions and products.",
                _way_out(plan),
            )
        if plan.not_counted:
            named = ", ".join(plan.not_counted[:_NAMED])
            more = (
                f" and {len(plan.not_counted) - _NAMED} more" if plan.not_counted[_NAMED:] else ""
            )
            self._notes.append(f"How much these multiply is not known: {named}{more}.")

    def _verified_batches(self, chosen: GraphSamples) -> list[dict[str, Array]]:
        """Batches of several sizes, or of the one that the graph fixes."""
        fixed = self._graph.fixed_batch
        sizes = _VERIFIED_SIZES if fixed is None else (fixed,)
        indices = chosen.indices
        return [
            chosen.batch([indices[(sum(sizes[:at]) + i) % len(indices)] for i in range(size)])
            for at, size in enumerate(sizes)
        ]

    def _outputs(self, held: GraphSamples) -> tuple[OutputAgreement, ...]:
        size = self._graph.fixed_batch or _MEASURED_AT_ONCE

        def batches() -> Iterator[dict[str, Array]]:
            for number, batch in enumerate(held.batches(size), 1):
                yield batch
                if self._progress is not None:
                    self._progress(TASK, min(number * size, len(held)), len(held))

        rounded = serialize_runnable(self._model)
        return compare_outputs(self._exact, rounded, batches(), len(held))

    def _record(
        self, chosen: GraphSamples, outputs: Sequence[OutputAgreement]
    ) -> dict[str, object]:
        """How ranges were chosen and what that costs, as the file says it of itself."""
        options = self._options
        return {
            "data": options.data.partition(":")[0] + ":" + Path(options.data).name
            if ":" in options.data
            else options.data,
            "images": len(chosen),
            "method": options.method,
            "seed": options.seed,
            "keep": list(options.keep),
            "for": options.for_,
            "outputs": [asdict(each) for each in outputs],
        }


def _way_out(plan: PairPlan) -> str:
    found = dict.fromkeys(layer.kept for layer in plan.layers)
    if not found:
        return "Give a graph with convolutions or matrix products."
    if AS_ASKED in found:
        return "Leave fewer of them in floating point."
    return f"They stay in floating point, for {'; '.join(found)}."


def _as_written(layers: Sequence[Layer], summary: GraphSummary) -> tuple[Layer, ...]:
    """The layers; one whose pairs TensorRT would not take for INT8 is none that is quantized."""
    int8 = {layer.name for layer in summary.layers if layer.is_int8}
    return tuple(
        layer if layer.kept or layer.name in int8 else replace(layer, kept=_NOT_INT8)
        for layer in layers
    )


def _known_macs(layer: Layer, plan: PairPlan) -> int | None:
    return None if layer.name in plan.not_counted else int(layer.macs)
