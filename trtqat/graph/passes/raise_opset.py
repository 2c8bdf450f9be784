"""Makes of a graph another one, of a newer opset.

QuantizeLinear and DequantizeLinear take FP16 from opset 19 on, so the FP16 graph needs it.
``onnx.version_converter`` knows what changed between two opsets (what fails downwards is in
``lower_opset``), but not all of it upwards: whoever calls this compares. Around it:

1. Split without sizes says its number of parts (``num_outputs``): required from 18 on,
   left out by the converter, accepted without it by ONNX Runtime all the same.
2. The IR version rises to the one that came with the opset; the converter leaves it.
3. Constants that it made are initializers, as everywhere in the canonical graph, named
   after the node that reads them.
4. Resize of opset 10, and Upsample, measure from the corners of pixels, Resize of newer ones from
   their middles unless it says otherwise, which the converter does not write.
5. The converter takes a graph of IR version 3, as old files of the ONNX Model Zoo are, only if its
   initializers are inputs, too. Whoever reads a file here tells them apart.
6. Plugins of TensorRT stand in ONNX's own domain, where the converter looks for their schema. It
   leaves nodes of other domains as they are, so plugins are in one meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, version_converter
from onnx.defs import has
from onnx_ir.passes import common

from trtqat.errors import ExportError, GraphError, first_line
from trtqat.extras import install
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6
from trtqat.graph_file.garbage import uncollected
from trtqat.graph_file.serialized import proto_for_onnx, restore_weights
from trtqat.runtime.onnx_model import OnnxModel

_PLUGINS = "trtqat.plugins"
_NUMBER_OF_PARTS_OPSET = 18
_IR_VERSION_WITH_INITIALIZERS_APART = 4
# From this one on Resize says where it measures from.
_COORDINATES_OPSET = 11


@uncollected()
def raise_opset(model: ir.Model, opset: int) -> ir.Model:
    """Rewrites a graph in a newer opset.

    Args:
        model: Without functions; it is not changed.
        opset: The opset wanted.

    Returns:
        The same graph in that opset, or ``model`` itself if it has that opset or a newer one.

    Raises:
        ExportError: A node has no form in that opset, or the installed onnx does not know it.
    """
    present = model.graph.opset_imports.get("", 0)
    if present >= opset:
        return model
    proto = proto_for_onnx(model)
    proto.ir_version = max(proto.ir_version, _IR_VERSION_WITH_INITIALIZERS_APART)
    plugins = [each for each in _nodes_of(proto.graph) if not (each.domain or has(each.op_type))]
    for each in plugins:
        each.domain = _PLUGINS
    if plugins:
        proto.opset_import.append(helper.make_opsetid(_PLUGINS, 1))
    try:
        converted = version_converter.convert_version(proto, opset)
    except Exception as error:
        raise ExportError(
            f"The graph of opset {present} cannot be written in opset {opset}: "
            f"{first_line(error)}.",
            "Export it with the --opset that you need instead.",
        ) from error
    needed = helper.find_min_ir_version_for(list(converted.opset_import), ignore_unknown=True)
    converted.ir_version = max(proto.ir_version, needed)
    raised: ir.Model = ir.from_proto(converted)
    for node in raised.graph.all_nodes():
        if node.domain == _PLUGINS:
            node.domain = ""
    raised.graph.opset_imports.pop(_PLUGINS, None)
    restore_weights(raised, model)
    _name_constants(raised)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(raised)
    for node in raised.graph.all_nodes():
        if node.op_type == "Split" and opset >= _NUMBER_OF_PARTS_OPSET:
            _write_number_of_parts(node)
        elif node.op_type == "Resize" and present < _COORDINATES_OPSET <= opset:
            _write_coordinates(node)
    raised.metadata_props.update(model.metadata_props)
    return raised


def _write_number_of_parts(split: ir.Node) -> None:
    sizes = split.inputs[1] if len(split.inputs) > 1 else None
    if sizes is None and "num_outputs" not in split.attributes:
        split.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(split.outputs))


def _write_coordinates(resize: ir.Node) -> None:
    def write(name: str, value: str) -> None:
        resize.attributes[name] = ir.AttrString(name, value)

    write("coordinate_transformation_mode", "asymmetric")
    mode = resize.attributes.get("mode")
    if mode is None or mode.as_string() == "nearest":
        value = resize.inputs[2] if len(resize.inputs) > 2 else None
        scales = None if value is None else constant_array(value)
        # ONNX Runtime takes the pixel before where an image grows, and the next where it shrinks.
        shrinks = scales is not None and bool((scales <= 1).all() and (scales < 1).any())
        write("nearest_mode", "ceil" if shrinks else "floor")


def newest_opset() -> int:
    """The newest opset that the installed onnx writes and the installed ONNX Runtime runs.

    Both are asked, with a graph that has what every graph of ours has: a Q/DQ pair. ONNX
    Runtime loads opsets for which it has no kernels of these two operators yet.

    Raises:
        MissingError: ONNX Runtime is not installed.
        GraphError: They have none in common.
    """
    newest = onnx.defs.onnx_opset_version()
    for opset in range(newest, NEWEST_OPSET_OF_8_6 - 1, -1):
        try:
            OnnxModel(_probe(opset), as_written=True).close()
        except GraphError:
            continue
        return int(opset)
    raise GraphError(
        f"The installed ONNX Runtime runs no opset that onnx {onnx.__version__} writes.",
        f"Install a newer one in the checkout of trtqat: {install('export', '--upgrade')}",
    )


def _probe(opset: int) -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node(QUANTIZE, ["x", "scale", "zero_point"], ["codes"]),
            helper.make_node(DEQUANTIZE, ["codes", "scale", "zero_point"], ["y"]),
        ],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("zero_point", TensorProto.INT8, [], [0]),
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    # The IR version by itself is no reason to refuse a graph that has nothing new.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the branches and bodies in it."""
    graphs = [graph]
    for each in graphs:
        for node in each.node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def _name_constants(model: ir.Model) -> None:
    """Names the converter's ``_v_4`` after its reader, so that two runs give the same names."""
    taken = {value.name for node in model.graph for value in node.outputs}
    for node in model.graph:
        if node.op_type != "Constant" or node.name:
            continue
        value = node.outputs[0]
        reader, index = next(iter(value.uses()), (None, 0))
        name = "" if reader is None else f"{reader.name}_input_{index}"
        if name and name not in taken and name not in model.graph.initializers:
            value.name = name
            taken.add(name)
