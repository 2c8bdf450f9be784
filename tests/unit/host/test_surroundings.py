"""Which kind a host is, by files and variables that are made up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.support.commands import in_process
from trtqat.host import description
from trtqat.host.check import Check
from trtqat.host.description import Host, describe_host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.gpu import Gpu
from trtqat.host.host_checks import check_host
from trtqat.host.surroundings import HostKind, Surroundings, find_kind, read_surroundings

ORIN = Gpu("Orin", "8.7", "unknown", "12.6")
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9", "580.95.05", "13.0")
H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "580.159.04", "13.0")
RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed "
    "Jan 8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n"
)
BOARD = "NVIDIA Jetson AGX Orin Developer Kit\0"


def host_of(root: Path, environ: dict[str, str], gpus: tuple[Gpu, ...], problem: str = "") -> Host:
    surroundings = read_surroundings(root, environ)
    driver = "" if not gpus or gpus[0].driver == "unknown" else gpus[0].driver
    cuda = gpus[0].cuda if gpus else ""
    return Host("Linux", "3.10.12", driver, cuda, gpus, problem, (), (), {}, surroundings)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def found(checks: tuple[Check, ...], name: str) -> Check:
    (only,) = (check for check in checks if check.name == name)
    return only


@pytest.mark.parametrize(
    ("files", "environ", "gpus", "kind", "says"),
    [
        (
            {"etc/nv_tegra_release": RELEASE, "proc/device-tree/model": BOARD},
            {},
            (ORIN,),
            "jetson",
            "NVIDIA Jetson AGX Orin Developer Kit, L4T 36.4.3 (JetPack 6)",
        ),
        # A container on a Jetson has the board's device tree, and not the file of its Linux.
        (
            {"proc/device-tree/model": BOARD, ".dockerenv": ""},
            {"NVIDIA_PYTORCH_VERSION": "25.06"},
            (ORIN,),
            "jetson",
            "L4T unknown, NVIDIA's container PyTorch 25.06",
        ),
        ({"proc/device-tree/model": "Raspberry Pi 5 Model B\0"}, {}, (), "no-gpu", ""),
        ({}, {"NVIDIA_TENSORRT_VERSION": "26.08"}, (H100,), "nvidia-container", "TensorRT 26.08"),
        ({}, {"NVIDIA_PYTORCH_VERSION": "26.08"}, (), "nvidia-container", "PyTorch 26.08"),
        (
            {},
            {"NVIDIA_TRITON_SERVER_VERSION": "2.62.0", "NVIDIA_PYTORCH_VERSION": ""},
            (H100,),
            "triton-container",
            "Triton 2.62.0",
        ),
        (
            {"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"},
            {},
            (RTX_4090,),
            "wsl2",
            "WSL2 of Windows",
        ),
        # CUDA's own image is no image that has TensorRT.
        (
            {".dockerenv": ""},
            {"NVIDIA_PRODUCT_NAME": "CUDA"},
            (RTX_4090,),
            "rtx-card",
            "a container (docker)",
        ),
        ({"run/.containerenv": ""}, {}, (), "no-gpu", "a container (podman)"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, (H100,), "gpu-server", "kubernetes"),
        ({}, {}, (H100,), "gpu-server", ""),
        ({}, {}, (RTX_4090, H100), "rtx-card", ""),
    ],
)
def test_kinds(
    tmp_path: Path,
    files: dict[str, str],
    environ: dict[str, str],
    gpus: tuple[Gpu, ...],
    kind: HostKind,
    says: str,
) -> None:
    host = host_of(write(tmp_path, files), environ, gpus)
    assert host.kind == kind
    assert says in host.surroundings.describe()
    assert bool(host.surroundings.describe()) == bool(says)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA RTX 6000 Ada Generation", "rtx-card"),
        ("Quadro RTX 5000", "rtx-card"),
        ("NVIDIA GeForce GTX 1660", "rtx-card"),
        ("NVIDIA A100-SXM4-80GB", "gpu-server"),
        ("NVIDIA L4", "gpu-server"),
        ("Tesla T4", "gpu-server"),
    ],
)
def test_cards_and_servers(name: str, kind: HostKind) -> None:
    gpu = dataclasses.replace(H100, name=name)
    assert find_kind(Surroundings("Linux"), (gpu,)) == kind
    assert find_kind(Surroundings("Windows"), (gpu,)) == "windows"


def test_a_jetson_without_nvml_has_its_driver(tmp_path: Path) -> None:
    root = write(tmp_path, {"etc/nv_tegra_release": RELEASE})
    checks = check_host(host_of(root, {}, (ORIN,)))
    assert found(checks, "driver").finding == "part of L4T 36.4.3, CUDA up to 12.6."
    assert found(checks, "GPU").finding == "Orin (8.7)."
    # PyPI has no TensorRT for it.
    assert found(checks, "TensorRT").remedy.startswith("sudo apt-get install nvidia-jetpack")


def test_a_jetson_with_tensorrt_lacks_none(tmp_path: Path) -> None:
    root = write(tmp_path, {"etc/nv_tegra_release": RELEASE})
    full = TensorRTFlavour("full", "tensorrt", "10.3.0", "/usr/lib/python3/dist-packages")
    host = dataclasses.replace(host_of(root, {}, (ORIN,)), tensorrt=(full,))
    assert found(check_host(host), "TensorRT").status == "passed"


def test_a_jetson_whose_gpu_is_not_seen_is_not_said_to_lack_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surroundings = read_surroundings(write(tmp_path, {"etc/nv_tegra_release": RELEASE}), {})
    monkeypatch.setattr(description, "read_surroundings", lambda: surroundings)
    monkeypatch.setattr("trtqat.host.gpu.devices_of_driver", lambda: ())
    monkeypatch.setattr("trtqat.host.gpu._cuda_devices", lambda: ())
    monkeypatch.setattr("trtqat.host.gpu.visible_handles", lambda nvml, visible: [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    host = describe_host()
    gpu = found(check_host(host), "GPU")
    assert "this is a Jetson, whose driver is part of its Linux" in gpu.finding
    assert "no NVIDIA driver" not in gpu.finding
    assert gpu.remedy.startswith("Start a container with --runtime nvidia")


@pytest.mark.parametrize(
    ("surroundings", "remedy"),
    [
        (Surroundings("Linux", kernel="6.6.87-microsoft-standard-WSL2"), "driver in Windows"),
        (Surroundings("Linux", container="docker"), "--gpus all"),
        (Surroundings("Linux"), "export, lint, inspect"),
    ],
)
def test_the_way_to_a_gpu(surroundings: Surroundings, remedy: str) -> None:
    host = Host("Linux", "3.11", "", "", (), "none", (), (), {}, surroundings)
    assert remedy in found(check_host(host), "GPU").remedy


def test_this_host_is_read() -> None:
    read = read_surroundings()
    assert read.system
    assert read_surroundings(Path("/nowhere"), {}) == Surroundings(system=read.system)


def test_doctor_shows_the_recipe_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path, {"etc/nv_tegra_release": RELEASE, "proc/device-tree/model": BOARD})
    host = host_of(root, {}, (ORIN,))
    monkeypatch.setattr(description, "describe_host", lambda: host)
    shown = in_process(tmp_path, "doctor").stdout
    assert "passed   host         NVIDIA Jetson AGX Orin Developer Kit, L4T 36.4.3" in shown
    assert "Recipe for this host: Jetson\n" in shown
    assert "python3 -m venv --system-site-packages venv" in shown
    result = json.loads(in_process(tmp_path, "doctor", "--json", "-").stdout)
    assert (result["kind"], result["recipe"]["title"]) == ("jetson", "Jetson")
    assert result["host"]["surroundings"]["l4t"] == "36.4.3"
    marks = {step["mark"] for step in result["recipe"]["steps"]}
    assert marks == {"run", "checked", "documentation"}
    assert "Recipe" not in in_process(tmp_path, "doctor", "-q").stdout
