"""What the first bytes of a plan say, and which files are no plans."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import PLAN, make_plan
from tests.support.rtx_plans import MASKS, UNNAMED, make_rtx_plan
from trtqat.errors import PlanError
from trtqat.plan.header import PlanHeader, parse_header, read_plan


def test_header_as_8_6_writes_it() -> None:
    # The bytes that plan/header.py documents, with the size of this file.
    head = bytes.fromhex("66747274 00000000 01000000 00000000 2000000000000000 0806000c")
    assert parse_header(head + bytes(4), "p") == PlanHeader((8, 6, 0), False, 32)


@pytest.mark.parametrize(("kind", "compatible"), [(1, False), (2, True)])
def test_header(tmp_path: Path, kind: int, compatible: bool) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(plan := make_plan((10, 13, 3), kind=kind))
    assert read_plan(path) == (plan, PlanHeader((10, 13, 3), compatible, len(plan)))


def test_header_as_1_7_of_tensorrt_for_rtx_writes_it() -> None:
    # The bytes that plan/header.py documents, with the size of this file.
    head = bytes.fromhex("76747274 00000000 02000000 00000000 4000000000000000 01070174")
    plan = head + bytes.fromhex("76747274 7e00000000000000") + bytes(24)
    assert parse_header(plan, "p") == PlanHeader((1, 7, 1), False, 64, "rtx", UNNAMED)


@pytest.mark.parametrize("targets", MASKS)
def test_targets_in_the_header(targets: tuple[str, ...]) -> None:
    assert parse_header(make_rtx_plan(targets), "p").targets == targets


@pytest.mark.parametrize("mask", [0, 0x40, 0x42, 0x50, 0x60, 0x80, 0x88, 0x17E, 2**63])
def test_bits_that_no_plan_was_seen_with_tell_no_targets(mask: int) -> None:
    assert parse_header(make_rtx_plan(mask=mask), "p").targets == ()


def test_a_short_header_of_tensorrt_for_rtx() -> None:
    head = bytes.fromhex("76747274 00000000 02000000 00000000 1c00000000000000 01070174")
    assert parse_header(head, "p").targets == ()
    with pytest.raises(PlanError, match="damaged"):
        parse_header(head[:-1], "p")


@given(st.integers(0, len(PLAN) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(PlanError, match="damaged" if length >= 4 else "not a TensorRT plan"):
        parse_header(PLAN[:length], "model.engine")


def test_extra_bytes_are_refused() -> None:
    with pytest.raises(PlanError, match="it has 99 bytes, its header says 98"):
        parse_header(PLAN + b"!", "model.engine")


def test_not_a_plan(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="not a TensorRT plan but looks like an ONNX file"):
        parse_header(b"\x08\x07" + bytes(60), "model.onnx")
    with pytest.raises(PlanError, match=r"not a TensorRT plan\."):
        parse_header(bytes(60), "model.engine")
    with pytest.raises(PlanError, match="No such file"):
        read_plan(tmp_path / "missing.engine")
    with pytest.raises(PlanError, match="Is a directory"):
        read_plan(tmp_path)
