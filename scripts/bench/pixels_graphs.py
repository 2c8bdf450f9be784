"""The graphs of ``pixels.py`` by name: from floats, from codes, and from bytes in every form.

Affine forms are there in three more kinds, which ``export`` does not write: with the bytes as an
INT8 input, with arithmetic that TensorRT 8.6 compiles together with the Cast, and without the
record by which ``build`` holds them to FP32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from scripts.models import resnet
from trtqat.errors import GraphError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, consumers_of
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.passes.take_codes import take_codes
from trtqat.graph.pixels.arithmetic import AFFINE, NodeWriter
from trtqat.graph.pixels.forms import Form, forms_for, only
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.reading import read_model
from trtqat.pixels import LAYOUTS, Pixels
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.tensors import TensorSpec

IMAGES = TensorSpec("images", (1, 3, 224, 224))
# What the names of such graphs end in.
SIGNED, JOINED, UNHELD = "-signed", "-joined", "-unheld"
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
                found[name] = partial(_from_bytes, pixels=pixels, form=form)
                if form.way is AFFINE:
                    found[f"{name}{SIGNED}"] = partial(_from_signed, pixels=pixels, form=form)
                    joined: Make = partial(_joined, pixels=pixels, form=form)
                    found[f"{name}{JOINED}"] = joined
                    found[f"{name}{UNHELD}"] = partial(_unrecorded, make=found[name])
                    found[f"{name}{JOINED}{UNHELD}"] = partial(_unrecorded, make=joined)
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
        written = [name for name in known if not name.endswith((SIGNED, JOINED, UNHELD))]
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


def _unrecorded(model: ir.Model, *, make: Make) -> Provenance:
    make(model)
    return Provenance()


def _from_signed(model: ir.Model, *, pixels: Pixels, form: Form) -> Provenance:
    """The same bytes as an INT8 input: those from 128 on are 256 less there.

    TensorRT 8.6 compiles a Cast of bytes by Myelin, in a kernel of its own that writes floats. A
    DequantizeLinear it fuses with what follows, unless that is Myelin's, as a Sign is. A session
    would hand over the same memory.
    """
    _from_bytes(model, pixels=pixels, form=form)
    graph = model.graph
    image, cast = _image_and_cast(graph)
    image.type = ir.TensorType(ir.DataType.INT8)
    writer = NodeWriter(graph, "signed", 1)

    def number(what: str, value: float) -> ir.Value:
        return writer.constant(what, np.array(value, np.float32))

    scale, zero = number("scale", 1.0), writer.constant("zero_point", np.array(0, np.int8))
    signed = writer.node(DEQUANTIZE, [image, scale, zero], ir.DataType.FLOAT)
    far_below = writer.floats("Mul", signed, number("minus", -256.0))
    limits = [number("none", 0.0), number("most", 256.0)]
    more = writer.node("Clip", [far_below, *limits], ir.DataType.FLOAT)
    _replace(graph, cast, writer, writer.floats("Add", signed, more))
    return Provenance()


def _joined(model: ir.Model, *, pixels: Pixels, form: Form) -> Provenance:
    """With a product by 1 behind the Cast that no engine knows to be 1: the sign of byte and half.

    TensorRT 8.6 gives a Sign to Myelin, and with it the arithmetic around it, so that all of it may
    be one kernel with the Cast.
    """
    _from_bytes(model, pixels=pixels, form=form)
    graph = model.graph
    image, cast = _image_and_cast(graph)
    writer = NodeWriter(graph, f"{IMAGES.name}.joined", 1)
    floats = writer.cast(image, ir.DataType.FLOAT)
    half = writer.constant("half", np.array(0.5, np.float32))
    sign = writer.node("Sign", [writer.floats("Add", floats, half)], ir.DataType.FLOAT)
    _replace(graph, cast, writer, writer.floats("Mul", floats, sign))
    return Provenance(pixels={IMAGES.name: pixels})


def _image_and_cast(graph: ir.Graph) -> tuple[ir.Value, ir.Node]:
    (image,) = (each for each in graph.inputs if each.name == IMAGES.name)
    (cast,) = consumers_of(image)
    return image, cast


def _replace(graph: ir.Graph, cast: ir.Node, writer: NodeWriter, floats: ir.Value) -> None:
    editor = Editor(graph)
    editor.insert_before(cast, writer.nodes)
    editor.replace(cast.outputs[0], floats)
    editor.remove(cast)
    editor.finish()


def _reads_constant(dequantize: ir.Node) -> bool:
    codes = dequantize.inputs[0]
    return codes is not None and constant_array(codes) is not None
