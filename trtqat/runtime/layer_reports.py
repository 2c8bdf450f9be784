"""What TensorRT tells of layers: its inspector what they are, its profiler how long they take."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def ask_inspector(trt: ModuleType, engine: Any, context: Any) -> str:  # noqa: ANN401
    """What the inspector says of every layer, as JSON.

    Args:
        trt: The module of the TensorRT that runs the engine.
        engine: The ``ICudaEngine``.
        context: An ``IExecutionContext``, whose shapes decide formats and types.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return text


def tell_names_alone(trt: ModuleType, context: Any) -> None:  # noqa: ANN401
    """Has an execution context give profilers from outside the names of layers at most.

    Our plans have each layer's details for the inspector, which does not go by this. NVIDIA's
    reference says that they generally make each enqueue slower, as ranges for profilers (NVTX).
    Names alone are trtexec's default; a plan that has less refuses to have more.

    Args:
        trt: The module of the TensorRT that runs the engine.
        context: The ``IExecutionContext``.
    """
    if context.nvtx_verbosity == trt.ProfilingVerbosity.DETAILED:
        context.nvtx_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY


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
