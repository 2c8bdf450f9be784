from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import make_manifest, make_plan
from tests.support.rtx_plans import MASKS, UNNAMED, make_rtx_manifest, make_rtx_plan
from trtqat.errors import PlanError
from trtqat.plan.coverage import Coverage, LayerCoverage
from trtqat.plan.header import PlanHeader, parse_header, read_plan
from trtqat.plan.manifest import (
    SCHEMA_VERSION,
    ProfileShapes,
    check_plan,
    manifest_path,
)
from trtqat.provenance import provenance_of

PLAN = make_plan()


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


@pytest.mark.parametrize("mask", [0, 0x40, 0x42, 0x50, 0x60, 0x80, 0x17E, 2**63])
def test_bits_that_no_plan_was_seen_with_tell_no_targets(mask: int) -> None:
    assert parse_header(make_rtx_plan(mask=mask), "p").targets == ()


def test_a_short_header_of_tensorrt_for_rtx() -> None:
    head = bytes.fromhex("76747274 00000000 02000000 00000000 1c00000000000000 01070174")
    assert parse_header(head, "p").targets == ()
    with pytest.raises(PlanError, match="damaged"):
        parse_header(head[:-1], "p")


def test_targets_and_coverage_are_kept(tmp_path: Path) -> None:
    plan, path = make_rtx_plan(), tmp_path / "model.engine"
    coverage = Coverage((LAYER,), ("r",), ("q",), (), {"conv": 0.5})
    manifest = replace(make_rtx_manifest(plan), coverage=coverage)
    manifest_path(path).write_text(manifest.to_json())
    found = check_plan(plan, path)
    assert found == manifest
    assert found.built_by == "TensorRT for RTX 1.7.1.116"
    assert found.built_for == "compute capability 8.0, 8.6, 8.9, 12.0 and newer"


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


