"""TensorRT's profiler, which tells the time of each layer."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_profiler(trt: ModuleType, report: Callable[[str, float], None]) -> Any:  # noqa: ANN401
    """An ``IProfiler``.

    Args:
        trt: The module of the TensorRT that runs the engine.
        report: Called with the name and the time in ms of every layer of every enqueue.
    """
    base = trt.IProfiler

    class Profiler(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            report(layer_name, ms)

    return Profiler()
