"""Whether a host can run a plan of TensorRT for RTX: cards and targets, driver, CUDA, memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import make_manifest, make_plan
from tests.support.rtx_plans import (
    CARDS,
    FLAVOUR,
    MASKS,
    UNNAMED,
    gpu,
    host_with,
    make_rtx_manifest,
    make_rtx_plan,
)
from trtqat.errors import MissingError, PlanError
from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.host_checks import check_host
from trtqat.host.preflight import Preflight, preflight
from trtqat.plan.manifest import manifest_path

FULL = TensorRTFlavour("full", "tensorrt", "10.13.3.9", "")
LEAN = TensorRTFlavour("lean", "tensorrt_lean", "10.16.1", "")


def write(
    folder: Path, targets: tuple[str, ...] = UNNAMED, *, manifest: bool = True, **fields: Any
) -> Path:
    path = folder / "model.engine"
    plan = make_rtx_plan(targets)
    path.write_bytes(plan)
    if manifest:
        manifest_path(path).write_text(make_rtx_manifest(plan, targets, **fields).to_json())
    return path


def check(found: Preflight, name: str) -> Check:
    return next(each for each in found.checks if each.name == name)


def runs_on(targets: tuple[str, ...], capability: str) -> bool:
    newer = "12.0+" in targets and capability in ("12.0", "12.1", "13.0")
    return capability in targets or newer


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("capability", CARDS)
@pytest.mark.parametrize("targets", MASKS)
def test_every_card_against_every_kind_of_targets(
    targets: tuple[str, ...], capability: str, with_manifest: bool, tmp_path: Path
) -> None:
    path = write(tmp_path, targets, manifest=with_manifest)
    found = preflight(path, host_with(capability))
    fits = runs_on(targets, capability)
    assert check(found, "GPU").status == ("passed" if fits else "failed")
    assert found.exit_code == (0 if fits else 1)
    assert CARDS[capability].name in check(found, "GPU").finding
    assert bool(check(found, "GPU").remedy) == (not fits)


def test_what_is_said_of_an_h100(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = preflight(path, host_with("9.0"))
    assert check(found, "GPU").finding == (
        "Its targets are 8.0, 8.6, 8.9, 12.0 and newer; this GPU is NVIDIA H100 80GB HBM3 (9.0)."
    )
    assert "Build a plan of TensorRT on it" in check(found, "GPU").remedy
    with pytest.raises(PlanError, match=r"does not run here\. Its targets are 8\.0, 8\.6"):
        found.require(path)


@pytest.mark.parametrize(
    ("targets", "capability", "says"),
    [
        (("8.6",), "8.9", "--for rtx --targets sm89; or without --targets"),
        (UNNAMED, "7.5", "--for 10 (or 8.6, or 11). A plan with --for rtx --targets sm75 runs no"),
        (("8.9",), "12.1", "--targets sm121; or without --targets"),
        (("12.0",), "13.0", "--for rtx without --targets, which is for 8.0, 8.6, 8.9, 12.0 and"),
        (("8.6",), "10.0", "does not build for this GPU"),
    ],
)
def test_the_way_out_is_one_that_helps(
    targets: tuple[str, ...], capability: str, says: str, tmp_path: Path
) -> None:
    found = preflight(write(tmp_path, targets), host_with(capability))
    assert says in check(found, "GPU").remedy


def test_a_good_plan_was_not_run(tmp_path: Path) -> None:
    found = preflight(write(tmp_path), host_with("8.9"))
    by_name = {each.name: each.status for each in found.checks}
    assert by_name.pop("run") == "unknown"
    assert set(by_name.values()) == {"passed"}
    assert "built and inspected, not run" in check(found, "run").finding
    assert found.flavour == FLAVOUR
    # A host that was handed in is not this one: no library here knows its GPU.
    assert "header" not in by_name
    assert "for 8.0, 8.6, 8.9, 12.0 and newer, TensorRT for RTX 1.7.1." in str(found)


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        ("Linux-x86_64", "passed"),
        ("Windows-AMD64", "passed"),
        ("Linux-aarch64", "unknown"),
        ("Windows-ARM64", "unknown"),
    ],
)
def test_it_moves_between_platforms(platform: str, status: str, tmp_path: Path) -> None:
    found = preflight(write(tmp_path), host_with("12.0", platform=platform))
    assert check(found, "platform").status == status
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("cuda", "driver", "runs", "status"),
    [
        ("12", "580.82.07", "13.0", "passed"),
        ("12", "575.57.08", "12.9", "passed"),
        # NVIDIA allows it within CUDA 12; the packages are made for 12.9.
        ("12", "550.54.14", "12.4", "warning"),
        ("12", "550.54.14", "", "passed"),
        ("12", "520.61.05", "11.8", "missing"),
        ("12", "520.61.05", "", "missing"),
        ("12", "", "11.8", "missing"),
        ("13", "580.82.07", "13.0", "passed"),
        ("13", "575.57.08", "12.9", "missing"),
        ("13", "575.57.08", "", "missing"),
        ("12", "", "", "unknown"),
        ("14", "580.82.07", "13.0", "unknown"),
        ("", "580.82.07", "13.0", "unknown"),
    ],
)
def test_drivers(cuda: str, driver: str, runs: str, status: str, tmp_path: Path) -> None:
    flavour = dataclasses.replace(FLAVOUR, cuda=cuda)
    host = host_with("8.9", driver=driver, cuda=runs, tensorrt=(flavour,))
    found = preflight(write(tmp_path, cuda=""), host)
    assert check(found, "driver").status == status
    assert found.exit_code == (4 if status == "missing" else 0)
    assert bool(check(found, "driver").remedy) == (status in ("missing", "warning"))


@pytest.mark.parametrize(
    ("built", "installed", "status"),
    [("12", "12", "passed"), ("12", "13", "passed"), ("13", "12", "warning"), ("", "12", "")],
)
def test_the_cuda_of_the_library(built: str, installed: str, status: str, tmp_path: Path) -> None:
    flavour = dataclasses.replace(FLAVOUR, cuda=installed)
    found = preflight(write(tmp_path, cuda=built), host_with("8.9", tensorrt=(flavour,)))
    assert [each.status for each in found.checks if each.name == "CUDA"] == [status][: bool(status)]
    assert found.exit_code == 0


def test_what_is_known_of_its_memory(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = preflight(path, host_with("8.9"))
    assert "an execution context needs is known on the GPU alone" in check(found, "memory").finding
    full = host_with("8.9", gpus=(gpu("A card", "8.9", free_bytes=10),))
    assert check(preflight(path, full), "memory").status == "failed"
    silent = host_with("8.9", gpus=(gpu("A card", "8.9", free_bytes=None),))
    assert check(preflight(path, silent), "memory").status == "unknown"


def test_a_gpu_that_keeps_its_compute_capability_to_itself(tmp_path: Path) -> None:
    found = preflight(write(tmp_path), host_with("8.9", gpus=(gpu("A card", ""),)))
    assert check(found, "GPU").status == "unknown"


def test_a_host_without_a_gpu(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = preflight(path, host_with("8.9", gpus=(), gpu_problem="no driver", driver="", cuda=""))
    assert found.exit_code == 4
    assert check(found, "driver").status == check(found, "memory").status == "unknown"
    with pytest.raises(MissingError, match="There is no GPU here: no driver"):
        found.require(path)


@pytest.mark.parametrize(
    ("installed", "status", "says"),
    [
        ((), "missing", "No TensorRT for RTX can be imported here"),
        ((FULL, LEAN), "missing", "10.13.3.9 (full); 10.16.1 (lean) runs other plans"),
        (
            (dataclasses.replace(FLAVOUR, version="1.6.1.120"),),
            "failed",
            "1.6.1.120 (rtx): a plan runs on the release that built it alone, 1.7.1",
        ),
        (
            (FULL, dataclasses.replace(FLAVOUR, version="1.8.0.1")),
            "failed",
            "1.8.0.1 (rtx): a plan runs on the release that built it alone, 1.7.1",
        ),
        ((FULL, FLAVOUR), "passed", "1.7.1.116 (rtx) runs it"),
    ],
)
def test_libraries(
    installed: tuple[TensorRTFlavour, ...], status: str, says: str, tmp_path: Path
) -> None:
    found = preflight(write(tmp_path), host_with("8.9", tensorrt=installed))
    assert check(found, "TensorRT").status == status
    assert says in check(found, "TensorRT").finding
    if status != "passed":
        # The release that the header names, of both packages.
        remedy = check(found, "TensorRT").remedy
        assert "'tensorrt-rtx-cu12-libs==1.7.1.*' 'tensorrt-rtx-cu12-bindings==1.7.1.*'" in remedy


def test_a_plan_of_tensorrt_where_only_the_other_library_is(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(make_plan((10, 13, 3)))
    found = preflight(path, host_with("8.9"))
    assert check(found, "TensorRT").status == "missing"
    assert "1.7.1.116 (rtx) runs other plans" in check(found, "TensorRT").finding
    assert "Install TensorRT 10.13.3" in check(found, "TensorRT").remedy
    wanted = preflight(path, host_with("8.9"), flavour="rtx")
    assert "a plan of TensorRT runs on that alone" in check(wanted, "TensorRT").finding


@pytest.mark.parametrize(
    "fields",
    [
        {"library": "tensorrt", "targets": ()},
        {"targets": ("8.6",)},
        {"targets": ()},
        {"tensorrt": "1.6.1.120"},
    ],
)
def test_a_manifest_that_contradicts_the_header(fields: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path)
    manifest = dataclasses.replace(make_rtx_manifest(path.read_bytes()), **fields)
    manifest_path(path).write_text(manifest.to_json())
    found = preflight(path, host_with("8.6"))
    assert found.checks[-1].status == "failed"
    assert "its header says otherwise" in found.checks[-1].finding
    assert found.exit_code == 1


def test_a_manifest_of_the_other_library(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    plan = make_plan()
    path.write_bytes(plan)
    manifest = dataclasses.replace(make_manifest(plan), library="rtx")
    manifest_path(path).write_text(manifest.to_json())
    found = preflight(path, host_with("8.6"))
    assert "says that the plan is built by TensorRT for RTX" in found.checks[-1].finding


def test_a_header_of_a_later_release_leaves_its_targets_to_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    plan = make_rtx_plan(mask=0x17E)
    path.write_bytes(plan)
    assert check(preflight(path, host_with("8.9")), "GPU").status == "unknown"
    manifest_path(path).write_text(make_rtx_manifest(plan, ("8.6",)).to_json())
    assert check(preflight(path, host_with("8.6")), "GPU").status == "passed"
    assert check(preflight(path, host_with("8.9")), "GPU").status == "failed"


def of_tensorrt(host: Host) -> list[str]:
    return [str(each) for each in check_host(host) if each.name == "TensorRT"]


def test_what_a_host_without_tensorrt_can_build() -> None:
    bare = host_with("8.9", gpus=(), gpu_problem="no driver")
    (gpu_check,) = [each for each in check_host(bare) if each.name == "GPU"]
    assert "build with TensorRT" in gpu_check.finding
    assert "build --for rtx work without" in gpu_check.remedy
    here, full, lean = of_tensorrt(bare)
    assert "1.7.1.116 (rtx)" in here
    assert here.endswith(": for build --for rtx, which needs no GPU.")
    assert full.startswith("missing")
    assert "build, but for RTX" in full
    assert "version-compatible engine needs a lean runtime" in lean
    nothing = of_tensorrt(dataclasses.replace(bare, tensorrt=()))
    assert "pip install -e '.[rtx]'" in nothing[-1]
    both = of_tensorrt(dataclasses.replace(bare, tensorrt=(FULL, FLAVOUR)))
    assert all(line.startswith("passed") for line in both)


def test_nothing_is_said_of_a_damaged_plan_that_was_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(make_rtx_plan())
    found = check(preflight(path, host_with("8.9")), "manifest")
    assert found.finding.endswith("so a damaged plan may go unnoticed.")
