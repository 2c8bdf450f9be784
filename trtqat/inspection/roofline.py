"""How far an engine is from what its GPU could do at most: the roofline model.

A layer takes at least as long as its arithmetic takes at the GPU's highest rate, and at least as
long as its inputs, weights and outputs take through the GPU's memory (Williams, Waterman and
Patterson, Communications of the ACM 52(4), 2009). The GPU's rates are measured, not read from a
data sheet; what stays in the cache between two layers can be faster than this floor.

    floor_ms = max(2 · MACs / operations per s, (inputs + weights + outputs) / bytes per s)

Where it is not known in which type a layer runs, or how large it is, the floor is the lower one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trtqat.errors import InferenceError, UsageError, first_line
from trtqat.files import check_writable
from trtqat.host.ceilings import Ceilings, read_ceilings
from trtqat.inspection.coverage import is_compiled_subgraph
from trtqat.inspection.inspector import EngineLayer, EngineTensor
from trtqat.plan.coverage import Coverage, LayerCoverage
from trtqat.runtime.pytorch_devices import require_cuda

# Of a type that is not among them, none is counted.
_ITEM_BYTES = {
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "float8": 1,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "int32": 4,
    "int64": 8,
}
# These become many engine layers, of which the one that names the node does a part of the work.
_LOOPS = ("LSTM", "GRU", "RNN", "If", "Loop", "Scan")


@dataclass(frozen=True)
class LayerRoof:
    """An engine layer and its floor.

    Attributes:
        name: Of the engine layer.
        macs: Multiply-accumulates of the whole batch, in the graph's layers that it runs.
        traffic_bytes: Its inputs, weights and outputs, each once; channels that a vectorized
            format pads are not counted.
        floor_ms: The longer one of what both take at the GPU's highest rates.
        bound: Which one that is.
        time_ms: What it takes under TensorRT's profiler; None if it was not measured.
    """

    name: str
    macs: int
    traffic_bytes: int
    floor_ms: float
    bound: Literal["compute", "memory"]
    time_ms: float | None

    @property
    def gap_ms(self) -> float:
        """What it takes beyond its floor; 0 if it was not measured."""
        return 0.0 if self.time_ms is None else self.time_ms - self.floor_ms


@dataclass(frozen=True)
class Roofline:
    """An engine against the limits of its GPU.

    Attributes:
        ceilings: The limits.
        layers: Its layers, in the order of execution.
        batch_size: For which.
        network_floor_ms: Of the whole engine, if nothing between its layers went through memory:
            all arithmetic, or its inputs, weights and outputs.
        compute_ms: What it takes end to end, without profiler; None if it was not measured.
        uncounted: Layers of the graph whose arithmetic is in no floor: their shapes are not
            known, or nothing tells which engine layer runs them.
    """

    ceilings: Ceilings
    layers: tuple[LayerRoof, ...]
    batch_size: int
    network_floor_ms: float
    compute_ms: float | None
    uncounted: tuple[str, ...] = ()

    @property
    def floor_ms(self) -> float:
        """Sum of the layers' floors: with the engine's layers as they are fused."""
        return sum(layer.floor_ms for layer in self.layers)

    @property
    def profiled_ms(self) -> float | None:
        """Sum of the layers' times, which the profiler makes longer; None if none was measured."""
        times = [layer.time_ms for layer in self.layers if layer.time_ms is not None]
        return sum(times) if times else None

    @property
    def profiled_floor_ms(self) -> float:
        """Sum of the floors of the layers that have a time."""
        return sum(layer.floor_ms for layer in self.layers if layer.time_ms is not None)

    @property
    def share(self) -> float | None:
        """Floor over time: 1 is the limit; None if it was not measured."""
        return self.floor_ms / self.compute_ms if self.compute_ms else None

    def largest_gaps(self, count: int = 5) -> tuple[LayerRoof, ...]:
        """The layers that take most beyond their floors."""
        timed = [layer for layer in self.layers if layer.time_ms is not None]
        return tuple(sorted(timed or self.layers, key=lambda each: -each.gap_ms)[:count])

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            **asdict(self),
            "floor_ms": self.floor_ms,
            "profiled_ms": self.profiled_ms,
            "share": self.share,
            "largest_gaps": [each.name for each in self.largest_gaps()],
        }


def draw_roofline(
    layers: Sequence[EngineLayer],
    coverage: Coverage,
    ceilings: Ceilings,
    *,
    batch_size: int,
    compute_ms: float | None = None,
) -> Roofline:
    """Sets an engine against the limits of its GPU.

    Args:
        layers: Of the engine, with the shapes of its tensors.
        coverage: The graph's layers as the engine runs them, and times.
        ceilings: Of the GPU.
        batch_size: For which shapes and times hold.
        compute_ms: GPU time of the whole engine.

    Raises:
        UsageError: The layers have no shapes.
    """
    network_bytes = _network_bytes(layers)
    # A NoOp is a name for memory that is already right.
    layers = [layer for layer in layers if layer.kind != "NoOp"]
    if not any(tensor.shape for layer in layers for tensor in layer.outputs):
        raise UsageError(
            "The engine's layers have no shapes, so there is no roofline.",
            "Build it with detailed profiling verbosity, as trtqat build does; and export layers "
            "of dynamic shapes with trtqat inspect --export-layer-info, which sets them.",
        )
    placed = _place(layers, coverage)
    roofs = tuple(
        _roof(layer, placed.get(layer.name, ()), batch_size, ceilings, coverage.times_ms)
        for layer in layers
    )
    arithmetic_ms = sum(_arithmetic_ms(each, batch_size, ceilings) for each in placed.values())
    counted = {layer.name for each in placed.values() for layer in each}
    return Roofline(
        ceilings,
        roofs,
        batch_size,
        max(arithmetic_ms, 1e3 * network_bytes / ceilings.bytes_per_s),
        compute_ms,
        tuple(layer.name for layer in coverage.layers if layer.name not in counted),
    )


