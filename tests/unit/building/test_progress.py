"""Where a build is, in the words of TensorRT 10's phases and of 8.6's log."""

from __future__ import annotations

import pytest

from trtqat.building.progress import Phases, where_in_log


def test_phases_nest_and_end() -> None:
    phases = Phases()
    assert str(phases) == ""
    phases.start("Building", 3)
    phases.start("Tactic selection", 80)
    assert phases.step("Tactic selection", 0)
    assert phases.step("Tactic selection", 11)
    assert str(phases) == "Building 0/3, Tactic selection 12/80"
    phases.finish("Tactic selection")
    assert phases.step("Building", 0)
    assert str(phases) == "Building 1/3"
    # A step of a phase that is over, from another thread.
    assert phases.step("Tactic selection", 79)
    assert str(phases) == "Building 1/3"


def test_a_cancelled_build_stops_at_its_next_step() -> None:
    phases = Phases()
    phases.start("Building", 3)
    phases.is_cancelled = True
    assert not phases.step("Building", 0)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (
            "--------------- Timing Runner: /conv/Conv + /relu/Relu (CaskConvolution[0x80000009])",
            "timing kernels of /conv/Conv + /relu/Relu",
        ),
        (
            "[GraphReduction] The approximate region cut",
            "[GraphReduction] The approximate region cut",
        ),
        ("", ""),
    ],
)
def test_log_lines(line: str, where: str) -> None:
    assert where_in_log(line) == where
