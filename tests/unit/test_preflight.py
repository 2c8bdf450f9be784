"""Whether a host can run a plan: version rules, hosts that differ, damaged files."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.plans import make_manifest, make_plan
from trtqat.runtime.compatibility import version_tuple, why_not
from trtqat.runtime.host import Host, HostGpu, TensorRTFlavour, describe_host, parse_gpus
from trtqat.runtime.manifest import manifest_path
from trtqat.runtime.plan import PlanHeader
from trtqat.runtime.preflight import Check, check_host, exit_code, preflight

H200 = HostGpu("NVIDIA H200", "9.0", 140 * 2**30, 100 * 2**30)
FULL = TensorRTFlavour("full", "tensorrt", "8.6.0", "")
LEAN_10 = TensorRTFlavour("lean", "tensorrt_lean", "10.16.1", "")
LEAN_11 = TensorRTFlavour("lean", "tensorrt_lean", "11.4.0.106", "")
HOST = Host("Linux-x86_64", "3.10.12", "580.1.4", (H200,), "", (FULL,), (), {})


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


def test_version_strings() -> None:
    assert version_tuple("11.4.0.106") == (11, 4, 0)
    assert version_tuple("580.159.04") == (580, 159, 4)
    assert version_tuple("9.0") == (9, 0, 0)
    assert version_tuple("unknown") == (0, 0, 0)


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


def statuses(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def finding(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


GPU: dict[str, Any] = {"gpu": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.1.4"}


def test_the_build_host_runs_it(tmp_path: Path) -> None:
    checks = preflight(write(tmp_path, platform="Linux-x86_64", **GPU), HOST)
    assert set(statuses(checks).values()) == {"passed"}
    assert exit_code(checks) == 0


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
    checks = preflight(path, dataclasses.replace(HOST, **host))
    assert statuses(checks)[check] == status
    assert exit_code(checks) == code
    if status != "passed":
        assert finding(checks, check).remedy


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
    path = write(tmp_path, options={"hardware_compatibility": level}, **GPU)
    gpu = HostGpu("NVIDIA Other", capability, 2**34, 2**34)
    checks = preflight(path, dataclasses.replace(HOST, gpus=(gpu,)))
    assert finding(checks, "GPU").status == status


def test_a_version_compatible_plan_says_that_it_is_code(tmp_path: Path) -> None:
    path = write(tmp_path, kind=2, platform="Linux-x86_64", **GPU)
    checks = preflight(path, dataclasses.replace(HOST, tensorrt=(LEAN_10,)))
    assert finding(checks, "TensorRT").status == "passed"
    assert finding(checks, "trust").status == "warning"
    refused = preflight(path, dataclasses.replace(HOST, tensorrt=(LEAN_11,)))
    assert "runs up to TensorRT 10" in finding(refused, "TensorRT").finding
    assert exit_code(refused) == 1


def test_without_a_manifest_the_header_tells_what_it_can(tmp_path: Path) -> None:
    checks = preflight(write(tmp_path, manifest=False), HOST)
    found = statuses(checks)
    assert found["manifest"] == "warning"
    assert found["TensorRT"] == "passed"
    assert found["platform"] == found["GPU"] == found["driver"] == "unknown"
    assert exit_code(checks) == 0


def test_no_changed_byte_passes(plan: Path) -> None:
    content = plan.read_bytes()
    generator = random.Random(0)
    for _ in range(1000):
        at = generator.randrange(len(content))
        changed = bytearray(content)
        changed[at] ^= 1 << generator.randrange(8)
        plan.write_bytes(bytes(changed))
        checks = preflight(plan, HOST)
        assert checks[-1].status == "failed", at
        assert exit_code(checks) == 1


def test_no_truncation_passes_even_without_a_manifest(plan: Path) -> None:
    content = plan.read_bytes()
    manifest_path(plan).unlink()
    generator = random.Random(0)
    for _ in range(100):
        plan.write_bytes(content[: generator.randrange(len(content))])
        (only,) = preflight(plan, HOST)
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


def test_nvidia_smi() -> None:
    driver, gpus, problem = parse_gpus("NVIDIA H200, 9.0, 580.1.4, 143771, 143000\n\n")
    assert (driver, problem) == ("580.1.4", "")
    assert gpus == (HostGpu("NVIDIA H200", "9.0", 143771 * 2**20, 143000 * 2**20),)
    # A GPU that is cut into instances has no memory of its own to report.
    assert parse_gpus("NVIDIA A100, 8.0, 580.1.4, [N/A], [N/A]")[1][0].free_bytes == 0
    assert parse_gpus("No devices were found")[1:] == ((), "nvidia-smi lists no GPU")


def test_this_host_is_described() -> None:
    host = describe_host()
    assert host.python.count(".") == 2
    assert "onnxruntime" in host.packages
    checks = check_host(host)
    assert {"GPU", "TensorRT", "torch", "onnx"} <= {check.name for check in checks}
    assert all(check.remedy for check in checks if check.status == "missing")
    everything = dataclasses.replace(HOST, packages={"torch": "2", "onnx": "1", "cuda-core": "1"})
    missing = [check.name for check in check_host(everything) if check.status == "missing"]
    assert missing == ["onnxruntime"]
