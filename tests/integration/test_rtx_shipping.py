"""A real plan of TensorRT for RTX, built on this CPU, as it is shipped: header, manifest, doctor.

Built and inspected, not run: no test here loads it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import trtqat
from tests.support.commands import in_process
from tests.support.rtx_library import AnsweringLibrary, EngineValidity
from tests.support.rtx_plans import CARDS, UNNAMED, host_with, write_graph
from trtqat.errors import PlanError
from trtqat.host.flavours import TensorRTFlavour, find_flavours
from trtqat.host.preflight import preflight
from trtqat.host.rtx_validity import check_validity
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import check_plan, manifest_path
from trtqat.plan.signature import signature_path
from trtqat.plan.targets import TARGETS


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    key = Ed25519PrivateKey.generate()
    private, public = folder / "key.pem", folder / "public.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.fixture(scope="module")
def built(graph: Path, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "m.engine"
    trtqat.build(graph, path, for_="rtx", sign=keys[0])
    return path


@pytest.fixture
def plan(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    for path in (built, manifest_path(built), signature_path(built)):
        shutil.copy(path, tmp_path)
    return tmp_path / built.name


@pytest.mark.parametrize(
    "targets",
    [
        (),
        ("8.6",),
        ("12.1",),
        ("8.6", "8.9", "12.0"),
        ("12.0", "12.1"),
    ],
)
def test_the_header_tells_the_targets_that_were_named(
    targets: tuple[str, ...], graph: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.engine"
    result = trtqat.build(graph, path, for_="rtx", targets=targets)
    content, header = read_plan(path)
    manifest = check_plan(content, path)
    assert manifest is not None
    assert header.library == manifest.library == "rtx"
    assert header.targets == manifest.targets == (targets or UNNAMED)
    assert result.coverage == manifest.coverage


def test_the_targets_are_those_of_the_library() -> None:
    (here,), _ = find_flavours("rtx")
    names = set(here.load().ComputeCapability.__members__) - {"NONE", "CURRENT"}
    assert {"SM" + target.replace(".", "") for target in TARGETS} == names


@pytest.mark.parametrize("targets", [("7.5",), ("7.5", "8.6")])
def test_a_plan_for_turing_has_no_int8_convolution(
    targets: tuple[str, ...], graph: Path, tmp_path: Path
) -> None:
    """So it is a poor way out for an RTX 2080, and doctor names another one first."""
    path = tmp_path / "m.engine"
    result = trtqat.build(graph, path, for_="rtx", targets=targets)
    assert read_plan(path)[1].targets == targets
    assert result.coverage is not None
    assert result.coverage.missed == result.coverage.wanted


def test_signature_and_hash(plan: Path, keys: tuple[Path, Path]) -> None:
    host = host_with("8.9")
    assert preflight(plan, host, trust=keys[1]).exit_code == 0
    whole, manifest = plan.read_bytes(), manifest_path(plan).read_text()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    plan.write_bytes(changed)
    assert "SHA-256 differs" in str(preflight(plan, host))
    plan.write_bytes(whole[:-1])
    assert "is damaged" in str(preflight(plan, host))
    plan.write_bytes(whole)
    fields = json.loads(manifest)
    fields["coverage"]["layers"][0]["runs_int8"] = None
    manifest_path(plan).write_text(json.dumps(fields))
    assert preflight(plan, host).exit_code == 0
    assert preflight(plan, host, trust=keys[1]).exit_code == 1
    signature_path(plan).unlink()
    assert preflight(plan, host, trust=keys[1]).exit_code == 1


@pytest.mark.parametrize("capability", CARDS)
def test_hosts(capability: str, plan: Path) -> None:
    found = preflight(plan, host_with(capability))
    assert found.exit_code == (1 if capability in ("7.5", "9.0", "10.0") else 0)
    manifest_path(plan).unlink()
    assert preflight(plan, host_with(capability)).exit_code == found.exit_code


def test_doctor_on_this_host(plan: Path, keys: tuple[Path, Path]) -> None:
    (here,), _ = find_flavours("rtx")
    done = in_process(plan.parent, "doctor", plan, "--trust", keys[1], "--json", "-")
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout)
    checks = {check["name"]: check for check in result["checks"]}
    passed = ("plan", "manifest", "signature", "TensorRT", "platform", "CUDA")
    assert [checks[name]["status"] for name in passed] == ["passed"] * len(passed)
    assert here.version in checks["TensorRT"]["finding"]
    assert "built and inspected, not run" in checks["run"]["finding"]
    assert done.returncode == result["exit_code"]
    if not result["host"]["gpus"]:
        assert done.returncode == 4
        assert "header" not in checks


def test_the_real_library_reads_the_header(plan: Path) -> None:
    """Of another tag it says so, driver or not; our own checks refuse such a file before."""
    (here,), _ = find_flavours("rtx")
    damaged = check_validity(b"ftrt" + plan.read_bytes()[4:], here)
    assert (damaged.status, damaged.finding) == (
        "failed",
        "The library refuses its header: it is damaged.",
    )


def test_eval_refuses_before_the_library_sees_it(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = AnsweringLibrary((EngineValidity.VALID, 0))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    flavour = TensorRTFlavour("rtx", library.__name__, "1.7.1.116", "", "12")
    host = host_with("9.0", tensorrt=(flavour,))
    monkeypatch.setattr("trtqat.host.preflight.describe_host", lambda: host)
    with pytest.raises(PlanError, match=r"newer; this GPU is NVIDIA H100 80GB HBM3 \(9\.0"):
        trtqat.Engine(plan)
    assert library.asked == []
