"""What is said of a host that a plan of TensorRT meets, and whether the way out helps there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import make_manifest, make_plan
from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.gpu import Gpu
from trtqat.host.preflight import Preflight, preflight
from trtqat.plan.manifest import RecordedOptions, manifest_path

H200 = Gpu("NVIDIA H200", "9.0", "580.1.4", "13.0", free_bytes=100 * 2**30)
FULL = TensorRTFlavour("full", "tensorrt", "8.6.0", "")
HOST = Host("Linux-x86_64", "3.10.12", "580.1.4", "13.0", (H200,), "", (FULL,), (), {})
GPU: dict[str, Any] = {"gpu": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.1.4"}


def write(folder: Path, *, kind: int = 1, **fields: Any) -> Path:
    path = folder / "model.engine"
    content = make_plan(kind=kind)
    path.write_bytes(content)
    made = dataclasses.replace(make_manifest(content), **fields)
    manifest_path(path).write_text(made.to_json())
    return path


def finding(found: Preflight, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


@pytest.mark.parametrize(
    ("level", "capability", "helps"),
    [
        ("none", "8.6", True),
        ("same-cc", "8.6", True),
        ("none", "7.5", False),
        ("ampere+", "7.5", False),
    ],
)
def test_hardware_compatibility_is_advised_where_it_helps(
    level: str, capability: str, helps: bool, tmp_path: Path
) -> None:
    path = write(tmp_path, options=RecordedOptions(hardware_compatibility=level), **GPU)
    gpu = dataclasses.replace(H200, name="NVIDIA Other", compute_capability=capability)
    check = finding(preflight(path, dataclasses.replace(HOST, gpus=(gpu,))), "GPU")
    assert check.status == "failed"
    assert ("--hardware-compatibility" in check.remedy) is helps


def test_a_gpu_that_keeps_its_compute_capability_to_itself(tmp_path: Path) -> None:
    silent = dataclasses.replace(H200, name="A card", compute_capability="")
    check = finding(
        preflight(write(tmp_path, **GPU), dataclasses.replace(HOST, gpus=(silent,))), "GPU"
    )
    assert (check.status, check.finding) == (
        "unknown",
        "It was built for NVIDIA H200 (9.0); A card does not tell its compute capability.",
    )


def test_another_model_is_not_promised_to_run(tmp_path: Path) -> None:
    other = dataclasses.replace(H200, name="NVIDIA H100")
    check = finding(
        preflight(write(tmp_path, **GPU), dataclasses.replace(HOST, gpus=(other,))), "GPU"
    )
    assert check.status == "warning"
    assert "may be slower or fail" in check.remedy


def test_a_driver_that_was_not_recorded_is_not_compared(tmp_path: Path) -> None:
    check = finding(preflight(write(tmp_path, **{**GPU, "driver": "unknown"}), HOST), "driver")
    assert (check.status, check.finding) == ("unknown", "The manifest does not tell.")


def test_hidden_gpus_say_nothing_of_the_driver(tmp_path: Path) -> None:
    problem = "CUDA_VISIBLE_DEVICES=-1 hides every GPU"
    hidden = dataclasses.replace(HOST, gpus=(), gpu_problem=problem, driver="", cuda="")
    check = finding(preflight(write(tmp_path, **GPU), hidden), "driver")
    assert (check.status, check.finding) == ("unknown", "It is not asked where there is no GPU.")


def test_a_plan_without_its_weights_needs_them(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        platform="Linux-x86_64",
        graph="my model.onnx",
        device_memory_bytes=2**29,
        options=RecordedOptions(strip_weights=True),
        **GPU,
    )
    found = preflight(path, HOST)
    assert found.exit_code == 0
    assert "without its weights it needs about 512 MiB" in finding(found, "memory").finding
    check = finding(found, "weights")
    assert check.status == "unknown"
    assert check.remedy.endswith("--weights 'my model.onnx'")


def test_a_command_without_the_option_says_which_have_it(tmp_path: Path) -> None:
    check = finding(preflight(write(tmp_path, kind=2), HOST), "trust")
    assert "say so to eval or inspect with --allow-engine-code" in check.remedy
