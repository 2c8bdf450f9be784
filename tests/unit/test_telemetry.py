"""Clocks and what holds them down; the values come from NVML, whose constants are the real ones."""

from __future__ import annotations

import pynvml
import pytest

from trtqat.runtime.telemetry import GpuState, Telemetry, throttle_reasons, watch_gpu


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
