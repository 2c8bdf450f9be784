"""``trtqat doctor`` on this host, whatever it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import in_process
from tests.support.plans import make_manifest, make_plan
from trtqat.host.description import describe_host
from trtqat.plan.manifest import manifest_path


def doctor_apart(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trtqat", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    content = make_plan()
    path.write_bytes(content)
    manifest_path(path).write_text(make_manifest(content).to_json())
    return path


def test_host_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt_dispatch.py").write_text("raise OSError('no libnvinfer_dispatch.so.8')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    problem = "tensorrt_dispatch: no libnvinfer_dispatch.so.8"
    done = doctor_apart()
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
    assert f"One does not import: {problem}." in done.stdout
    result = json.loads(doctor_apart("--json", "-").stdout)
    assert result["exit_code"] == 0
    assert result["host"]["tensorrt_problems"] == [problem]
    assert result["host"]["platform"] == describe_host().platform


def test_plan_on_this_host(plan: Path) -> None:
    done = in_process(plan.parent, "doctor", plan)
    checks = {
        line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line[0] != " "
    }
    assert (checks["plan"], checks["manifest"]) == ("passed", "passed")
    host = describe_host()
    if not host.gpus or not host.tensorrt:
        assert done.returncode == 4
    result = json.loads(in_process(plan.parent, "doctor", plan, "--json", "-").stdout)
    assert result["exit_code"] == done.returncode
    assert [check["name"] for check in result["checks"]] == list(checks)


def test_plans_that_do_not_run(plan: Path, tmp_path: Path) -> None:
    content = plan.read_bytes()
    for damaged in (content[:40], content[:-1] + b"!", b"", b"text"):
        plan.write_bytes(damaged)
        done = in_process(tmp_path, "doctor", plan, "-q")
        assert done.returncode == 1
        assert "failed" in done.stdout
        assert "Traceback" not in done.stderr
    done = in_process(tmp_path, "doctor", tmp_path / "none.engine")
    assert done.returncode == 1
    assert "cannot be read" in done.stdout
