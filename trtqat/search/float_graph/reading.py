"""A float ONNX file becomes the graph that quantizers are put into; or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from trtqat.errors import GraphError, SourceError
from trtqat.exporting.graph_batches import check_tensors
from trtqat.graph.editing import write_ranks
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.finite import check_finite
from trtqat.graph.lenses.pairs import PAIR
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6, is_for_8_6
from trtqat.graph.passes.fold_constant_layers import fold_constant_layers, is_in_double
from trtqat.graph.passes.fold_constants import fold_constants
from trtqat.graph.passes.fold_splits import fold_splits
from trtqat.graph.passes.fold_zeros import fold_zeros
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.lower_opset import LOWERABLE_OPSET, lower_opset, write_ir_version
from trtqat.graph.passes.name_nodes import name_nodes, name_unnamed
from trtqat.graph.passes.protocol import run
from trtqat.graph.passes.raise_opset import raise_opset
from trtqat.graph.passes.tidy import tidy
from trtqat.graph.passes.write_products import write_products
from trtqat.graph.passes.write_sums import write_sums
from trtqat.graph_file.reading import read_model
from trtqat.plan.profile_text import profile_example
from trtqat.quant.placing.placement import Target
from trtqat.tensors import DYNAMIC, TensorSpec, specs_by_name

# QuantizeLinear has an axis, and so a scale for each channel, from this one on.
_PAIR_OPSET = 13
_INTEGER_PREFIXES = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger")
_UNKNOWN = "?"
_OF_PYTORCH = "pytorch"


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A float graph, tidy, in an opset that has pairs.

    Attributes:
        model: The graph; its nodes have names of their own.
        specs: Its inputs, open dimensions as -1 unless the user said how large they are.
        fixed_batch: The batch size that the graph fixes; None for any.
        notes: Sentences for the user.
    """

    model: ir.Model
    specs: tuple[TensorSpec, ...]
    fixed_batch: int | None
    notes: tuple[str, ...]

    @property
    def open_shapes(self) -> str:
        """Its inputs that leave more open than the batch, as ``trtqat build --shapes`` takes them.

        The sizes are those that the user named, and ``?`` where that is for them to choose.
        """
        pairs = zip(self.model.graph.inputs, self.specs, strict=True)
        is_open = (spec for value, spec in pairs if DYNAMIC in _dims(value)[1:])
        return ",".join(profile_example(spec, "?") for spec in is_open)


def read_float_graph(
    source: Path, inputs: Sequence[TensorSpec] = (), for_: Target | None = None
) -> FloatGraph:
    """Reads a float graph, and brings it into the form that quantizers are put into.

    Args:
        source: ONNX file, FP32.
        inputs: How large open dimensions are; the first one is the batch and stays open.
        for_: The TensorRT that it is for; an opset that only newer ones read stays for these.

    Raises:
        GraphError: It is not ONNX, is quantized already, is not in FP32 or holds NaN.
        SourceError: It has no such input, that has another shape, or one is no tensor of numbers.
        ExportError: A node has no form in an opset with pairs.
    """
    model = read_model(source)
    _check_not_quantized(source, model)
    check_finite(source, model.graph)
    metadata = dict(model.metadata_props)
    tidy(model)
    if (model.producer_name or "") == _OF_PYTORCH:
        name_nodes(model)
        # Some keep in it what they need to read the outputs, as the characters of a recognizer.
        model.metadata_props.update(metadata)
    else:
        name_unnamed(model)
    _unname_dimensions(model)
    # Sizes of what is cut by a size are known only once that is a constant.
    run((fold_splits, infer_shapes, fold_constants, infer_shapes, fold_constants), model)
    run((write_products, write_sums, fold_zeros), model)
    model, notes = _in_opset_of_pairs(model, for_)
    given = specs_by_name(inputs)
    write_ranks(model.graph, given)
    infer_shapes(model)
    if any(is_in_double(value) for node in model.graph for value in node.outputs):
        run((fold_constant_layers,), model)
    _check_float32(source, model)
    check_tensors(model.graph)
    specs = _specs(model.graph, given)
    return FloatGraph(model, specs, _fixed_batch(specs), tuple(notes))


