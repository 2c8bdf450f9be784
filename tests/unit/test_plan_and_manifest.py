from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import make_manifest, make_plan
from trtqat.errors import PlanError
from trtqat.runtime.manifest import (
    SCHEMA_VERSION,
    check_plan,
    manifest_path,
)
from trtqat.runtime.plan import PlanHeader, parse_header, read_plan

PLAN = make_plan()


def test_header_as_8_6_writes_it() -> None:
    # The bytes that runtime/plan.py documents, with the size of this file.
    head = bytes.fromhex("66747274 00000000 01000000 00000000 2000000000000000 0806000c")
    assert parse_header(head + bytes(4), "p") == PlanHeader((8, 6, 0), False, 32)


@pytest.mark.parametrize(("kind", "compatible"), [(1, False), (2, True)])
def test_header(tmp_path: Path, kind: int, compatible: bool) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(plan := make_plan((10, 13, 3), kind=kind))
    assert read_plan(path) == (plan, PlanHeader((10, 13, 3), compatible, len(plan)))


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


def test_manifest_path() -> None:
    assert manifest_path(Path("d/model.v1.engine")) == Path("d/model.v1.engine.json")


def test_no_manifest(tmp_path: Path) -> None:
    assert check_plan(PLAN, tmp_path / "model.engine") is None


def test_matching_manifest(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(make_manifest(PLAN).to_json())
    fields = check_plan(PLAN, path)
    assert fields is not None
    assert fields["schema_version"] == SCHEMA_VERSION
    assert fields["inputs"] == [{"name": "x", "shape": [-1, 3], "dtype": "float32"}]
    assert fields["profiles"]["x"] == {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}


@given(st.integers(0, len(PLAN) - 1), st.integers(0, 7))
def test_one_flipped_bit_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.engine"
    manifest_path(path).write_text(make_manifest(PLAN).to_json())
    damaged = bytearray(PLAN)
    damaged[at] ^= 1 << bit
    with pytest.raises(PlanError, match="SHA-256 differs"):
        check_plan(bytes(damaged), path)


def test_manifest_of_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(make_manifest(make_plan(body=b"other")).to_json())
    with pytest.raises(PlanError, match="not the one that its manifest describes"):
        check_plan(PLAN, path)


DIGEST = hashlib.sha256(PLAN).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "cannot be read"),
        (json.dumps({"plan_sha256": DIGEST}).encode(), "KeyError: 'schema_version'"),
        (json.dumps({"schema_version": 1}).encode(), "KeyError: 'plan_sha256'"),
        (json.dumps({"plan_sha256": DIGEST, "schema_version": None}).encode(), "TypeError"),
        (json.dumps({"plan_sha256": DIGEST, "schema_version": 2}).encode(), "has schema 2"),
    ],
)
def test_unreadable_manifest(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_bytes(content)
    with pytest.raises(PlanError, match=message):
        check_plan(PLAN, path)
