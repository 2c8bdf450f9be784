"""Pass: what only moves a quantized weight is done to its codes, once and for all.

    Conv(x, Transpose(Reshape(DequantizeLinear(codes, scale))))  =  Conv(x, DequantizeLinear(…))

Converters from TensorFlow write depthwise weights so, and PyTorch models that shape their own.
TensorRT takes a weight for INT8 where DequantizeLinear stands directly before the layer.

1. Codes and scales are moved alike, element by element. Then the scales are again one per
   position of some axis: of the output channels' axis if that is true of it, else of another.
   Where it is true of no axis, the weight stays as it is, and the pass says so.
2. One Transpose before a Gemm or MatMul stays: every TensorRT reads it, and it is how the
   weight of a PyTorch Linear is written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.layers import CONVOLUTIONS, PRODUCTS, channel_axis
from trtqat.graph.lenses.moves import ONNX_DOMAINS, Form, forms_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, along_axis, consumers_of, parameters_of
from trtqat.graph.passes.fold_constant_moves import add_array, moved_name
from trtqat.tensors import Array


@dataclass(frozen=True)
class FoldedMoves:
    """What the pass did.

    Attributes:
        layers: Names of the layers whose weight was behind moving nodes.
        kept: Those whose scales follow no axis of the moved weight, so that it stays.
    """

    layers: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        notes = []
        if self.layers:
            notes.append(
                f"The weights of {len(self.layers)} layers, first '{self.layers[0]}', stood behind "
                "Reshape, Transpose and the like: their codes were moved, none changed."
            )
        if self.kept:
            notes.append(
                f"The weights of {len(self.kept)} layers, first '{self.kept[0]}', stay behind "
                "Reshape, Transpose and the like: their scales follow no axis of what comes out."
            )
        return tuple(notes)


def fold_weight_moves(model: ir.Model) -> FoldedMoves:
    """Moves the codes of weights that stand behind moving nodes, in place.

    Args:
        model: Weights as INT8 initializers (``quantize_weights``).
    """
    graph = model.graph
    layers: list[str] = []
    kept: list[str] = []
    for node in list(graph):
        if node.op_type != DEQUANTIZE or not _is_moved(node.outputs[0]):
            continue
        for form, readers in _moved_weights(node, graph):
            # Layers that read the same share its codes and scales.
            written: dict[int | None, _Written | None] = {}
            for reader in readers:
                wanted = channel_axis(reader, form.arrays[0].ndim)
                if wanted not in written:
                    written[wanted] = _write(graph, node, form, wanted)
                weight = written[wanted]
                if weight is None:
                    kept.append(name_of(reader))
                    continue
                reader.replace_input_with(1, _dequantize(graph, weight, reader))
                layers.append(name_of(reader))
    if layers:
        remove_unused(graph)
    return FoldedMoves(tuple(layers), tuple(kept))


def _is_moved(value: ir.Value) -> bool:
    """Whether a node that is neither a layer nor half of a pair reads a tensor."""
    others = {QUANTIZE, DEQUANTIZE, *CONVOLUTIONS, *PRODUCTS}
    return any(node.op_type not in others for node in consumers_of(value))


def _moved_weights(dequantize: ir.Node, graph: ir.Graph) -> list[tuple[Form, list[ir.Node]]]:
    """What moving nodes make of a dequantized constant, with the layers that read it as weight."""
    source = dequantize.inputs[0]
    codes = None if source is None else constant_array(source)
    parameters = parameters_of(dequantize)
    if codes is None or parameters.scale is None or not parameters.fits(codes):
        return []
    zero_point = parameters.zero_point
    if zero_point is not None and zero_point.any():
        return []
    scale = along_axis(parameters.scale, parameters.axis, codes.ndim)
    scales = (np.broadcast_to(scale, codes.shape),) if parameters.axis is not None else ()
    root = dequantize.outputs[0]
    found = []
    for form in forms_of(root, (codes, *scales), graph):
        readers = [
            node
            for node in (() if form.value is root else consumers_of(form.value))
            if _reads_as_weight(node, form.value) and not _is_plain_transpose(node, root)
        ]
        if readers:
            found.append((form, readers))
    return found


def _reads_as_weight(node: ir.Node, value: ir.Value) -> bool:
    is_layer = node.op_type in (*CONVOLUTIONS, *PRODUCTS) and node.domain in ONNX_DOMAINS
    return is_layer and node.inputs[1] is value


def _is_plain_transpose(layer: ir.Node, root: ir.Value) -> bool:
    weight = layer.inputs[1]
    node = None if weight is None else weight.producer()
    is_transpose = node is not None and node.op_type == "Transpose" and node.inputs[0] is root
    return is_transpose and layer.op_type in PRODUCTS


@dataclass(frozen=True, eq=False)
class _Written:
    """Initializers of a moved weight: codes, scale and zero-point, and the scales' axis."""

    inputs: tuple[ir.Value, ir.Value, ir.Value]
    axis: int | None
    shape: tuple[int, ...]


def _write(graph: ir.Graph, original: ir.Node, form: Form, wanted: int | None) -> _Written | None:
    """Writes the moved codes and their scales; None if the scales fit no axis."""
    codes = form.arrays[0]
    source, old_scale = original.inputs[0], original.inputs[1]
    assert source is not None
    assert old_scale is not None
    scale, axis = parameters_of(original).scale, None
    if len(form.arrays) > 1:
        scale, axis = _scales_of(form.arrays[1], wanted)
    if scale is None:
        return None
    inputs = (
        add_array(graph, moved_name(source), codes),
        add_array(graph, f"{old_scale.name}.moved", scale),
        add_array(graph, f"{source.name}.moved.zero_point", np.zeros(scale.shape, codes.dtype)),
    )
    return _Written(inputs, axis, codes.shape)


def _dequantize(graph: ir.Graph, weight: _Written, layer: ir.Node) -> ir.Value:
    """DequantizeLinear of a moved weight, before the layer."""
    axis = weight.axis
    node = ir.Node(
        "",
        DEQUANTIZE,
        weight.inputs,
        {} if axis is None else {"axis": ir.AttrInt64("axis", axis)},
        name=f"{name_of(layer)}/weight/{DEQUANTIZE}",
    )
    result = node.outputs[0]
    result.name = f"{node.name}_output_0"
    result.dtype, result.shape = ir.DataType.FLOAT, ir.Shape(weight.shape)
    graph.insert_before(layer, node)
    return result


def _scales_of(scales: Array, wanted: int | None) -> tuple[Array | None, int | None]:
    """One scale per position of an axis, from one per element, and the axis; None if none fits.

    Args:
        scales: Of the weight's shape.
        wanted: The axis to try first.
    """
    axes = sorted(range(scales.ndim), key=lambda axis: axis != wanted)
    for axis in axes:
        at = tuple(slice(None) if each == axis else 0 for each in range(scales.ndim))
        if scales.size and (scales == along_axis(scales[at], axis, scales.ndim)).all():
            return scales[at], axis
    return None, None
