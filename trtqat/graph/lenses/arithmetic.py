"""What multiplies in a graph besides Conv, ConvTranspose, Gemm and MatMul.

Whatever it is, it is not INT8: TensorRT has INT8 for those four (``layers``). It is counted all
the same, so that a share of INT8 is a share of the whole, and what cannot be counted is named:

1. Operators with a formula (``mac_formulas``): recurrences, attention, Einsum, integer operators,
   those that ONNX Runtime fuses.
2. ``ReduceSum`` of a product of two tensors, which is a matrix product in other words.
3. Nodes with graphs inside (If, Loop, Scan), if something multiplies in there.
4. Operators that are not known to multiply nothing: of other domains, plugins, or newer than this
   file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx
import onnx_ir as ir

from trtqat.graph.lenses.basics import Readers, constant_array, name_of
from trtqat.graph.lenses.layers import CONVOLUTIONS, PRODUCTS
from trtqat.graph.lenses.mac_formulas import (
    MICROSOFT,
    PerSample,
    is_counted,
    macs_of_node,
    operator_of,
    shape_of,
)
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE

Kind = Literal["recurrent", "product", "integer", "subgraph", "unknown"]

RECURRENT = ("LSTM", "GRU", "RNN")
_LAYERS = (*CONVOLUTIONS, *PRODUCTS)
# The newest opset whose operators were looked through for those that multiply.
_NEWEST_KNOWN_OPSET = 28
# Of other domains, these are known to pool, move, normalize or compute element by element.
_HARMLESS = {
    MICROSOFT: {
        QUANTIZE, DEQUANTIZE, "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "Crop",
        "DynamicTimeWarping", "EmbedLayerNormalization", "ExpandDims", "FastGelu", "Gelu",
        "GroupNorm", "Inverse", "MaxpoolWithMask", "NhwcMaxPool", "Pad", "QLinearAdd",
        "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearLeakyRelu",
        "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere",
        "QuickGelu", "RotaryEmbedding", "SimplifiedLayerNormalization", "SkipGroupNorm",
        "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "Trilu", "Unique",
    },
    "ai.onnx.ml": {
        "ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer",
        "FeatureVectorizer", "Imputer", "LabelEncoder", "Normalizer", "OneHotEncoder", "Scaler",
        "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap",
    },
    # TensorRT's own plugins, which stand in ONNX's domain.
    "": {
        "BatchedNMSDynamic_TRT", "BatchedNMS_TRT", "EfficientNMS_Explicit_TF_TRT",
        "EfficientNMS_Implicit_TF_TRT", "EfficientNMS_ONNX_TRT", "EfficientNMS_TRT",
        "InstanceNormalization_TRT", "NMS_TRT", "NMSDynamic_TRT", "PriorBox_TRT",
        "ROIAlign_TRT", "Region_TRT", "Reorg_TRT", "ScatterND",
    },
    "trt.plugins": {"EfficientNMS_TRT", "ROIAlign_TRT"},
}  # fmt: skip
_INTEGER_PREFIXES = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger")


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """One node that multiplies, or may.

    Attributes:
        node: The node.
        kind: ``recurrent``; ``product`` of tensors; ``integer`` operators, which compute on codes
            and which TensorRT does not read; ``subgraph``, a node with graphs inside;
            ``unknown``, an operator of which nobody says what it computes.
        macs: Multiply-accumulates for one sample; None if they cannot be told.
        inside: Names of the nodes in its graphs that multiply.
    """

    node: ir.Node
    kind: Kind
    macs: int | None
    inside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The node's name."""
        return name_of(self.node)

    @property
    def operator(self) -> str:
        """Its operator, with the domain if that is not ONNX's own."""
        return operator_of(self.node)


def other_arithmetic(graph: ir.Graph, per_sample: PerSample, readers: Readers) -> list[Arithmetic]:
    """All of it, in the order of the graph.

    Args:
        graph: Any graph.
        per_sample: The elements of a tensor that one sample has; None if that is not known.
        readers: Those of the graph.
    """
    found = (_arithmetic(node, per_sample, readers) for node in graph if not is_layer(node))
    return [each for each in found if each is not None]


