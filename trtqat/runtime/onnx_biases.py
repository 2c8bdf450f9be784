"""Which graphs have biases that ONNX Runtime would change.

For its integer kernels ONNX Runtime makes INT32 codes of a float bias: bias / (scale of the input
x scale of the weight). It does not look whether they fit. Seen in 1.32: beside a channel of
nearly dead weights, whose scale is 1e-9, a bias of 0.5 became another number, and in FP16 graphs
each one whose code is above 65504 did, as the codes are in FP16 on the way.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trtqat.tensors import Array

if TYPE_CHECKING:
    import onnx

    from trtqat.graph_file.serialized import Serialized

# What makes those codes, as ONNX Runtime calls it.
QUANTIZES_BIASES = "WeightBiasQuantization"
# Half of what INT32 holds, so that no rounding of the division matters.
_LARGEST_CODE = 2.0**30
_DEQUANTIZE = "DequantizeLinear"


def keeps_biases(content: Path | Serialized, folder: Path | None) -> bool:
    """Whether every bias beside INT8 has an INT32 code.

    Args:
        content: The graph, whole.
        folder: Where weights of a graph lie that is not in a file.

    Returns:
        False also where that cannot be told: a scale or a bias is computed, the graph is damaged,
        or onnx is missing.
    """
    if importlib.util.find_spec("onnx") is None:
        return False
    try:
        proto, base = _read(content, folder)
    except Exception:
        return False  # ONNX Runtime will say what is wrong with the file
    return _keeps_biases(proto, base)


def _keeps_biases(proto: onnx.ModelProto, base: str) -> bool:
    from trtqat.graph_file.serialized import graphs_of

    graphs = list(graphs_of(proto))
    constants = {each.name: each for graph in graphs for each in graph.initializer}
    dequantizers = {
        node.output[0]: node
        for graph in graphs
        for node in graph.node
        if node.op_type == _DEQUANTIZE
    }

    def value_of(name: str) -> Array | None:
        from onnx import TensorProto, checker, numpy_helper

        found = constants.get(name)
        if found is None or found.data_type != TensorProto.FLOAT:
            return None
        try:
            return np.asarray(numpy_helper.to_array(found, base), np.float64)
        except (OSError, checker.ValidationError):  # it lies in a file that is not there
            return None

    for node in (node for graph in graphs for node in graph.node):
        layer, bias = node.input[:2], node.input[2] if len(node.input) > 2 else ""
        if not bias or bias in dequantizers or not all(each in dequantizers for each in layer):
            continue
        scales = [value_of(dequantizers[each].input[1]) for each in layer]
        if not _fit(value_of(bias), *scales):
            return False
    return True


def _fit(bias: Array | None, source: Array | None, weight: Array | None) -> bool:
    if bias is None or source is None or weight is None:
        return False
    with np.errstate(all="ignore"):
        try:
            codes = np.abs(bias / (source * weight))
        except ValueError:  # their shapes do not go together: it is no layer's bias
            return False
    # Not so of NaN: a bias of 0 beside a scale of 0.
    return bool((codes <= _LARGEST_CODE).all())


def _read(content: Path | Serialized, folder: Path | None) -> tuple[onnx.ModelProto, str]:
    """The message, and where its weights lie."""
    import onnx

    from trtqat.graph_file.serialized import parse

    if isinstance(content, Path):
        return onnx.load(content, load_external_data=False), str(content.parent)
    base = (folder or "") if isinstance(content, bytes) else content.folder.path
    return parse(content), str(base)
