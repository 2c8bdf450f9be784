"""Pass: the float graph behind a Q/DQ graph, to compare the INT8 engine with.

1. A pair on an activation goes. Where its scales are of two types, as at the border of an FP16
   graph, a Cast stays.
2. A weight's DequantizeLinear becomes the float weight: code times scale, or what
   QuantizeLinear read where the graph still has it.
3. An input that ``trtqat export --quantized-input`` made INT8 is a float one again. Another one
   stays refused: what its codes mean is known to whoever feeds them.
4. Bytes that became whole codes in the graph become floats there.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, name_of, nodes_inside
from trtqat.graph.lenses.pairs import DEQUANTIZE, parameters_of, quantizer_of, values_of
from trtqat.graph.passes.protocol import Changed
from trtqat.graph.passes.take_codes import recorded_scales
from trtqat.graph.pixels.give_floats import give_floats
from trtqat.graph_file.garbage import uncollected


@uncollected()
def remove_quantization(model: ir.Model) -> Changed:
    """Removes every Q/DQ pair, in place; counts them.

    Raises:
        GraphError: A DequantizeLinear reads codes that are computed otherwise, or stands inside of
            another node.
    """
    _check_nothing_inside(model.graph)
    graph, editor = model.graph, Editor(model.graph)
    recorded = recorded_scales(model)
    count = 0
    # What comes out of DequantizeLinear goes.
    made = [value for node in graph if node.op_type != DEQUANTIZE for value in node.outputs]
    taken = {str(value.name) for value in (*graph.inputs, *made)}
    for node in list(graph):
        if node.op_type != DEQUANTIZE:
            continue
        quantize = quantizer_of(node)
        if quantize is not None:
            source = quantize.inputs[0]
        elif (codes := node.inputs[0]) is not None and codes.name in recorded:
            source = codes
            source.type = ir.TensorType(ir.DataType.FLOAT)
        else:
            source = float_weight(graph, node, taken)
        assert source is not None
        if quantize is not None and _scale_type(quantize) != _scale_type(node):
            source = _instead(editor, node, "Cast", source, to=_scale_type(node))
        elif node.outputs[0].is_graph_output():
            # The output keeps its name, and the tensor stays one of its own.
            source = _instead(editor, node, "Identity", source)
        editor.replace(node.outputs[0], source)
        editor.remove(node)
        count += 1
    editor.finish()
    remove_unused(graph)
    give_floats(graph)
    return Changed(count)


def _check_nothing_inside(graph: ir.Graph) -> None:
    for node in graph:
        if any(each.op_type == DEQUANTIZE for each in nodes_inside(node)):
            raise GraphError(
                f"'{name_of(node)}' ({node.op_type}) has Q/DQ pairs inside, and what is in there "
                "cannot be made float.",
                "Write the model without the branch or loop; or leave out --compare and --locate.",
            )


def _scale_type(node: ir.Node) -> ir.DataType | None:
    scale = parameters_of(node).scale
    return None if scale is None else ir.DataType.from_numpy(scale.dtype)


def _instead(
    editor: Editor,
    dequantize: ir.Node,
    op_type: str,
    source: ir.Value,
    **attributes: ir.DataType | None,
) -> ir.Value:
    """Writes a node in the place of a DequantizeLinear that goes, whose names and type it takes."""
    dtype, made = _scale_type(dequantize) or ir.DataType.FLOAT, dequantize.outputs[0]
    output = ir.Value(name=made.name, shape=made.shape, type=ir.TensorType(dtype))
    node = ir.node(op_type, [source], attributes, outputs=[output], name=dequantize.name)
    editor.insert_after(dequantize, [node])
    return output


def float_weight(graph: ir.Graph, dequantize: ir.Node, taken: Collection[str]) -> ir.Value:
    """The float weight that constant codes stand for, as a new initializer.

    Args:
        graph: Gets it.
        dequantize: Reads the codes.
        taken: Names of the tensors that are no initializers.

    Raises:
        GraphError: The codes are computed, or have scales that do not fit.
    """
    source = dequantize.inputs[0]
    codes = None if source is None else constant_array(source)
    parameters = parameters_of(dequantize)
    if source is None or codes is None or not parameters.fits(codes) or parameters.scale is None:
        raise GraphError(
            f"'{dequantize.name}' reads codes that are computed, or has scales that do not fit.",
            "Export the graph with trtqat export, which writes Q/DQ pairs.",
        )
    name = str(source.name).removesuffix(".codes")
    while name in taken:
        # A layer may be called as its weight: "conv" and "conv.codes".
        name += ".float"
    # What reads it is in the type of the scales: FP16 in an FP16 graph.
    weight = values_of(codes, parameters).astype(parameters.scale.dtype)
    return add_initializer(graph, name, weight)
