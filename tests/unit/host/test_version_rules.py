"""Which TensorRT runs a plan, by its header alone."""

from __future__ import annotations

import pytest

from trtqat.host.version_rules import version_tuple, why_not
from trtqat.plan.header import PlanHeader


@pytest.mark.parametrize(
    ("built", "compatible", "version", "flavour", "says"),
    [
        ((8, 6, 0), False, "8.6.0", "full", ""),
        ((8, 6, 0), False, "8.6.1", "full", "a plain plan runs on TensorRT 8.6.0 only"),
        ((10, 13, 3), False, "10.13.3.9", "full", ""),
        ((8, 6, 0), False, "8.6.0", "lean", "version-compatible plans only"),
        ((8, 6, 0), True, "8.6.0", "lean", ""),
        ((8, 6, 0), True, "10.16.1", "lean", ""),
        ((8, 6, 0), True, "10.16.1", "dispatch", ""),
        ((8, 6, 0), True, "11.4.0", "lean", "runs up to TensorRT 10"),
        ((10, 3, 0), True, "11.4.0", "full", ""),
        ((10, 3, 0), True, "12.0.0", "full", "runs up to TensorRT 11"),
        ((10, 3, 0), True, "10.2.9", "full", "never runs on a TensorRT older"),
        ((10, 3, 0), True, "8.6.1", "lean", "never runs on a TensorRT older"),
        ((11, 0, 0), True, "11.4.0", "lean", ""),
    ],
)
def test_versions(
    built: tuple[int, int, int], compatible: bool, version: str, flavour: str, says: str
) -> None:
    reason = why_not(PlanHeader(built, compatible, 0), version, flavour=flavour)
    assert says in reason
    assert bool(reason) == bool(says)


@pytest.mark.parametrize(
    ("version", "flavour", "says"),
    [
        ("8.6.0", "full", ""),
        ("8.6.0", "lean", ""),
        ("8.6.0", "dispatch", "needs the library in a plan"),
        ("8.6.1", "full", "without its lean runtime runs on TensorRT 8.6.0 only"),
        ("10.16.1", "lean", "without its lean runtime runs on TensorRT 8.6.0 only"),
    ],
)
def test_versions_without_the_lean_runtime(version: str, flavour: str, says: str) -> None:
    # TensorRT 8.6.0 marks such a plan as a plain one.
    header = PlanHeader((8, 6, 0), False, 0)
    reason = why_not(header, version, flavour=flavour, lean_excluded=True)
    assert says in reason
    assert bool(reason) == bool(says)


def test_version_strings() -> None:
    assert version_tuple("11.4.0.106") == (11, 4, 0)
    assert version_tuple("580.159.04") == (580, 159, 4)
    assert version_tuple("9.0") == (9, 0, 0)
    assert version_tuple("unknown") == (0, 0, 0)
