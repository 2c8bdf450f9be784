"""Whether a host can run a plan: hosts that differ, damaged files, permissions."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import make_manifest, make_plan
from trtqat.errors import MissingError, PlanError
from trtqat.host.check import Check
from trtqat.host.description import Host, describe_host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.gpu import Gpu
from trtqat.host.host_checks import check_host
from trtqat.host.preflight import Preflight, preflight
from trtqat.plan.manifest import RecordedOptions, manifest_path

H200 = Gpu(
    "NVIDIA H200", "9.0", "580.1.4", "13.0", memory_bytes=140 * 2**30, free_bytes=100 * 2**30
)
FULL = TensorRTFlavour("full", "tensorrt", "8.6.0", "")
LEAN_10 = TensorRTFlavour("lean", "tensorrt_lean", "10.16.1", "")
LEAN_11 = TensorRTFlavour("lean", "tensorrt_lean", "11.4.0.106", "")
RTX = TensorRTFlavour("rtx", "tensorrt_rtx_bindings", "1.7.1.116", "", "12")
HOST = Host("Linux-x86_64", "3.10.12", "580.1.4", "13.0", (H200,), "", (FULL,), (), {})


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, *, kind: int = 1, manifest: bool = True, **fields: Any) -> Path:
    path = folder / "model.engine"
    content = make_plan(kind=kind)
    path.write_bytes(content)
    if manifest:
        made = dataclasses.replace(make_manifest(content), **fields)
        manifest_path(path).write_text(made.to_json())
    return path


def statuses(found: Preflight) -> dict[str, str]:
    return {check.name: check.status for check in found.checks}


def finding(found: Preflight, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


GPU: dict[str, Any] = {"gpu": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.1.4"}


def test_the_build_host_runs_it(tmp_path: Path) -> None:
    found = preflight(write(tmp_path, platform="Linux-x86_64", **GPU), HOST)
    assert set(statuses(found).values()) == {"passed"}
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("host", "check", "status", "code"),
    [
        ({"platform": "Linux-aarch64"}, "platform", "failed", 1),
        ({"tensorrt": ()}, "TensorRT", "missing", 4),
        ({"tensorrt": (LEAN_10,)}, "TensorRT", "failed", 1),
        ({"tensorrt": (LEAN_10, FULL)}, "TensorRT", "passed", 0),
        ({"gpus": (), "gpu_problem": "no driver"}, "GPU", "missing", 4),
        (
            {"gpus": (dataclasses.replace(H200, compute_capability="8.6"),)},
            "GPU",
            "failed",
            1,
        ),
        ({"gpus": (dataclasses.replace(H200, name="NVIDIA H100"),)}, "GPU", "warning", 0),
        ({"driver": "550.54.14"}, "driver", "warning", 0),
        ({"gpus": (dataclasses.replace(H200, free_bytes=10),)}, "memory", "failed", 1),
    ],
)
def test_other_hosts(
    host: dict[str, Any], check: str, status: str, code: int, tmp_path: Path
) -> None:
    path = write(tmp_path, platform="Linux-x86_64", **GPU)
    found = preflight(path, dataclasses.replace(HOST, **host))
    assert statuses(found)[check] == status
    assert found.exit_code == code
    if status != "passed":
        assert finding(found, check).remedy


@pytest.mark.parametrize(
    ("level", "capability", "status"),
    [
        ("ampere+", "8.0", "passed"),
        ("ampere+", "12.0", "passed"),
        ("ampere+", "7.5", "failed"),
        ("same-cc", "9.0", "passed"),
        ("same-cc", "8.0", "failed"),
        ("none", "8.0", "failed"),
    ],
)
def test_hardware_compatibility(level: str, capability: str, status: str, tmp_path: Path) -> None:
    path = write(tmp_path, options=RecordedOptions(hardware_compatibility=level), **GPU)
    gpu = dataclasses.replace(H200, name="NVIDIA Other", compute_capability=capability)
    found = preflight(path, dataclasses.replace(HOST, gpus=(gpu,)))
    assert finding(found, "GPU").status == status


def test_a_version_compatible_plan_says_that_it_is_code(tmp_path: Path) -> None:
    path = write(tmp_path, kind=2, platform="Linux-x86_64", **GPU)
    found = preflight(path, dataclasses.replace(HOST, tensorrt=(LEAN_10,)))
    assert finding(found, "TensorRT").status == "passed"
    assert finding(found, "trust").status == "warning"
    refused = preflight(path, dataclasses.replace(HOST, tensorrt=(LEAN_11,)))
    assert "runs up to TensorRT 10" in finding(refused, "TensorRT").finding
    assert refused.exit_code == 1


def test_without_a_manifest_the_header_tells_what_it_can(tmp_path: Path) -> None:
    found = preflight(write(tmp_path, manifest=False), HOST)
    status = statuses(found)
    assert status["manifest"] == "warning"
    assert status["TensorRT"] == "passed"
    assert status["platform"] == status["GPU"] == status["driver"] == "unknown"
    assert found.exit_code == 0


def test_no_changed_byte_passes(plan: Path) -> None:
    content = plan.read_bytes()
    generator = random.Random(0)
    for _ in range(1000):
        at = generator.randrange(len(content))
        changed = bytearray(content)
        changed[at] ^= 1 << generator.randrange(8)
        plan.write_bytes(bytes(changed))
        found = preflight(plan, HOST)
        assert found.checks[-1].status == "failed", at
        assert found.exit_code == 1


def test_no_truncation_passes_even_without_a_manifest(plan: Path) -> None:
    content = plan.read_bytes()
    manifest_path(plan).unlink()
    generator = random.Random(0)
    for _ in range(100):
        plan.write_bytes(content[: generator.randrange(len(content))])
        (only,) = preflight(plan, HOST).checks
        assert only.status == "failed"


def test_wrong_manifests(plan: Path) -> None:
    beside = manifest_path(plan)
    fields = json.loads(beside.read_text())
    for text in (
        "",
        "{}",
        "[]",
        json.dumps(fields)[:-40],
        json.dumps({**fields, "plan_sha256": "0" * 64}),
        json.dumps({**fields, "schema_version": 99}),
    ):
        beside.write_text(text)
        assert statuses(preflight(plan, HOST))["manifest"] == "failed"
    beside.write_text(json.dumps({**fields, "of_a_later_version": 1}))
    assert statuses(preflight(plan, HOST))["manifest"] == "passed"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tensorrt": "9.9.9"}, "is built by TensorRT 9.9.9; its header says otherwise"),
        ({"tensorrt": ""}, "its header says otherwise"),
        ({"plan_bytes": 5_000_000}, "is of 5,000,000 bytes; its size says otherwise"),
    ],
)
def test_a_manifest_that_contradicts_its_plan(
    fields: dict[str, Any], says: str, tmp_path: Path
) -> None:
    found = preflight(write(tmp_path, **fields), HOST)
    assert found.checks[-1].status == "failed"
    assert says in found.checks[-1].finding


def test_a_manifest_may_tell_the_version_in_more_or_fewer_numbers(tmp_path: Path) -> None:
    assert statuses(preflight(write(tmp_path, tensorrt="8.6.0.12"), HOST))["manifest"] == "passed"
    assert statuses(preflight(write(tmp_path, tensorrt="8.6"), HOST))["manifest"] == "passed"


def test_this_host_is_described() -> None:
    host = describe_host()
    assert host.python.count(".") == 2
    assert "onnxruntime" in host.packages
    checks = check_host(host)
    assert {"GPU", "TensorRT", "torch", "onnx"} <= {check.name for check in checks}
    assert all(check.remedy for check in checks if check.status == "missing")
    everything = dataclasses.replace(
        HOST,
        tensorrt=(FULL, RTX),
        packages={"torch": "2", "onnx": "1", "cuda-core": "1"},
    )
    missing = [check.name for check in check_host(everything) if check.status == "missing"]
    assert missing == ["onnxruntime"]


@pytest.mark.parametrize(
    ("allowed", "excluded", "status"),
    [
        (None, False, "warning"),
        (False, False, "failed"),
        (True, False, "passed"),
        # No library, no permission needed; and none is given.
        (None, True, "passed"),
        (False, True, "passed"),
    ],
)
def test_permission_for_code(
    allowed: bool | None, excluded: bool, status: str, tmp_path: Path
) -> None:
    options = RecordedOptions(exclude_lean_runtime=excluded)
    path = write(tmp_path, kind=2, platform="Linux-x86_64", options=options, **GPU)
    found = preflight(path, HOST, allow_engine_code=allowed)
    assert statuses(found)["trust"] == status
    assert found.code_allowed is (allowed is True)


def test_a_plain_plan_asks_no_permission(plan: Path) -> None:
    assert "trust" not in statuses(preflight(plan, HOST, allow_engine_code=False))


def test_memory_of_weights_and_context(tmp_path: Path) -> None:
    free = dataclasses.replace(H200, free_bytes=2**30)
    host = dataclasses.replace(HOST, gpus=(free,))
    fits = preflight(write(tmp_path, device_memory_bytes=2**29, **GPU), host)
    assert statuses(fits)["memory"] == "passed"
    assert "one execution context need about 512 MiB" in finding(fits, "memory").finding
    large = preflight(write(tmp_path, device_memory_bytes=2**31, **GPU), host)
    assert statuses(large)["memory"] == "failed"
    assert large.exit_code == 1


def test_what_an_engine_does_with_the_checks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, platform="Linux-x86_64", **GPU)
    preflight(path, HOST).require(path)
    assert caplog.text == ""
    other = dataclasses.replace(H200, name="NVIDIA H100")
    with caplog.at_level("WARNING"):
        preflight(path, dataclasses.replace(HOST, gpus=(other,))).require(path)
    assert "is another model" in caplog.text
    with pytest.raises(MissingError, match="There is no GPU here: no driver"):
        preflight(path, dataclasses.replace(HOST, gpus=(), gpu_problem="no driver")).require(path)
    arm = dataclasses.replace(HOST, platform="Linux-aarch64", gpus=(), gpu_problem="no driver")
    with pytest.raises(PlanError, match="this is Linux-aarch64") as caught:
        preflight(path, arm).require(path)
    assert caught.value.remedy


def test_the_manifest_tells_that_the_lean_runtime_is_left_out(tmp_path: Path) -> None:
    options = RecordedOptions(version_compatible=True, exclude_lean_runtime=True)
    path = write(tmp_path, platform="Linux-x86_64", options=options, **GPU)
    lean_8 = dataclasses.replace(LEAN_10, version="8.6.0")
    host = dataclasses.replace(HOST, tensorrt=(LEAN_10, lean_8))
    assert preflight(path, host).flavour == lean_8
    assert preflight(path, dataclasses.replace(HOST, tensorrt=(LEAN_10,))).exit_code == 1


def test_an_error_names_the_plan_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    none, other = tmp_path / "none.engine", write(tmp_path, manifest=False)
    with pytest.raises(PlanError) as caught:
        preflight(none, HOST).require(none)
    assert caught.value.problem.count("none.engine") == 1
    with pytest.raises(PlanError) as caught:
        preflight(other, dataclasses.replace(HOST, tensorrt=(LEAN_10,))).require(other)
    assert caught.value.problem.count("model.engine") == 1
    with caplog.at_level("WARNING"):
        preflight(other, HOST).require(other)
    assert f"'{other}': There is no manifest" in caplog.text


def test_which_tensorrt_runs_it(tmp_path: Path) -> None:
    path = write(tmp_path, kind=2, platform="Linux-x86_64", **GPU)
    host = dataclasses.replace(HOST, tensorrt=(FULL, LEAN_10))
    assert preflight(path, host).flavour == FULL
    assert preflight(path, host, flavour="lean").flavour == LEAN_10
    none = preflight(path, host, flavour="dispatch")
    assert (none.flavour, none.exit_code) == (None, 4)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_none(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    host = describe_host()
    assert host.gpus == ()
    assert "CUDA_VISIBLE_DEVICES" in host.gpu_problem


def test_it_is_printed_a_line_for_each_check(plan: Path) -> None:
    found = preflight(str(plan), dataclasses.replace(HOST, gpus=(), gpu_problem="no driver"))
    lines = str(found).splitlines()
    assert lines[0] == "passed   plan         0.0 MB, plain, TensorRT 8.6.0."
    at = lines.index("missing  GPU          There is no GPU here: no driver.")
    assert lines[at + 1].split() == finding(found, "GPU").remedy.split()
    # The plan itself is nothing to print.
    assert "weightsweights" not in repr(found)


def test_without_a_host_it_looks_at_this_one(plan: Path) -> None:
    found, here = preflight(plan), describe_host()
    assert statuses(found) == statuses(preflight(plan, here))


def test_a_gpu_that_keeps_its_memory_to_itself(plan: Path) -> None:
    gpu = dataclasses.replace(H200, memory_bytes=None, free_bytes=None)
    host = dataclasses.replace(HOST, gpus=(gpu,), driver="")
    found = preflight(plan, host)
    assert statuses(found)["memory"] == statuses(found)["driver"] == "unknown"
    assert finding(found, "memory").finding == "This GPU does not tell its free memory."
    checks = {check.name: check.finding for check in check_host(host)}
    assert checks["GPU"] == "NVIDIA H200 (9.0)."
    assert checks["driver"] == "unknown, CUDA up to 13.0."
