"""Manifests that no build writes are refused, by the field that is wrong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.support.plans import LAYER, PLAN, make_manifest
from trtqat.errors import PlanError
from trtqat.plan.coverage import Coverage
from trtqat.plan.manifest import check_plan, manifest_path

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
        ({"device": -1}, "'device' is not 0 or more"),
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
            {"coverage": {**COVERAGE, "costs": [{**COST, "layers": []}]}},
            r"'coverage.costs\[0\].layers' is not a list of any layers",
        ),
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
