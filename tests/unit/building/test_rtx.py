"""Targets, and which library builds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rtx_graphs import rtx_or_skip
from trtqat.building.library import load_builder
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_options
from trtqat.building.rtx import check_options, is_rtx, parse_targets, targets_of_plan
from trtqat.errors import UsageError
from trtqat.plan.targets import DEFAULT_TARGETS


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sm86,sm89,sm120", ("8.6", "8.9", "12.0")),
        ("SM_120, 8.6", ("8.6", "12.0")),
        (["89", "sm89", "8.9"], ("8.9",)),
        ("", ()),
        ((), ()),
    ],
)
def test_ways_to_write_targets(written: Any, read: tuple[str, ...]) -> None:
    assert parse_targets(written) == read


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), max_size=5))
def test_targets_are_sorted_by_number(pairs: list[tuple[int, int]]) -> None:
    read = parse_targets(",".join(f"sm{major}{minor}" for major, minor in pairs))
    assert read == tuple(f"{major}.{minor}" for major, minor in sorted(set(pairs)))


@pytest.mark.parametrize("written", ["rtx4090", "sm", "8.6.1", "sm86;sm89", "-8.6", "sm1234"])
def test_what_is_no_target(written: str) -> None:
    with pytest.raises(UsageError, match="is no compute capability"):
        parse_targets(written)


def test_targets_are_for_the_other_library() -> None:
    tensorrt = SimpleNamespace(__version__="11.4.0")
    with pytest.raises(UsageError, match="--targets is for TensorRT for RTX"):
        check_options(tensorrt, BuildOptions(targets=("8.9",)))  # type: ignore[arg-type]
    assert targets_of_plan(tensorrt, ()) == ()  # type: ignore[arg-type]
    rtx = SimpleNamespace(__version__="1.7.1", ComputeCapability=object())
    check_options(rtx, BuildOptions(targets=("8.9",)))  # type: ignore[arg-type]
    assert targets_of_plan(rtx, ()) == DEFAULT_TARGETS  # type: ignore[arg-type]


def test_the_keywords_of_a_build() -> None:
    options = parse_options("m.engine", for_="rtx", targets="sm120,sm89")
    assert (options.for_, options.targets) == ("rtx", ("8.9", "12.0"))
    with pytest.raises(UsageError, match=r"--for is '12'.*'8\.6', '10', '11', 'rtx'"):
        parse_options("m.engine", for_="12")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ["ImportError", "OSError", "RuntimeError"])
def test_a_tensorrt_that_does_not_import_is_not_called_missing(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rtx_or_skip()
    (tmp_path / "tensorrt.py").write_text(f"raise {error}('no libnvinfer.so.10')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert is_rtx(load_builder(None))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "cannot be imported here (no libnvinfer.so.10). So TensorRT for RTX builds." in (
        record.getMessage()
    )
