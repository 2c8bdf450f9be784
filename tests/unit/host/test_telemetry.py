"""Clocks and what holds them down; the values come from NVML, whose constants are the real ones."""

from __future__ import annotations

import pynvml
import pytest

from trtqat.host.telemetry import GpuState, GpuWatch, Telemetry, throttle_reasons, watch_gpu


def telemetry(low: int, high: int, by: tuple[str, ...] = (), share: float = 0.0) -> Telemetry:
    state = GpuState(high, 40, 300.0, by)
    return Telemetry(state, state, low, high, 1980, by, share, 10)


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0, ()),
        (pynvml.nvmlClocksEventReasonGpuIdle, ()),
        (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, ()),
        (pynvml.nvmlClocksEventReasonSwPowerCap, ("power limit",)),
        (
            pynvml.nvmlClocksEventReasonSwThermalSlowdown
            | pynvml.nvmlClocksEventReasonHwThermalSlowdown
            | pynvml.nvmlClocksEventReasonHwSlowdown,
            ("hardware slowdown", "temperature"),
        ),
    ],
)
def test_reasons(bits: int, reasons: tuple[str, ...]) -> None:
    assert throttle_reasons(pynvml, bits) == reasons


def test_steady_clocks_are_no_warning() -> None:
    assert telemetry(1980, 1980).warnings == ()
    assert telemetry(1935, 1980).warnings == ()


def test_clocks_that_changed() -> None:
    (warning,) = telemetry(1400, 1980).warnings
    assert "from 1400 to 1980 MHz" in warning


def test_throttled() -> None:
    (warning,) = telemetry(1400, 1980, ("power limit",), 0.25).warnings
    assert "power limit held the clocks down at 25 %" in warning


def test_without_nvml_there_is_none() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with watch_gpu() as watch:
            assert watch is None
    else:
        pynvml.nvmlShutdown()
        pytest.skip("NVML is here")


class Recorded:
    """NVML's functions over a list of moments; the constants and the error are the real ones."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, moments: list[tuple[int, int, int, int]]) -> None:
        self._moments = iter(moments)

    def __getattr__(self, name: str) -> int:
        return int(getattr(pynvml, name))

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int:  # noqa: N802
        try:
            self._now = next(self._moments)
        except StopIteration:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED) from None
        return self._now[3]

    def nvmlDeviceGetClockInfo(self, handle: object, clock: int) -> int:  # noqa: N802
        return self._now[0]

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:  # noqa: N802
        return self._now[1]

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        return self._now[2]


def test_a_watch_tells_idle_from_busy() -> None:
    capped = pynvml.nvmlClocksEventReasonSwPowerCap
    idle = (345, 30, 70_000, pynvml.nvmlClocksEventReasonGpuIdle)
    moments = [idle, (1980, 40, 300_500, 0), (1755, 50, 700_000, capped), (1980, 55, 400_000, 0)]
    watch = GpuWatch(Recorded(moments), None, 1980)
    assert watch.result() is None
    # The fifth is refused, and left out.
    for _ in range(5):
        watch.look()
    found = watch.result()
    assert found is not None
    assert (found.before.sm_clock_mhz, found.before.power_w) == (345, 70.0)
    assert (found.after.sm_clock_mhz, found.after.temperature_c) == (1980, 55)
    # The idle clock before is no change of the clock.
    assert (found.lowest_sm_clock_mhz, found.highest_sm_clock_mhz) == (1755, 1980)
    assert (found.moments, found.throttled_by) == (3, ("power limit",))
    assert found.throttled_share == pytest.approx(1 / 3)
