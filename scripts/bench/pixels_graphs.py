"""The graphs of ``pixels.py`` by name: from floats, from codes, and from bytes in every form.

More kinds are there, which ``export`` does not write for TensorRT 8.6: with the network's end as it
was, with INT8 initializers as weights, without the record by which ``build`` holds nodes to FP32,
and, where channels are computed apart, with a pair for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import onnx_ir as ir

from scripts.models import resnet
from trtqat.errors import GraphError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, consumers_of
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.graph.passes.take_codes import take_codes
from trtqat.graph.passes.write_convolutions import write_convolutions
from trtqat.graph.pixels.arithmetic import AFFINE, PLANES
from trtqat.graph.pixels.forms import Form, forms_for, only
from trtqat.graph.pixels.node_writer import NodeWriter
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.reading import read_model
from trtqat.pixels import LAYOUTS, Pixels, prefix_of_nodes
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.tensors import TensorSpec

IMAGES = TensorSpec("images", (1, 3, 224, 224))
# What the names of such graphs end in.
GEMM, STORED, UNHELD, PAIRED = "-gemm", "-stored", "-unheld", "-paired"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Changes the graph from floats, in place, and returns what is to be recorded of it.
Make = Callable[[ir.Model], Provenance]


def all_graphs() -> dict[str, Make]:
    """What makes each graph, by its name in tables: those from BGR, too."""
    found: dict[str, Make] = {"floats": _from_floats, "codes": _from_codes}
    for layout in LAYOUTS:
        for bgr in (False, True):
            pixels = Pixels(layout, MEAN, STD, bgr=bgr)
            for form in forms_for(layout):
                name = f"{layout}{'-bgr' if bgr else ''}-{form.name}"
                plain: Make = partial(_from_bytes, pixels=pixels, form=form)
                found |= {name: partial(_convolved, make=plain), f"{name}{GEMM}": plain}
                found[f"{name}{STORED}"] = partial(_stored, make=found[name])
                if form.way in (AFFINE, PLANES):
                    found[f"{name}{UNHELD}"] = partial(_unrecorded, make=found[name])
                if form.way is PLANES:
                    paired: Make = partial(_paired, pixels=pixels, form=form)
                    found[f"{name}{PAIRED}"] = partial(_convolved, make=paired)
    return found


def chosen_graphs(asked: Sequence[str] | None, *, with_bgr: bool) -> tuple[str, ...]:
    """Names of graphs, in the order in which they are measured.

    Args:
        asked: By the user, in their order; None takes all that ``export`` can write.
        with_bgr: Whether all are those from BGR, too.

    Raises:
        UsageError: There is no graph of that name.
    """
    known = all_graphs()
    if asked is None:
        others = (GEMM, STORED, UNHELD, PAIRED)
        written = [name for name in known if not name.endswith(others)]
        return tuple(name for name in written if with_bgr or "-bgr-" not in name)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise UsageError(
            f"There is no graph {', '.join(map(repr, unknown))}.",
            f"--only takes {', '.join(known)}.",
        )
    return tuple(dict.fromkeys(asked))


def export_floats(path: Path) -> None:
    """Exports the ResNet-50 from floats, with float weights.

    Args:
        path: Where to.
    """
    improve = ImproveOptions(int8_weights=False)
    export_onnx(resnet.qat(), path, ExportOptions((IMAGES,), improve=improve))


def check_floats(path: Path) -> None:
    """Refuses a graph that cannot take the place of the one that ``export_floats`` writes.

    Args:
        path: Of a graph that the user gives.

    Raises:
        GraphError: Its input is no quantized float image, or its weights are INT8 initializers.
    """
    graph = read_model(path).graph
    value = next((each for each in graph.inputs if each.name == IMAGES.name), None)
    readers = [] if value is None else consumers_of(value)
    is_quantized = bool(readers) and all(node.op_type == QUANTIZE for node in readers)
    if value is None or value.dtype is not ir.DataType.FLOAT or not is_quantized:
        raise GraphError(
            f"'{path}' has no float input '{IMAGES.name}' that is quantized first.",
            "Give one that trtqat export wrote of floats, without --pixels and --quantized-input.",
        )
    stored = [node for node in graph if node.op_type == DEQUANTIZE and _reads_constant(node)]
    if stored:
        raise GraphError(
            f"'{path}' has INT8 initializers as weights ({len(stored)}, as of "
            f"'{name_of(stored[0])}'), at which TensorRT 8.6 stops behind bytes.",
            "Export it with --float-weights, or leave out --graph.",
        )


def write_graph(name: str, floats: Path, folder: Path) -> Path:
    """Writes one graph.

    Args:
        name: One of ``all_graphs``.
        floats: The graph from floats.
        folder: Where to.
    """
    model = read_model(floats)
    model.metadata_props[METADATA_KEY] = all_graphs()[name](model).to_json()
    path = folder / f"{name}.onnx"
    ir.save(model, path)
    return path


def _from_floats(model: ir.Model) -> Provenance:
    del model
    return Provenance()


def _from_codes(model: ir.Model) -> Provenance:
    return Provenance(quantized_inputs=take_codes(model).scales)


def _from_bytes(model: ir.Model, *, pixels: Pixels, form: Form) -> Provenance:
    take_pixels(model, {IMAGES.name: pixels}, only(form))
    return Provenance(pixels={IMAGES.name: pixels})


def _convolved(model: ir.Model, *, make: Make) -> Provenance:
    write_convolutions(model)
    return make(model)


def _stored(model: ir.Model, *, make: Make) -> Provenance:
    quantize_weights(model)
    return make(model)


def _unrecorded(model: ir.Model, *, make: Make) -> Provenance:
    make(model)
    return Provenance()


def _paired(model: ir.Model, *, pixels: Pixels, form: Form) -> Provenance:
    """With a pair of its own for each channel, of the scale of the one behind their Concat."""
    made = _from_bytes(model, pixels=pixels, form=form)
    graph = model.graph
    name = f"{prefix_of_nodes(IMAGES.name)}Concat"
    (concat,) = (node for node in graph if name_of(node).startswith(name))
    quantize = next(node for node in consumers_of(concat.outputs[0]) if node.op_type == QUANTIZE)
    editor = Editor(graph)
    for number, plane in enumerate(concat.inputs):
        assert plane is not None
        writer = NodeWriter(graph, f"{IMAGES.name}.plane_{number}", 1)
        codes = writer.node(QUANTIZE, [plane, *_parameters(quantize)], ir.DataType.INT8)
        floats = writer.node(DEQUANTIZE, [codes, *_parameters(quantize)], ir.DataType.FLOAT)
        editor.insert_before(concat, writer.nodes)
        editor.replace_input(concat, number, floats)
    editor.finish()
    return made


def _parameters(quantize: ir.Node) -> list[ir.Value]:
    return [value for value in quantize.inputs[1:] if value is not None]


def _reads_constant(dequantize: ir.Node) -> bool:
    codes = dequantize.inputs[0]
    return codes is not None and constant_array(codes) is not None