def batch_size_of(layers: Sequence[EngineLayer], given: int | None = None) -> int:
    """The batch size that the shapes of an engine's inputs show.

    Args:
        layers: Of the engine.
        given: What a user said that it is.

    Raises:
        UsageError: The inputs begin with different dimensions and nothing was given, or what
            was given is none of them.
    """
    written = {tensor.name for layer in layers for tensor in layer.outputs}
    inputs = [each for layer in layers for each in layer.inputs if each.name not in written]
    sizes = sorted({tensor.shape[0] for tensor in inputs if tensor.shape})
    if given is None and len(sizes) == 1:
        return sizes[0]
    if given is not None and (given in sizes or not sizes):
        return given
    seen = " or ".join(map(str, sizes)) or "not known"
    raise UsageError(
        f"The batch size that the engine's layers are described for is {seen}"
        + (f", not {given}." if given else "."),
        "Give the one that they were exported for: --batch-size N",
    )


def find_ceilings(path: Path | None, gpu: str) -> Ceilings:
    """Ceilings from a file, or measured here and written to it.

    Args:
        path: The file; None writes none.
        gpu: Name of the GPU.

    Raises:
        UsageError: The file is damaged or another GPU's, or cannot be written.
        MissingError: There is no file, and no PyTorch that sees the GPU.
        InferenceError: PyTorch sees the GPU and cannot compute on it what is timed.
    """
    if path is not None and os.path.exists(path):
        return read_ceilings(path, gpu=gpu)
    if path is not None:
        check_writable(path)
    require_cuda(
        "Measuring what the GPU reaches at most",
        "PyTorch sees no GPU here, so what the GPU reaches at most cannot be measured.",
        "Give --ceilings FILE.json that was written on a host with a CUDA build of PyTorch.",
    )
    from trtqat.runtime.pytorch_ceilings import measure_ceilings

    try:
        found = measure_ceilings()
    except RuntimeError as error:
        raise InferenceError(
            f"PyTorch could not measure what {gpu} reaches at most: {first_line(error)}.",
            "Free some of its memory, or give --ceilings FILE.json that was written on another "
            "GPU of that name.",
        ) from error
    if path is not None:
        found.write(path)
    return found


def _place(
    layers: Sequence[EngineLayer], coverage: Coverage
) -> dict[str, tuple[LayerCoverage, ...]]:
    """The layers of the graph by the engine layer that runs them, as far as that is known."""
    names = {layer.name for layer in layers}
    subgraphs = [layer.name for layer in layers if is_compiled_subgraph(layer)]
    # A compiled subgraph does not name what is in it: what no other layer names, if it is alone.
    rest = subgraphs[0] if len(subgraphs) == 1 else ""
    placed: dict[str, tuple[LayerCoverage, ...]] = {}
    for layer in coverage.layers:
        name = layer.engine_layer or rest
        is_told = layer.operator not in _LOOPS or name in subgraphs
        if name in names and is_told and layer.macs is not None:
            placed[name] = (*placed.get(name, ()), layer)
    return placed


def _arithmetic_ms(layers: Sequence[LayerCoverage], batch_size: int, ceilings: Ceilings) -> float:
    total = 0.0
    for layer in layers:
        # Where nothing tells the type, the graph's wish gives the lower floor of the two.
        in_int8 = layer.wants_int8 if layer.runs_int8 is None else layer.runs_int8
        rate = ceilings.int8_ops_per_s if in_int8 else ceilings.fp16_ops_per_s
        total += 2e3 * batch_size * (layer.macs or 0) / rate
    return total


def _roof(
    layer: EngineLayer,
    runs: Sequence[LayerCoverage],
    batch_size: int,
    ceilings: Ceilings,
    times_ms: Mapping[str, float],
) -> LayerRoof:
    traffic = sum(map(_bytes, (*layer.inputs, *layer.outputs))) + _weight_bytes(layer)
    memory_ms = 1e3 * traffic / ceilings.bytes_per_s
    compute_ms = _arithmetic_ms(runs, batch_size, ceilings)
    return LayerRoof(
        name=layer.name,
        macs=batch_size * sum(each.macs or 0 for each in runs),
        traffic_bytes=traffic,
        floor_ms=max(compute_ms, memory_ms),
        bound="compute" if compute_ms > memory_ms else "memory",
        time_ms=times_ms.get(layer.name),
    )


def _network_bytes(layers: Sequence[EngineLayer]) -> int:
    """Inputs and outputs of the whole engine, and all weights.

    Args:
        layers: With NoOps: without, what one renames would be an output and an input.
    """
    written = {tensor.name for layer in layers for tensor in layer.outputs}
    read = {tensor.name for layer in layers for tensor in layer.inputs}
    ends = {
        tensor.name: _bytes(tensor)
        for layer in layers
        for tensor in (*layer.inputs, *layer.outputs)
        if (tensor.name in read) != (tensor.name in written)
    }
    return sum(ends.values()) + sum(map(_weight_bytes, layers))


def _bytes(tensor: EngineTensor) -> int:
    return math.prod(tensor.shape) * _ITEM_BYTES.get(tensor.dtype, 0) if tensor.shape else 0


def _weight_bytes(layer: EngineLayer) -> int:
    return layer.weight_count * _ITEM_BYTES.get(layer.weight_dtype, 0)
