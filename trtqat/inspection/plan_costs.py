"""What a plan of TensorRT for RTX does besides the graph's arithmetic, layer by layer.

Seen with 1.7.1.116, by its builder's list of layers: it pads the channels of a convolution's groups
to four, and has INT8 products write floating point, which another kernel reads and quantizes. In a
graph with FP16 around INT8 its Gemm and MatMul write FP16; its INT8 convolutions write FP32 still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from trtqat.inspection.inspector import EngineLayer
from trtqat.plan.coverage import PlanCost

if TYPE_CHECKING:  # onnx_ir is behind it, which build must be able to miss with a sentence
    from trtqat.graph.lenses.macs import LayerSummary

_FLOAT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

Running = Mapping[str, Sequence[EngineLayer]]


def find_costs(
    graph: Sequence[LayerSummary], running: Running, exits: Mapping[str, str]
) -> tuple[PlanCost, ...]:
    """Reads them off the layers that multiply; none where kinds do not tell which those are.

    Args:
        graph: The graph's layers.
        running: By what TensorRT calls a layer of the graph, the engine layers that run it.
        exits: ``graph.lenses.exits.float_exits(model)``: what the graph itself keeps float.
    """
    products = [
        (layer, running[layer.name_in_engine][0])
        for layer in graph
        if layer.name_in_engine in running and running[layer.name_in_engine][0].is_product
    ]
    costs = (_widened(products), _float_outputs(products, exits), _float32(products, exits))
    return tuple(cost for cost in costs if cost.layers)


def _widened(products: Sequence[tuple[LayerSummary, EngineLayer]]) -> PlanCost:
    """Convolutions whose weights have more channels in the plan than in the graph."""
    # One engine layer may run several layers of the graph, side by side.
    counts = Counter[str]()
    for layer, engine in products:
        counts[engine.name] += layer.weight_elements or 0
    found = []
    for layer, engine in products:
        count = counts[engine.name]
        if "Conv" in layer.operator and layer.macs and 0 < count < engine.weight_count:
            found.append((layer.name, layer.macs, layer.macs * engine.weight_count // count))
    return PlanCost(
        "widened",
        tuple(name for name, _, _ in found),
        sum(wide for _, _, wide in found),
        sum(macs for _, macs, _ in found),
    )


def _float_outputs(
    products: Sequence[tuple[LayerSummary, EngineLayer]], exits: Mapping[str, str]
) -> PlanCost:
    """INT8 products that write floating point, though the graph quantizes it again."""
    found = [
        (layer.name, layer.output_elements, size)
        for layer, engine in products
        if layer.is_int8 and layer.name not in exits and layer.output_elements
        for size in _written(engine)
    ]
    return PlanCost(
        "float-output",
        tuple(name for name, _, _ in found),
        sum(elements * size for _, elements, size in found),
        sum(elements for _, elements, _ in found),
    )


def _float32(
    products: Sequence[tuple[LayerSummary, EngineLayer]], exits: Mapping[str, str]
) -> PlanCost:
    """What writes FP32 and would write FP16 in a graph with FP16 around INT8."""
    found = [
        (layer.name, layer.output_elements)
        for layer, engine in products
        if layer.output_elements
        and 4 in _written(engine)
        and not (layer.is_int8 and layer.operator == "Conv")
        # An output of the graph stays FP32: a transposed convolution writes it itself, any other
        # product leaves it to another kernel.
        and not (engine.is_transposed and exits.get(layer.name) == "")
    ]
    elements = sum(count for _, count in found)
    return PlanCost("float32", tuple(name for name, _ in found), 4 * elements, 2 * elements)


def _written(engine: EngineLayer) -> Iterator[int]:
    """Bytes of an element that an engine layer writes in floating point; nothing of another."""
    if engine.outputs and engine.outputs[0].dtype in _FLOAT_BYTES:
        yield _FLOAT_BYTES[engine.outputs[0].dtype]
