"""Manifests are kept as they were written, and belong to one plan."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import LAYER, PLAN, make_manifest, make_plan
from tests.support.rtx_plans import make_rtx_manifest, make_rtx_plan
from trtqat.errors import PlanError
from trtqat.plan.coverage import Coverage
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import (
    SCHEMA_VERSION,
    ProfileShapes,
    RecordedOptions,
    check_plan,
    manifest_path,
)
from trtqat.provenance import provenance_of


def test_targets_and_coverage_are_kept(tmp_path: Path) -> None:
    plan, path = make_rtx_plan(), tmp_path / "model.engine"
    coverage = Coverage((LAYER,), ("r",), ("q",), (), {"conv": 0.5})
    manifest = replace(make_rtx_manifest(plan), coverage=coverage)
    manifest_path(path).write_text(manifest.to_json())
    found = check_plan(plan, path)
    assert found == manifest
    assert found.built_by == "TensorRT for RTX 1.7.1.116"
    assert found.built_for == "compute capability 8.0, 8.6, 8.9, 12.0 and newer"


def test_manifest_path() -> None:
    assert manifest_path(Path("d/model.v1.engine")) == Path("d/model.v1.engine.json")


def test_no_manifest(tmp_path: Path) -> None:
    assert check_plan(PLAN, tmp_path / "model.engine") is None


def test_matching_manifest(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(make_manifest(PLAN).to_json())
    found = check_plan(PLAN, path)
    assert found == make_manifest(PLAN)
    # Of one profile it is what earlier versions read.
    assert found.schema_version == 1
    assert "more_profiles" not in manifest_path(path).read_text()
    # What a version from before the field wrote.
    del (fields := json.loads(make_manifest(PLAN).to_json()))["device_memory_bytes"]
    manifest_path(path).write_text(json.dumps({**fields, "of_a_later_version": {"a": [1]}}))
    assert check_plan(PLAN, path) == found


def test_several_profiles(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    more = tuple({"x": ProfileShapes(*[(batch, 3)] * 3)} for batch in (8, 32))
    manifest = replace(make_manifest(PLAN), more_profiles=more, schema_version=SCHEMA_VERSION)
    manifest_path(path).write_text(manifest.to_json())
    found = check_plan(PLAN, path)
    assert found == manifest
    assert found.all_profiles == (manifest.profiles, *more)
    assert found.schema_version == 2


def test_what_an_export_may_have_recorded(tmp_path: Path) -> None:
    """The SQNR of what is bit-identical, and a factory's argument of any size."""
    provenance = {"verification": {"sqnr_db": float("inf")}, "factory_args": {"seed": 10**30}}
    manifest = replace(make_manifest(PLAN), provenance=provenance_of(provenance))
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(manifest.to_json())
    assert check_plan(PLAN, path) == manifest


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


def test_what_lies_in_the_place_of_a_file(tmp_path: Path) -> None:
    """A pipe would be waited for, without end."""
    path = tmp_path / "model.engine"
    beside = manifest_path(path)
    beside.mkdir()
    with pytest.raises(PlanError, match="Is a directory"):
        check_plan(PLAN, path)
    beside.rmdir()
    beside.symlink_to(beside)
    with pytest.raises(PlanError, match=r"Too many levels|symbolic links"):
        check_plan(PLAN, path)
    beside.unlink()
    beside.symlink_to("nowhere")
    with pytest.raises(PlanError, match="No such file"):
        check_plan(PLAN, path)
    beside.unlink()
    os.mkfifo(beside)
    with pytest.raises(PlanError, match="It is a pipe, not a file"):
        check_plan(PLAN, path)
    os.mkfifo(path)
    with pytest.raises(PlanError, match="It is a pipe, not a file"):
        read_plan(path)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(PlanError, match="It is a device, not a file"):
            read_plan(Path(device))
    for name, says in (("x" * 5000, "File name too long"), ("a\0b", "null character")):
        with pytest.raises(PlanError, match=says):
            read_plan(tmp_path / name)


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("none", "A GPU (9.0)"),
        ("ampere+", "A GPU (9.0) and GPUs from Ampere on"),
        ("same-cc", "A GPU (9.0) and GPUs of that compute capability"),
    ],
)
def test_what_a_plan_is_for(level: str, words: str) -> None:
    options = RecordedOptions(hardware_compatibility=level)
    assert replace(make_manifest(b""), options=options).built_for == words
