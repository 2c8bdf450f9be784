"""What the GPU's clocks, temperature and power were while something was measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from trtqat.errors import first_line
from trtqat.host.nvml import handle_of, opened_nvml

_LOG = logging.getLogger(__name__)

# NVML's names of what lowers clocks, of those that spoil a measurement. An idle GPU and clocks
# that somebody has set are none.
_SPOILING = {
    "SwPowerCap": "power limit",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "temperature",
    "HwThermalSlowdown": "temperature",
    "HwPowerBrakeSlowdown": "power brake",
}
# Of the highest clock seen: what the lowest may be before it counts as a change.
_STEADY = 0.97


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment.

    Attributes:
        sm_clock_mhz: Clock of the multiprocessors.
        temperature_c: Of the GPU.
        power_w: What the board draws.
        throttled_by: What holds the clocks down: power limit, temperature, hardware slowdown,
            power brake.
    """

    sm_clock_mhz: int
    temperature_c: int
    power_w: float
    throttled_by: tuple[str, ...]


@dataclass(frozen=True)
class Telemetry:
    """A GPU over a measurement.

    Attributes:
        before: Its state before, idle perhaps.
        after: Right after the last query.
        lowest_sm_clock_mhz: Over the states between turns.
        highest_sm_clock_mhz: Over the states between turns.
        max_sm_clock_mhz: What the GPU may reach.
        throttled_by: Everything that held the clocks down at one of these moments.
        throttled_share: At what share of them something did.
        moments: How many there were between turns.
    """

    before: GpuState
    after: GpuState
    lowest_sm_clock_mhz: int
    highest_sm_clock_mhz: int
    max_sm_clock_mhz: int
    throttled_by: tuple[str, ...]
    throttled_share: float
    moments: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils the measurement, as sentences."""
        low, high = self.lowest_sm_clock_mhz, self.highest_sm_clock_mhz
        found = []
        if self.throttled_by:
            found.append(
                f"Throttled: {', '.join(self.throttled_by)} held the clocks down at "
                f"{100 * self.throttled_share:.0f} % of the moments; SM clock {low} to {high} of "
                f"{self.max_sm_clock_mhz} MHz."
            )
        elif low < _STEADY * high:
            found.append(f"The SM clock changed from {low} to {high} MHz during the timing.")
        return tuple(found)


@dataclass
class GpuWatch:
    """Takes a GPU's state whenever it is told to.

    Attributes:
        moments: The states.
    """

    _nvml: Any
    _handle: Any
    _max_sm_clock_mhz: int
    moments: list[GpuState] = field(default_factory=list)

    def look(self) -> None:
        """Takes the state now, without waiting for the GPU; one that NVML refuses is left out."""
        with suppress(self._nvml.NVMLError):
            self.moments.append(self._state())

    def result(self) -> Telemetry | None:
        """What was seen; None with fewer than two states, as there is no before and after."""
        if len(self.moments) < 2:
            return None
        before, *between = self.moments
        clocks = [state.sm_clock_mhz for state in between]
        throttled = [state for state in between if state.throttled_by]
        return Telemetry(
            before=before,
            after=between[-1],
            lowest_sm_clock_mhz=min(clocks),
            highest_sm_clock_mhz=max(clocks),
            max_sm_clock_mhz=self._max_sm_clock_mhz,
            throttled_by=tuple(sorted({by for each in throttled for by in each.throttled_by})),
            throttled_share=len(throttled) / len(between),
            moments=len(between),
        )

    def _state(self) -> GpuState:
        nvml, handle = self._nvml, self._handle
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        return GpuState(
            sm_clock_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            temperature_c=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            power_w=nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            throttled_by=throttle_reasons(nvml, reasons),
        )


def throttle_reasons(nvml: Any, bits: int) -> tuple[str, ...]:  # noqa: ANN401
    """NVML's bit mask in words, of what spoils a measurement.

    Args:
        nvml: The module ``pynvml``.
        bits: As ``nvmlDeviceGetCurrentClocksEventReasons`` returns them.
    """
    names = (
        word
        for name, word in _SPOILING.items()
        if bits & getattr(nvml, f"nvmlClocksEventReason{name}")
    )
    return tuple(dict.fromkeys(names))


@contextmanager
def watch_gpu() -> Iterator[GpuWatch | None]:
    """A watch over CUDA's current GPU that has looked once, or None where NVML does not tell.

    Telemetry is a help, not a condition: without nvidia-ml-py, in a container without NVML or on
    a GPU that hides its clocks there is none.
    """
    with ExitStack() as stack:
        yield _started(stack)


def _started(stack: ExitStack) -> GpuWatch | None:
    try:
        from cuda.core import Device

        nvml = stack.enter_context(opened_nvml())
        handle = handle_of(nvml, Device())
        highest = int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))
        watch = GpuWatch(nvml, handle, highest)
        watch.look()
    # ImportError, NvmlMissing, NVMLError, CUDAError: whatever it is, there is no telemetry.
    except Exception as error:
        _LOG.info("No clocks, temperature and power: %s.", first_line(error))
        return None
    return watch if watch.moments else None
