"""``--locate`` in layers: each layer's output with Q/DQ against the same without.

Both graphs run on ONNX Runtime as written, on the same images. The second one has no pairs on
activations; its weights are the float ones where the file still has them (``--float-weights``),
else code times scale, so then what rounding the weights costs is not seen.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.data.batches import Dataset
from trtqat.errors import GraphError
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.running import run_all
from trtqat.numerics import Noise, lost_db, signal_and_error, worst_db
from trtqat.typed_json import Unbounded

if TYPE_CHECKING:
    import onnx_ir as ir

    from trtqat.graph_file.serialized import Serialized

# Outputs of so many layers are kept at once.
_LAYERS_AT_ONCE = 32


@dataclass(frozen=True)
class LayerLoss:
    """One layer of the graph.

    Attributes:
        name: Of its node.
        operator: Its ONNX operator.
        sqnr_db: Of its output behind bias, BatchNorm and activation, the graph without
            quantization as the signal; infinite if nothing differs.
        lost_db: By how much that is below the worst of the layers that it reads; 0 if it is
            not, and for layers that read the graph's input alone what is lost there.
        findings: Identifiers of the lint rules that speak of the layer.
    """

    name: str
    operator: str
    sqnr_db: Unbounded
    lost_db: Unbounded
    findings: tuple[str, ...]


# What quantizing to 8 bits costs in itself, before a layer counts as one that loses more: SQNR of
# a uniform quantizer of 8 bits is 6.02 dB a bit, less what a Gaussian's range costs.
_LOSSLESS_DB = 40.0


def locate_in_layers(
    graph: Path, dataset: Dataset, *, batch_size: int = 32, progress: Progress | None = None
) -> tuple[LayerLoss, ...]:
    """Compares every layer of a Q/DQ graph with the same layer without quantization.

    Args:
        graph: ONNX file with Q/DQ.
        dataset: Images that fit its inputs; labels are not used.
        batch_size: Of every run but the last.
        progress: Called with the number of layers done and their total.

    Returns:
        Layers in the graph's order.

    Raises:
        GraphError: The file cannot be read, has no layer, or has an INT8 input.
        InferenceError: ONNX Runtime failed.
        MissingError: onnx or ONNX Runtime is not installed.
    """
    from trtqat.graph.lenses.exits import fused_output
    from trtqat.graph.lenses.paths import gather
    from trtqat.graph.lenses.view import GraphView
    from trtqat.graph.lint import rules_by_place
    from trtqat.graph.passes.remove_quantization import remove_quantization
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import (
        derived,
        parse,
        serialize,
        temporary_graphs,
        with_outputs,
    )

    model, plain = read_model(graph), read_model(graph)
    rules = rules_by_place(model)
    view = GraphView(model.graph)
    outputs = {str(fused_output(layer.node.outputs[0]).name): layer for layer in view.layers}
    if not outputs:
        raise GraphError(f"'{graph}' has no layer to compare.", "Give a graph with Q/DQ.")
    remove_quantization(plain)
    sqnr_db: dict[str, float] = {}
    names = list(outputs)
    with temporary_graphs():
        wholes = [serialize(each) for each in (model, plain)]
        protos = [parse(each) for each in wholes]
        for start in range(0, len(names), _LAYERS_AT_ONCE):
            piece = names[start : start + _LAYERS_AT_ONCE]
            graphs = [
                derived(whole, with_outputs(proto, piece))
                for whole, proto in zip(wholes, protos, strict=True)
            ]
            sqnr_db.update(_compare(graphs[0], graphs[1], dataset, batch_size))
            if progress:
                progress(min(start + _LAYERS_AT_ONCE, len(names)), len(names))
    by_layer = {layer.name: sqnr_db[name] for name, layer in outputs.items()}
    losses = []
    worst_before: dict[ir.Value, float | None] = {}

    def own_db(value: ir.Value) -> float | None:
        layer = view.layer_by_output.get(value)
        return None if layer is None else by_layer[layer.name]

    for layer in view.layers:
        found = [gather(each, own_db, worst_db, worst_before) for each in layer.node.inputs]
        before = [db for db in found if db is not None]
        own = by_layer[layer.name]
        losses.append(
            LayerLoss(
                layer.name,
                layer.node.op_type,
                own,
                lost_db(own, before, _LOSSLESS_DB),
                rules.get(layer.name, ()),
            )
        )
    return tuple(losses)


def first_layer_below(layers: tuple[LayerLoss, ...], *, below_db: float = 20.0) -> LayerLoss | None:
    """The first layer in the graph's order whose output is off by more than a tenth.

    Args:
        layers: What ``locate_in_layers`` found, in the graph's order.
        below_db: 20 dB is an error of a tenth of the signal.
    """
    return next((each for each in layers if not each.sqnr_db >= below_db), None)


def _compare(
    quantized: Serialized, plain: Serialized, dataset: Dataset, batch_size: int
) -> dict[str, float]:
    """SQNR in dB of every output of two graphs."""
    from trtqat.runtime.onnx_model import OnnxModel

    sums: dict[str, Noise] = {}
    with contextlib.ExitStack() as stack:
        models = [OnnxModel(each, as_written=True) for each in (quantized, plain)]
        for model in models:
            stack.callback(model.close)
        runs = stack.enter_context(contextlib.closing(run_all(models, dataset, batch_size)))
        for _, (found, expected) in runs:
            for name, reference in expected.items():
                signal, error = signal_and_error(reference, found[name])
                sums.setdefault(name, Noise()).add(signal, error)
    return {name: total.sqnr_db for name, total in sums.items()}