DIGEST = hashlib.sha256(PLAN).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "cannot be read"),
        (json.dumps({"plan_sha256": DIGEST}).encode(), "'schema_version' is missing"),
        (json.dumps({"schema_version": 1}).encode(), "'plan_sha256' is missing"),
        (
            json.dumps({"plan_sha256": DIGEST, "schema_version": None}).encode(),
            "'schema_version' is null, not a whole number",
        ),
        (json.dumps({"plan_sha256": DIGEST, "schema_version": 3}).encode(), "has schema 3"),
    ],
)
def test_unreadable_manifest(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_bytes(content)
    with pytest.raises(PlanError, match=message):
        check_plan(PLAN, path)


FIELDS = json.loads(make_manifest(PLAN).to_json())
# Which earlier versions did not write.
OPTIONAL = {"device_memory_bytes", "io_names", "library", "targets", "coverage"}
TENSOR = {"name": "x", "shape": [1], "dtype": "float32"}
RTX = {"library": "rtx"}
LAYER = LayerCoverage(
    name="/conv",
    operator="Conv",
    wants_int8=True,
    runs_int8=True,
    macs=10,
    engine_layer="conv",
    tactic="t",
    fused_with=("/relu",),
    output_dtype="int8",
    time_ms=None,
    reason="",
)
COVERAGE = json.loads(json.dumps(asdict(Coverage((LAYER,), (), ("q",), ()))))

COST = {"kind": "widened", "layers": ["/conv"], "amount": 20, "least": 10}


SHAPES = {"x": {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}


def with_layer(**changes: object) -> dict[str, object]:
    return {**COVERAGE, "layers": [{**COVERAGE["layers"][0], **changes}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": True}, "'schema_version' is true or false, not a whole number"),
        ({"schema_version": -5}, "'schema_version' is not 1 or more"),
        ({"schema_version": 1.0}, "'schema_version' is a number, not a whole number"),
        ({"options": ["x"]}, "'options' is a list, not an object"),
        ({"options": "x"}, "'options' is 'x', not an object"),
        ({"options": None}, "'options' is null, not an object"),
        ({"options": {"strip_weights": 1}}, "'options.strip_weights' is a whole number"),
        ({"options": {"hardware_compatibility": ["none"]}}, "'options.hardware_compatibility'"),
        ({"device_memory_bytes": "8 GiB"}, "'device_memory_bytes' is '8 GiB'"),
        ({"device_memory_bytes": -1}, "'device_memory_bytes' is not 0 or more"),
        ({"device_memory_bytes": 2**63}, "is too large"),
        ({"device_memory_bytes": float("nan")}, "'device_memory_bytes' is a number, not a whole"),
        ({"build_seconds": float("-inf")}, "'build_seconds' is '-inf', not a number"),
        ({"build_seconds": True}, "'build_seconds' is true or false, not a number"),
        ({"plan_sha256": None}, "'plan_sha256' is null, not text"),
        ({"plan_sha256": DIGEST[:-1]}, "'plan_sha256' is not a SHA-256"),
        ({"graph_sha256": ["0"]}, "'graph_sha256' is a list, not text"),
        ({"tensorrt": "9" * 5000}, "'tensorrt' is not a name or version"),
        ({"gpu": "\ud800"}, "half of a surrogate pair"),
        ({"gpu": {"name": "x"}}, "'gpu' is an object, not text"),
        ({"platform": 1}, "'platform' is a whole number, not text"),
        ({"inputs": {}}, "'inputs' is an object, not a list"),
        ({"inputs": [{**TENSOR, "shape": "1x3"}]}, r"'inputs\[0\].shape' is '1x3', not a list"),
        ({"inputs": [{**TENSOR, "shape": [True]}]}, r"'inputs\[0\].shape\[0\]' is true or false"),
        ({"inputs": [{**TENSOR, "shape": [-2]}]}, "'inputs: x' is not a shape"),
        ({"inputs": [TENSOR, TENSOR]}, "'inputs' is not a list of different names"),
        ({"outputs": [{"name": "y"}]}, r"'outputs\[0\].shape' is missing"),
        ({"profiles": []}, "'profiles' is a list, not an object"),
        ({"profiles": {"x": {"min": [1], "opt": [1]}}}, "'profiles.x.max' is missing"),
        ({"profiles": {"x": {"min": [2], "opt": [1], "max": [3]}}}, "three shapes that ascend"),
        ({"profiles": {"x": {"min": [1, 1], "opt": [1], "max": [3]}}}, "three shapes that ascend"),
        ({"more_profiles": [SHAPES]}, "'more_profiles' is not empty, which it is in schema 1"),
        ({"more_profiles": SHAPES}, "'more_profiles' is an object, not a list"),
        (
            {"schema_version": 2, "more_profiles": [{"z": SHAPES["x"]}]},
            r"'more_profiles\[0\]' is not a profile of the same inputs",
        ),
        (
            {"schema_version": 2, "more_profiles": [{"x": {"min": [2], "opt": [1], "max": [3]}}]},
            r"'more_profiles\[0\].x' is not three shapes that ascend",
        ),
        ({"provenance": "x"}, "'provenance' is 'x', not an object"),
        ({"library": "onnx"}, "'library' is 'onnx'"),
        ({"library": None}, "'library' is null"),
        ({"targets": ["8.6"]}, "'targets' is not empty, which it is of a plan of TensorRT"),
        ({"targets": "8.6"}, "'targets' is '8.6', not a list"),
        ({**RTX, "targets": [8.6]}, r"'targets\[0\]' is a number, not text"),
        ({**RTX, "targets": ["sm86"]}, r"'targets\[0\]' is not a compute capability"),
        ({**RTX, "targets": ["8.6", "9" * 5000]}, r"'targets\[1\]' is not a compute capability"),
        ({**RTX, "targets": ["8.6\n"]}, r"'targets\[0\]' is not a compute capability"),
        ({**RTX, "targets": ["8.6", "8.6"]}, "'targets' is not a list of different compute"),
        ({**RTX, "targets": [f"{n}.0" for n in range(99)]}, "'targets' is not a list of different"),
        ({"coverage": []}, "'coverage' is a list, not an object"),
        ({"coverage": {**COVERAGE, "layers": {}}}, "'coverage.layers' is an object, not a list"),
        ({"coverage": with_layer(macs=-1)}, r"'coverage.layers\[0\].macs' is not 0 or more"),
        ({"coverage": with_layer(weight_dtype="int8" * 999)}, r"'coverage.layers\[0\]' is not a"),
        ({"coverage": with_layer(macs=2**63)}, "is too large"),
        ({"coverage": with_layer(time_ms=-1.0)}, r"'coverage.layers\[0\].time_ms' is not 0 or"),
        ({"coverage": with_layer(time_ms=float("nan"))}, r"'coverage.layers\[0\].time_ms' is"),
        ({"coverage": with_layer(runs_int8="yes")}, r"'coverage.layers\[0\].runs_int8' is 'yes'"),
        ({"coverage": with_layer(name=None)}, r"'coverage.layers\[0\].name' is null, not text"),
        ({"coverage": {**COVERAGE, "reformats": [1]}}, r"'coverage.reformats\[0\]' is a whole"),
        ({"coverage": {**COVERAGE, "times_ms": {"x": -1.0}}}, "'coverage.times_ms' is not 0 or"),
        ({"coverage": {**COVERAGE, "costs": [{**COST, "least": -1}]}}, r"'coverage.costs\[0\]' is"),
        (
            {"coverage": {**COVERAGE, "costs": [{**COST, "kind": "x"}]}},
            r"'coverage.costs\[0\].kind",
        ),
        ({"later": [[[]]] * 2, "created": 5}, "'created' is a whole number, not text"),
    ],
)
def test_a_field_of_another_type_or_beyond_what_it_can_be(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(json.dumps({**FIELDS, **change}))
    with pytest.raises(PlanError, match=says) as caught:
        check_plan(PLAN, path)
    assert caught.value.remedy
    assert len(caught.value.problem) < 400


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - OPTIONAL))
def test_a_field_that_is_missing(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.engine"
    fields = {key: value for key, value in FIELDS.items() if key != name}
    manifest_path(path).write_text(json.dumps(fields))
    with pytest.raises(PlanError, match=f"'{name}' is missing"):
        check_plan(PLAN, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "nests more than 64 levels"),
        ('{"a":' * 500 + "1" + "}" * 500, "nests more than 64 levels"),
        ('{"schema_version": 1, "schema_version": 1}', "'schema_version' is there twice"),
        ('{"schema_version": %s}' % ("1" * 100_000), "is too large"),
        ('{"schema_version": 1e999}', "'schema_version' is a number, not a whole number"),
        ('"schema_version"', "it is 'schema_version', not an object"),
        ("\ufeff{}", "cannot be read"),
    ],
)
def test_json_that_no_build_writes(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "model.engine"
    manifest_path(path).write_text(content)
    with pytest.raises(PlanError, match=says):
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