def is_layer(node: ir.Node) -> bool:
    """Whether it is one of the four operators that TensorRT runs in INT8."""
    return node.op_type in _LAYERS and node.domain in ONNX_DOMAINS


def _arithmetic(node: ir.Node, per_sample: PerSample, readers: Readers) -> Arithmetic | None:
    """Of one node, which may stand in a subgraph of the graph."""
    if any(_graphs_in(node)):
        return _of_subgraphs(node, per_sample, readers)
    if is_counted(node):
        if node.op_type == "Einsum" and len(node.inputs) < 2:
            return None  # it moves or sums
        return Arithmetic(node, _kind(node), macs_of_node(node, per_sample))
    if node.op_type == "ReduceSum" and node.domain in ONNX_DOMAINS:
        macs = _summed_product(node, per_sample, readers)
        return None if macs is None else Arithmetic(node, "product", macs)
    return None if _is_harmless(node) else Arithmetic(node, "unknown", None)


def _kind(node: ir.Node) -> Kind:
    if node.op_type in RECURRENT or node.op_type == "DynamicQuantizeLSTM":
        return "recurrent"
    is_integer = node.op_type.startswith(_INTEGER_PREFIXES) or node.op_type == "ConvInteger"
    return "integer" if is_integer else "product"


def _is_harmless(node: ir.Node) -> bool:
    domain = "" if node.domain in ONNX_DOMAINS else node.domain
    if node.op_type in _HARMLESS.get(domain, ()):
        return True
    return not domain and bool(onnx.defs.has(node.op_type, _NEWEST_KNOWN_OPSET, ""))


def _summed_product(node: ir.Node, per_sample: PerSample, readers: Readers) -> int | None:
    """What ReduceSum of a Mul of two other tensors multiplies; None if it is not that."""
    source = node.inputs[0]
    product = None if source is None else source.producer()
    if product is None or product.op_type != "Mul":
        return None
    if len(readers.first(product.outputs[0], 2)) > 1:
        return None
    first, second = product.inputs
    both = [shape_of(value) for value in (first, second)]
    # A square is part of a norm, and one number scales.
    if first is second or any(all(dim == 1 for dim in shape) for shape in both):
        return None
    return per_sample(product.outputs[0])


def _graphs_in(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _of_subgraphs(node: ir.Node, per_sample: PerSample, readers: Readers) -> Arithmetic | None:
    totals: list[int | None] = []
    inside: list[str] = []
    for body in _graphs_in(node):
        total: int | None = 0
        for each in body:
            found = _inside(each, per_sample, readers)
            if found is None:
                continue
            inside.append(found.name)
            total = None if total is None or found.macs is None else total + found.macs
        totals.append(total)
    if not inside:
        return None
    times = _repetitions(node)
    # Of the branches of an If one runs; the larger one is counted.
    largest = None if None in totals else max(total for total in totals if total is not None)
    macs = None if times is None or largest is None else times * largest
    return Arithmetic(node, "subgraph", macs, tuple(inside))


def _inside(node: ir.Node, per_sample: PerSample, readers: Readers) -> Arithmetic | None:
    if is_layer(node):
        return Arithmetic(node, "product", macs_of_node(node, per_sample))
    # Graphs lie at most as deep as protocol buffers nest: 100.
    return _arithmetic(node, per_sample, readers)


def _repetitions(node: ir.Node) -> int | None:
    """How often the graphs of a node run; None if the data decide it."""
    if node.op_type == "If":
        return 1
    if node.op_type == "Loop":
        trips = None if node.inputs[0] is None else constant_array(node.inputs[0])
        return None if trips is None or trips.size != 1 else max(0, int(trips.reshape(())))
    if node.op_type == "Scan":
        attribute = node.attributes.get("num_scan_inputs")
        count = 0 if attribute is None else attribute.as_int()
        axes = node.attributes.get("scan_input_axes")
        axis = 0 if axes is None or not axes.as_ints() else axes.as_ints()[0]
        shape = shape_of(node.inputs[len(node.inputs) - count]) if count else []
        return shape[axis] if -len(shape) <= axis < len(shape) else None
    return None
