"""The library's own word on a plan's header: when it is asked, and what becomes of its answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_api import API
from tests.support.rtx_library import AnsweringLibrary, EngineInvalidityDiagnostics, EngineValidity
from tests.support.rtx_plans import host_with, make_rtx_manifest, make_rtx_plan
from trtqat.cli.main import main
from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.preflight import Preflight, preflight
from trtqat.plan.manifest import manifest_path

VALID, SUBOPTIMAL, INVALID = EngineValidity


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(content := make_rtx_plan())
    manifest_path(path).write_text(make_rtx_manifest(content).to_json())
    return path


def answering(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, int], error: str = ""
) -> tuple[AnsweringLibrary, dict[str, Any]]:
    """A library with this answer, and what a host has that has it."""
    library = AnsweringLibrary(answer, error)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    flavour = TensorRTFlavour("rtx", library.__name__, "1.7.1.116", "", "12")
    return library, {"tensorrt": (flavour,)}


def header_of(found: Preflight) -> Check:
    return next(each for each in found.checks if each.name == "header")


def test_the_answering_library_has_the_names_that_were_recorded() -> None:
    enums = API["1.7.1.116"]["enums"]
    assert sorted(EngineValidity.__members__) == enums["EngineValidity"]
    names = EngineInvalidityDiagnostics.__members__
    assert sorted(names) == enums["EngineInvalidityDiagnostics"]


def test_it_is_shown_the_header_alone(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, host = answering(monkeypatch, (VALID, 0))
    found = preflight(plan, host_with("8.9", **host), is_here=True)
    assert header_of(found).status == "passed"
    assert library.asked == [plan.read_bytes()[:64]]
    assert found.exit_code == 0


def test_without_a_host_it_is_this_one(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, host = answering(monkeypatch, (VALID, 0))
    here = host_with("8.9", **host)
    monkeypatch.setattr("trtqat.host.preflight.describe_host", lambda: here)
    assert header_of(preflight(plan)).status == "passed"
    assert len(library.asked) == 1
    preflight(plan, here)
    assert len(library.asked) == 1


@pytest.mark.parametrize("capability", ["9.0", "7.5"])
def test_our_refusal_comes_first(
    capability: str, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, host = answering(monkeypatch, (VALID, 0))
    found = preflight(plan, host_with(capability, **host), is_here=True)
    assert found.exit_code == 1
    assert library.asked == []


def test_without_a_gpu_it_is_not_asked(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, host = answering(monkeypatch, (INVALID, 0))
    bare = host_with("8.9", gpus=(), gpu_problem="no driver", **host)
    assert preflight(plan, bare, is_here=True).exit_code == 4
    assert library.asked == []


@pytest.mark.parametrize("name", EngineInvalidityDiagnostics.__members__)
def test_each_diagnostic_has_words_and_a_way_out(
    name: str, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bit = EngineInvalidityDiagnostics[name]
    _, host = answering(monkeypatch, (INVALID, int(bit)))
    found = preflight(plan, host_with("8.9", **host), is_here=True)
    assert header_of(found).status == "failed"
    assert header_of(found).finding.startswith("The library refuses its header: ")
    assert name not in header_of(found).finding
    assert header_of(found).remedy
    assert found.exit_code == 1


def test_several_diagnostics(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, host = answering(monkeypatch, (INVALID, 4 | 16))
    found = header_of(preflight(plan, host_with("8.9", **host), is_here=True))
    assert "the driver is too old; the GPU's memory is too small" in found.finding
    assert "Upgrade the driver. Free device memory" in found.remedy


def test_a_refusal_without_diagnostics(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a driver: the reason is in the log alone."""
    _, host = answering(monkeypatch, (INVALID, 0), "Error reading CUDA GPU properties.")
    found = header_of(preflight(plan, host_with("8.9", **host), is_here=True))
    assert (found.status, found.finding) == (
        "failed",
        "The library refuses its header: Error reading CUDA GPU properties.",
    )
    _, host = answering(monkeypatch, (INVALID, 0))
    found = header_of(preflight(plan, host_with("8.9", **host), is_here=True))
    assert found.finding == "The library refuses its header: it gives no reason."


def test_a_library_that_makes_no_runtime(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, host = answering(monkeypatch, (VALID, 0))

    def refuse(logger: object) -> None:
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(library, "Runtime", refuse)
    found = preflight(plan, host_with("8.9", **host), is_here=True)
    assert header_of(found).status == "unknown"
    assert "factory function returned nullptr" in header_of(found).finding


@pytest.mark.parametrize(("bits", "says"), [(0, "than it could."), (16, "than it could: the GPU")])
def test_a_slower_one_is_a_warning(
    bits: int, says: str, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, host = answering(monkeypatch, (SUBOPTIMAL, bits))
    found = preflight(plan, host_with("8.9", **host), is_here=True)
    assert header_of(found).status == "warning"
    assert says in header_of(found).finding
    assert found.exit_code == 0


Doctor = Callable[[Host], tuple[int, dict[str, Any]]]


@pytest.fixture
def doctor(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """``trtqat doctor`` of the plan on a given host: the exit code, and its checks by name."""

    def ask(host: Host) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr("trtqat.host.description.describe_host", lambda: host)
        monkeypatch.setattr("sys.argv", ["trtqat", "doctor", str(plan), "--json", "-"])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        checks = json.loads(capsys.readouterr().out)["checks"]
        return code, {check["name"]: check for check in checks}

    return ask


def test_doctor_asks_it(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    _, host = answering(monkeypatch, (VALID, 0))
    code, checks = doctor(host_with("8.6", **host))
    assert code == 0
    assert checks["header"]["status"] == "passed"
    assert "built and inspected, not run" in checks["run"]["finding"]


def test_doctor_refuses_an_h100(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    library, host = answering(monkeypatch, (VALID, 0))
    code, checks = doctor(host_with("9.0", **host))
    assert code == 1
    assert "this GPU is NVIDIA H100 80GB HBM3 (9.0)" in checks["GPU"]["finding"]
    assert "header" not in checks
    assert library.asked == []
