"""What the tensors of a float graph are on the data, on ONNX Runtime, and the ranges for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch

from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.passes.evaluate_weight import evaluate_weight
from trtqat.graph.passes.insert_quantizers import GraphQuantizer
from trtqat.graph_file.serialized import Serialized, derived, parse, with_outputs
from trtqat.quant.fake_quantize import CODE_MAX, CODE_MIN
from trtqat.quant.int8_quantizer import SMALLEST_AMAX, WEIGHT_CODE_MIN
from trtqat.quant.ranges.activation_ranges import ActivationMethod, activation_range
from trtqat.quant.ranges.histogram import MagnitudeHistogram
from trtqat.quant.ranges.observing import SeenRange, see_weight
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.search.float_graph.groups import PlannedPair
from trtqat.tensors import Array, Arrays

# What one run may hold of the tensors that are looked at.
_BYTES_AT_ONCE = 2**28

Types = Mapping[str, tuple[tuple[int, ...], ir.DataType]]


def types_of_run(graph: Serialized, names: Sequence[str], batch: Arrays) -> Types:
    """The shape and type of every tensor in a run.

    Args:
        graph: Serialized ONNX model.
        names: Of tensors that its nodes make.
        batch: Inputs by name.

    Raises:
        GraphError: ONNX Runtime does not accept the graph.
        InferenceError: It fails on the batch.
    """
    found = dict(batch)
    tapped = derived(graph, with_outputs(parse(graph), names))
    with OnnxModel(tapped, as_written=True) as model:
        found.update(model.session(1).run(batch))
    return {name: (each.shape, _type_of(each)) for name, each in found.items()}


def _type_of(array: Array) -> ir.DataType:
    # Text is an object to NumPy.
    return ir.DataType.STRING if array.dtype.kind in "OUS" else ir.DataType.from_numpy(array.dtype)


def samples_at_once(tensors: Iterable[str], types: Types, run: int, wanted: int) -> int:
    """How many samples fit into the memory of a run, at least one.

    Args:
        tensors: That are looked at.
        types: Of a run.
        run: Samples of that run.
        wanted: As many as are wanted.
    """
    each = sum(4 * math.prod(types[name][0]) for name in tensors if name in types) / run
    return max(1, min(wanted, int(_BYTES_AT_ONCE / each))) if each else wanted


def histograms(
    graph: Serialized,
    quantizers: Sequence[PlannedPair],
    types: Types,
    batches: Callable[[], Iterator[Arrays]],
    seen: Callable[[int], object],
) -> dict[str, MagnitudeHistogram]:
    """What each quantizer of an activation sees.

    Args:
        graph: Serialized float graph.
        quantizers: Where they are to stand.
        types: Of a run of one batch.
        batches: Yields the same batches at each call.
        seen: Called with the samples of every batch.

    Returns:
        Histograms by quantizer.

    Raises:
        GraphError: ONNX Runtime does not accept the graph.
        InferenceError: It fails on a batch.
    """
    found = {each.name: MagnitudeHistogram() for each in quantizers if not each.is_weight}
    owner = {name: each.name for each in quantizers if not each.is_weight for name in each.tensors}
    proto = parse(graph)
    inputs = {each.name for each in proto.graph.input}
    for number, names in enumerate(_portions(list(owner), types)):
        computed = [name for name in names if name not in inputs]
        # Without a tensor to look at, ONNX Runtime has nothing to compute.
        outputs = computed or [proto.graph.output[0].name]
        with OnnxModel(derived(graph, with_outputs(proto, outputs))) as model:
            session = model.session(1)
            for batch in batches():
                arrays = {**batch, **session.run(batch)}
                for name in names:
                    found[owner[name]].add(torch.from_numpy(np.ascontiguousarray(arrays[name])))
                if not number:
                    seen(len(next(iter(batch.values()))))
    return found


def _portions(names: Sequence[str], types: Types) -> Iterator[list[str]]:
    """The tensors, in portions that one run may hold; most graphs are one."""
    portion: list[str] = []
    size = 0
    for name in names:
        each = 4 * math.prod(types[name][0])
        if portion and size + each > _BYTES_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(name)
        size += each
    if portion:
        yield portion


def range_of(
    planned: PlannedPair, histogram: MagnitudeHistogram, method: ActivationMethod
) -> tuple[SeenRange, GraphQuantizer]:
    """The range of an activation.

    Args:
        planned: The quantizer.
        histogram: Of what it saw.
        method: How the range is chosen.

    Raises:
        QuantizerError: It saw nothing, or values that are not finite.
    """
    found = activation_range(histogram, method, name=planned.name)
    seen = SeenRange(
        planned.name,
        planned.places,
        False,
        found.method,
        histogram.minimum,
        histogram.maximum,
        found.amax,
        found.clipped,
        found.sqnr_db,
    )
    return seen, _quantizer(planned, torch.tensor(found.amax), CODE_MIN)


def range_of_weight(
    planned: PlannedPair, model: ir.Model, method: ActivationMethod
) -> tuple[SeenRange, GraphQuantizer]:
    """The range of a weight, or those of its channels.

    Args:
        planned: The quantizer.
        model: The float graph, which has the weight or computes it from initializers.
        method: How ranges of activations are chosen; a weight's follow it.

    Raises:
        QuantizerError: The weight is empty, or not finite.
    """
    weight = torch.from_numpy(np.array(_weight(model.graph, planned.tensors[0])))
    seen, amax = see_weight(planned.name, planned.places, weight, planned.axis, method)
    return seen, _quantizer(planned, amax, WEIGHT_CODE_MIN)


def _weight(graph: ir.Graph, name: str) -> Array:
    value = graph.initializers.get(name)
    if value is None:
        value = next(each for node in graph for each in node.outputs if each.name == name)
    array = constant_array(value)
    return evaluate_weight(graph, value) if array is None else array


def _quantizer(planned: PlannedPair, amax: torch.Tensor, low: float) -> GraphQuantizer:
    scale = amax.to(torch.float32).clamp(min=SMALLEST_AMAX) / CODE_MAX
    return GraphQuantizer(planned.name, scale.numpy(), planned.axis, low, planned.readers)
