"""What each layer of an engine takes, and in which precision it runs: for the report's bars."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.errors import TrtqatError
from trtqat.runtime.protocol import Model

if TYPE_CHECKING:
    from trtqat.inspection.engine_layers import Inspection
    from trtqat.inspection.inspector import EngineLayer

_LOG = logging.getLogger(__name__)

_PASSES = 50
_NOT_SAID = "not said"


@dataclass(frozen=True)
class LayerTime:
    """A layer of the engine.

    Attributes:
        name: TensorRT's.
        precision: Type of its weights, or else all of what it reads; where it writes others, both
            ends.
        time_ms: Median under TensorRT's profiler, which makes every layer slower.
    """

    name: str
    precision: str
    time_ms: float


def time_layers(model: Model, batch_size: int) -> tuple[LayerTime, ...]:
    """Times an engine's layers.

    Args:
        model: An engine; anything else has none.
        batch_size: For which.

    Returns:
        Layers in the order of execution; none where TensorRT's runtime has no inspector (lean
        and dispatch), as nothing then tells what a layer is, or where it fails.
    """
    engine = model.engine
    if engine is None or not engine.has_inspector:
        return ()
    from trtqat.inspection.engine_layers import inspect_engine

    try:
        found = inspect_engine(engine, batch_size=batch_size, passes=_PASSES)
    except (TrtqatError, ValueError) as error:
        # What was measured before must not be lost.
        _LOG.warning("The layers of '%s' could not be timed: %s", model.name, error)
        return ()
    return layer_times(found)


def layer_times(inspection: Inspection) -> tuple[LayerTime, ...]:
    """Joins the inspector's layers with the profiler's times."""
    times = inspection.times.median_ms if inspection.times else {}
    return tuple(
        LayerTime(layer.name, _precision(layer), times[layer.name])
        for layer in inspection.layers
        if layer.name in times
    )


def _precision(layer: EngineLayer) -> str:
    if layer.weight_dtype:
        return layer.weight_dtype
    # A product may read codes and floats, and then it is not INT8.
    ends = [
        ", ".join(dict.fromkeys(tensor.dtype or _NOT_SAID for tensor in side)) or _NOT_SAID
        for side in (layer.inputs, layer.outputs)
    ]
    return " → ".join(dict.fromkeys(ends))
