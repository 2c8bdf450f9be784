"""Manifests and reports that earlier versions wrote are read, field by field."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.support.plans import make_plan
from trtqat.cli.main import main
from trtqat.evaluation.recorded import read_baseline
from trtqat.plan.manifest import ProfileShapes, check_plan, read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.tensors import TensorSpec

SHIPPED = Path(__file__).parents[1] / "data" / "shipped"


def classifier() -> onnx.ModelProto:
    """The means of three channels, and of their sums, as six logits."""
    floats = onnx.TensorProto.FLOAT
    mix = np.concatenate([np.eye(3), np.ones((3, 3)) - np.eye(3)], axis=1).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["means", "mix"], ["output"]),
        ],
        "other",
        [helper.make_tensor_value_info("x", floats, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("output", floats, ["N", 6])],
        [numpy_helper.from_array(mix, "mix")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("name", "plan_bytes", "is_version_compatible"),
    [("plain", 1861060, False), ("version-compatible", 34797932, True)],
)
def test_manifest_of_a_real_plan(
    name: str, plan_bytes: int, is_version_compatible: bool, tmp_path: Path
) -> None:
    shutil.copy(SHIPPED / f"manifest-{name}.json", tmp_path / "vgg16.engine.json")
    found = read_manifest(tmp_path / "vgg16.engine")
    assert found is not None
    assert (found.plan_bytes, found.tensorrt, found.gpu) == (plan_bytes, "8.6.0", "NVIDIA H200")
    assert found.inputs == (TensorSpec("images", (-1, 3, 32, 32)),)
    assert found.outputs == (TensorSpec("output", (-1, 10)),)
    at = {size: (size, 3, 32, 32) for size in (1, 32)}
    assert found.profiles == {"images": ProfileShapes(at[1], at[32], at[32])}
    assert found.io_names is None
    # Unchanged on the way in and out: whoever signed it signed these values.
    written = json.loads(found.to_json())
    before = json.loads((SHIPPED / f"manifest-{name}.json").read_text())
    assert written["options"]["version_compatible"] is is_version_compatible
    assert written["provenance"] == before["provenance"]
    assert {key: written[key] for key in before} == before


def test_manifest_with_names(tmp_path: Path) -> None:
    plan, path = make_plan(), tmp_path / "m.engine"
    path.write_bytes(plan)
    shutil.copy(SHIPPED / "manifest-two-outputs.json", tmp_path / "m.engine.json")
    found = check_plan(plan, path)
    assert found is not None
    assert found.plan_sha256 == hashlib.sha256(plan).hexdigest()
    assert found.io_names is not None
    assert found.io_names.outputs == ("logits", "features")
    assert [spec.name for spec in found.outputs] == ["features", "logits"]
    assert found.device_memory_bytes == 4096


def test_manifest_of_a_plan_of_tensorrt_for_rtx(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "manifest-rtx.json", tmp_path / "m.engine.json")
    found = read_manifest(tmp_path / "m.engine")
    assert found is not None
    assert (found.built_by, found.cuda) == ("TensorRT for RTX 1.7.1.116", "12")
    assert found.built_for == "compute capability 8.6, 8.9, 12.0"
    assert (found.gpu, found.compute_capability, found.driver) == ("", "", "")
    assert found.device_memory_bytes is None
    assert found.coverage is not None
    assert [layer.name for layer in found.coverage.wanted] == ["/c1", "/y"]
    assert found.coverage.missed == ()
    assert not found.coverage.has_kernels
    assert {layer.weight_dtype for layer in found.coverage.layers} == {"int8"}
    before = json.loads((SHIPPED / "manifest-rtx.json").read_text())
    written = json.loads(found.to_json())
    coverage = before.pop("coverage")
    assert {key: written["coverage"][key] for key in coverage} == coverage
    assert {key: written[key] for key in before} == before


def test_manifest_of_several_profiles(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "manifest-profiles.json", tmp_path / "m.engine.json")
    found = read_manifest(tmp_path / "m.engine")
    assert found is not None
    assert found.schema_version == 2
    assert [str(batches_of(each)) for each in found.all_profiles] == ["1:1:1", "8:8:8", "1:32:128"]
    assert found.profiles == {"x": ProfileShapes(*[(1, 3, 16, 16)] * 3)}
    assert found.coverage is not None
    assert found.coverage.profiles == ("1", "8", "1:32:128")
    assert len(found.coverage.wanted) == 4
    assert found.coverage.missed == ()
    assert json.loads(found.to_json()) == json.loads(
        (SHIPPED / "manifest-profiles.json").read_text()
    )


def test_report_of_schema_4() -> None:
    found = read_baseline(SHIPPED / "report-schema-4.json")
    assert found.name == "PyTorch FP32 (recorded on NVIDIA H100 80GB HBM3)"
    assert found.device == "cuda"
    assert found.accuracy is not None
    assert (found.accuracy.top1, found.accuracy.count) == (1488, 1500)
    assert [each.batch_size for each in found.timings] == [32, 128]
    at = found.at(128)
    assert at is not None
    assert at.timing.compute.median_ms == pytest.approx(3.3527, abs=0.001)
    assert len(found.predictions.classes) == 1500


def test_report_of_schema_6() -> None:
    found = read_baseline(SHIPPED / "report-schema-6.json")
    assert found.name == "PyTorch FP32 (recorded on AMD EPYC)"
    assert found.accuracy is not None
    assert (found.accuracy.top1, found.accuracy.top5, found.accuracy.count) == (6, 34, 40)
    assert [each.batch_size for each in found.timings] == [4, 8]
    at = found.at(8)
    assert at is not None
    assert at.timing.compute.median_ms == pytest.approx(0.1114, abs=0.0005)
    assert found.predictions.output == "output"


def test_report_of_schema_7() -> None:
    found = read_baseline(SHIPPED / "report-schema-7.json")
    assert found.name == "PyTorch FP32 (recorded on AMD EPYC)"
    assert found.accuracy is not None
    assert (found.accuracy.top1, found.accuracy.top5, found.accuracy.count) == (5, 29, 40)
    assert [each.batch_size for each in found.timings] == [4, 8]
    assert len(found.predictions.classes) == 40
    assert found.metrics == ()


@pytest.mark.parametrize(
    ("schema", "top1", "top5"),
    [(6, "15.00 % (6/40)", "85.00 % (34/40)"), (7, "12.50 % (5/40)", "72.50 % (29/40)")],
)
def test_a_report_of_an_older_schema_is_a_baseline(
    schema: int,
    top1: str,
    top5: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The model is another one; what the report recorded stands beside it."""
    graph = tmp_path / "other.onnx"
    onnx.save(classifier(), graph)
    output = tmp_path / "report.json"
    monkeypatch.setattr(
        "sys.argv",
        f"trtqat eval {graph} --data npz:{SHIPPED / 'samples.npz'} --batch-size 8 --duration 0 "
        f"--baseline-report {SHIPPED / f'report-schema-{schema}.json'} --json {output}".split(),
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    table = capsys.readouterr().out
    assert top1 in table
    assert top5 in table
