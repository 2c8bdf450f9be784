"""Pass: weights become INT8 initializers.

1. QuantizeLinear of a constant is computed now; its codes are the initializer that
   DequantizeLinear reads. They are the codes that the trained quantizer produced, and the file
   shrinks to about a quarter. What is not symmetric INT8 stays.
2. A weight that the graph computes from initializers (a weight times a BatchNorm's γ/σ, as
   in torch.ao's ConvBn modules) is computed first.

``make_weights_float`` is the way back.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import (
    QUANTIZE,
    parameters_of,
    quantize_array,
)
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.evaluate_weight import evaluate_weight


@dataclass(frozen=True)
class QuantizedWeights:
    """What the pass did.

    Attributes:
        count: Weights that are INT8 initializers now.
        computed: Names of those that the graph computed from several initializers.
    """

    count: int
    computed: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """None: the figures say it all."""
        return ()


def quantize_weights(model: ir.Model) -> QuantizedWeights:
    """Replaces QuantizeLinear of constants by its codes, in place.

    Args:
        model: With Q/DQ pairs whose scales are initializers.
    """
    graph, weights_of_graph = model.graph, Weights()
    computed: list[str] = []
    # Two quantizers of equal scale on one weight have the same codes.
    stored: dict[tuple[ir.Value, bytes, int | None], ir.Value] = {}
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type != QUANTIZE or source is None or source not in weights_of_graph:
            continue
        parameters = parameters_of(node)
        constant = constant_array(source)
        weights = evaluate_weight(graph, source) if constant is None else constant
        # Any other weight is left as it is: lint has a rule for each of them.
        is_plain = parameters.fits(weights) and parameters.is_int8
        if not is_plain or node.outputs[0].is_graph_output():
            continue
        assert parameters.scale is not None
        key = (source, parameters.scale.tobytes(), parameters.axis)
        if key not in stored:
            if constant is None:
                computed.append(str(source.name))
            codes = quantize_array(weights, parameters.scale, parameters.axis)
            # TensorRT names a constant and a layer alike, so no weight is called like its node.
            name = source.name if source.is_initializer() else f"{name_of(node)}.weight"
            stored[key] = add_initializer(graph, f"{name}.codes", codes)
        node.outputs[0].replace_all_uses_with(stored[key])
        count += 1
    remove_unused(graph)
    return QuantizedWeights(count, tuple(computed))