def _check_not_quantized(source: Path, model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if node.op_type in PAIR:
            raise GraphError(
                f"'{source}' is quantized already: '{name_of(node)}' is {node.op_type}.",
                "Improve it with trtqat export, or give the float graph that it was made of.",
            )
        if node.op_type.startswith(_INTEGER_PREFIXES) or node.op_type == "ConvInteger":
            raise GraphError(
                f"'{source}' is quantized already: '{name_of(node)}' is {node.op_type}, which "
                "TensorRT does not read.",
                "Give the float graph that it was made of.",
            )


def _in_opset_of_pairs(model: ir.Model, for_: Target | None) -> tuple[ir.Model, list[str]]:
    present = model.graph.opset_imports.get("", 0)
    if present < _PAIR_OPSET:
        raised = raise_opset(model, _PAIR_OPSET)
        return raised, [
            f"The graph's opset {present} was raised to {_PAIR_OPSET}, which has pairs."
        ]
    if is_for_8_6(present) or for_ not in (None, "8.6"):
        return model, []
    if present == LOWERABLE_OPSET:
        run((lower_opset, write_ir_version), model)
        return model, []
    return model, [
        f"The graph keeps its opset {present}, which TensorRT 8.6 does not read: only opset "
        f"{LOWERABLE_OPSET} can be lowered, to {NEWEST_OPSET_OF_8_6}. Export the model in that one "
        "for 8.6."
    ]


def _unname_dimensions(model: ir.Model) -> None:
    """Takes the name "?" off open dimensions, in place: two of that name need not be equal.

    TensorRT for RTX refused a graph whose height and width were both called so, for sizes that
    differ; PaddlePaddle's converter writes it.
    """
    made = (value for node in model.graph.all_nodes() for value in node.outputs)
    for value in (*model.graph.inputs, *made):
        dims = list(value.shape or ())
        # A shape that was read may be frozen, so it is another one.
        if any(not isinstance(dim, int) and dim.value == _UNKNOWN for dim in dims):
            known = (dim if isinstance(dim, int) else dim.value for dim in dims)
            value.shape = ir.Shape([None if dim == _UNKNOWN else dim for dim in known])


def _check_float32(source: Path, model: ir.Model) -> None:
    """Refuses a graph in another floating-point type: its scales would be of that type."""
    made = (value for node in model.graph for value in node.outputs)
    for value in (*model.graph.inputs, *made):
        if value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE):
            raise GraphError(
                f"'{source}' computes in {value.dtype.name}, as '{value.name}'; quantizers are "
                "put into FP32 graphs.",
                "Export the model in FP32; trtqat export --precision fp16 derives FP16.",
            )


def _specs(graph: ir.Graph, given: dict[str, TensorSpec]) -> tuple[TensorSpec, ...]:
    names = [str(value.name) for value in graph.inputs]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise SourceError(
            f"The graph has no input '{unknown[0]}'; it has {', '.join(names)}.", "Use those names."
        )
    return tuple(_spec(value, given.get(str(value.name))) for value in graph.inputs)


def _spec(value: ir.Value, given: TensorSpec | None) -> TensorSpec:
    dtype = np.dtype(np.float32 if value.dtype is None else value.dtype.numpy()).name
    if value.shape is None:
        if given is None:
            raise SourceError(
                f"The shape of input '{value.name}' is not known.",
                f"Give it: --input {value.name}:1x3x224x224",
            )
        return TensorSpec(str(value.name), (DYNAMIC, *given.shape[1:]), dtype)
    dims = _dims(value)
    if given is None:
        return TensorSpec(str(value.name), tuple(dims), dtype)
    wished = zip(dims[1:], given.shape[1:], strict=False)
    if len(given.shape) != len(dims) or any(dim not in (DYNAMIC, wish) for dim, wish in wished):
        raise SourceError(
            f"Input '{value.name}' of the graph is {value.shape}, not {given}.",
            "An ONNX file brings its shapes; give only dimensions that it leaves open.",
        )
    return TensorSpec(str(value.name), (*dims[:1], *given.shape[1:]), dtype)


def _dims(value: ir.Value) -> list[int]:
    """Of an input, -1 where one is open; some writers mean that by 0 or -1."""
    dims = value.shape or ()
    return [dim if isinstance(dim, int) and dim > 0 else DYNAMIC for dim in dims]


def _fixed_batch(specs: Sequence[TensorSpec]) -> int | None:
    """The first dimension of the inputs; None where one leaves it open."""
    firsts = [spec.shape[0] for spec in specs if spec.shape]
    return None if DYNAMIC in firsts else max(firsts, default=1)
