"""A build that can be watched and interrupted: TensorRT works in a thread of its own.

From 10.0 on TensorRT reports phases with steps, and stops when it is told to. 8.6 reports
nothing, so what it logged last says where it is.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from types import ModuleType
from typing import Any

from trtqat.building import versions
from trtqat.building.rtx import is_rtx
from trtqat.errors import first_line
from trtqat.host.tensorrt_log import Messages

_LOG = logging.getLogger(__name__)

_HEARTBEAT_S = 15.0
# 8.6 logs "--------------- Timing Runner: /conv/Conv + /relu/Relu (CaskConvolution[0x80000009])".
_TIMING = re.compile(r"Timing Runner: (.+?) \(\w+")


_ANNOUNCED = {
    False: "TensorRT is building; it times many kernels and may take minutes.",
    True: "TensorRT for RTX is building, without a GPU.",
}


class Phases:
    """The phases of a build as TensorRT 10 and newer report them, from threads of their own.

    Attributes:
        is_cancelled: Whether the build is to stop.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        # A phase that starts inside another one stands behind it.
        self._open: dict[str, tuple[int, int]] = {}

    def start(self, name: str, steps: int) -> None:
        """A phase of so many steps begins."""
        self._open[name] = (0, steps)

    def step(self, name: str, step: int) -> bool:
        """A step, counted from 0, is done; returns whether the build goes on."""
        if name in self._open:
            self._open[name] = (step + 1, self._open[name][1])
        return not self.is_cancelled

    def finish(self, name: str) -> None:
        """A phase is over."""
        self._open.pop(name, None)

    def __str__(self) -> str:
        return ", ".join(f"{name} {done}/{steps}" for name, (done, steps) in [*self._open.items()])


def build_watched(
    trt: ModuleType,
    builder: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    messages: Messages,
) -> tuple[bytes | None, str]:
    """Builds, says every quarter of a minute where the build is, and hears Ctrl-C.

    Args:
        trt: The imported module.
        builder: Its ``Builder``.
        network: What to build.
        config: How; a progress monitor is attached where there are any.
        messages: What the logger collects.

    Returns:
        The plan, or None and the reason why there is none.
    """
    results: list[Any] = []
    failures: list[Exception] = []
    phases = Phases()
    monitor = _attach_monitor(trt, config, phases)

    def work() -> None:
        try:
            results.append(builder.build_serialized_network(network, config))
        # It belongs to the thread that waits: reported below, with TensorRT's own reason.
        except Exception as error:
            failures.append(error)

    start = time.monotonic()
    worker = threading.Thread(target=work, name="trtqat-build", daemon=True)
    worker.start()
    _LOG.info("%s", _ANNOUNCED[is_rtx(trt)])
    try:
        while worker.is_alive():
            worker.join(_HEARTBEAT_S)
            if worker.is_alive():
                where = str(phases) if monitor is not None else where_in_log(messages.latest)
                _LOG.info("Still building after %.0f s%s", time.monotonic() - start, _behind(where))
    except KeyboardInterrupt:
        phases.is_cancelled = True
        raise
    if results and results[0] is not None:
        return bytes(results[0]), ""
    return None, messages.reason(first_line(failures[0]) if failures else "it gave no reason")


def where_in_log(line: str) -> str:
    """Where a build of TensorRT 8.6 is, by the line that it logged last."""
    timing = _TIMING.search(line)
    return f"timing kernels of {timing[1]}" if timing else line.strip().strip("-*=").strip()


def _behind(where: str) -> str:
    return f": {where[:120]}" if where else "."


def _attach_monitor(trt: ModuleType, config: Any, phases: Phases) -> Any:  # noqa: ANN401
    base = versions.progress_monitor(trt)
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase  # the order of the open phases tells it
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor
