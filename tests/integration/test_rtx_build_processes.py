"""Builds by TensorRT for RTX beside each other, ended, and failed: in threads and in processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import trtqat as package
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved, two_layers_in
from trtqat.building import builder, made_plan
from trtqat.building.builder import BuildResult
from trtqat.errors import BuildError
from trtqat.plan.manifest import read_manifest
from trtqat.plan.signature import signature_path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return two_layers_in(tmp_path)


def test_another_builder_in_the_process(graph: Path, tmp_path: Path) -> None:
    """The library warns of a second logger; the list of layers comes to the right one."""
    code = f"""
import tensorrt_rtx_libs, tensorrt_rtx_bindings as trt, trtqat
class Mine(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, message):
        pass
mine = Mine()
builder = trt.Builder(mine)
result = trtqat.build({str(graph)!r}, {str(tmp_path / "m.engine")!r}, for_="rtx")
result.check_int8()
print(len(result.coverage.wanted))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_several_builds_at_once_in_a_process(tmp_path: Path) -> None:
    results: dict[int, BuildResult] = {}

    def build(number: int) -> None:
        made = Graph((2, 4, 6, 6))
        data = "x"
        for depth in range(number):
            data = made.conv(made.pair(data, 0.1), f"layer{depth}", kernel=3)
        path = saved(made.proto(data), tmp_path / f"{number}.onnx")
        results[number] = package.build(path, tmp_path / f"{number}.engine", for_="rtx")

    threads = [threading.Thread(target=build, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for number, result in results.items():
        assert result.coverage is not None
        assert (len(result.coverage.wanted), result.coverage.missed) == (number, ())


def test_two_commands_into_one_file_at_once(graph: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trtqat",
        "build",
        str(graph),
        "-o",
        "m.engine",
        "--for",
        "rtx",
    ]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for each in running:
        _, errors = each.communicate()
        assert each.returncode == 0, errors
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    content = (tmp_path / "m.engine").read_bytes()
    assert manifest.plan_sha256 == hashlib.sha256(content).hexdigest()


def killed(command: list[str], cwd: Path, is_reached: Callable[[str], bool]) -> None:
    """Kills a process as soon as it has said something."""
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if is_reached(line):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert process.returncode in (-signal.SIGKILL, 0)


def test_killed_in_the_middle(tmp_path: Path) -> None:
    made = Graph((2, 4, 6, 6))
    data = "x"
    for depth in range(60):
        data = made.conv(made.pair(data, 0.1), f"layer{depth}", kernel=3)
    path = saved(made.proto(data), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "trtqat", "build", str(path), "-o", "m.engine"]
    killed([*command, "--for", "rtx"], tmp_path, lambda line: "is building" in line)
    files = sorted(os.listdir(tmp_path))
    # Either nothing, or all of it if it was done before the signal came.
    assert files in (["m.onnx"], ["m.engine", "m.engine.json", "m.onnx"])


def test_a_failed_build_leaves_no_trace_in_the_process(tmp_path: Path) -> None:
    """1.7.1 compiles what comes next in another way; so that is nothing of the user's."""
    made = Graph((2, 4, 6, 6))
    half = made.constant("half", np.array(0.05, np.float32))
    names = [made.node("Add", [half, half], "scale"), made.constant("zero", np.array(0, np.int8))]
    made.node("QuantizeLinear", ["x", *names], "q")
    made.conv(made.node("DequantizeLinear", ["q", *names], "dq"), "y")
    path = saved(made.proto("y"), tmp_path / "m.onnx")

    def kinds() -> list[str]:
        layers = package.build(path, tmp_path / "m.engine", for_="rtx").layers
        assert layers is not None
        return [layer["LayerType"] for layer in layers["Layers"]]

    product = Graph((2, 8))
    weight = product.constant("w", np.eye(8, dtype=np.float32))
    product.node("MatMul", [product.pair("x", 0.1), product.pair(weight, 0.01)], "y")
    refused = saved(product.proto("y"), tmp_path / "product.onnx")
    before = kinds()
    with pytest.raises(BuildError, match="Turing"):
        package.build(refused, tmp_path / "no.engine", for_="rtx", targets="sm75")
    assert kinds() == before


def test_a_key_that_is_gone_when_the_plan_is_built(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took long to build is signed all the same."""
    private = Ed25519PrivateKey.generate()
    key = tmp_path / "key.pem"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    made = made_plan.make_plan

    def remove_key_and_make(*arguments: Any) -> Any:
        key.unlink()
        return made(*arguments)

    monkeypatch.setattr(builder, "make_plan", remove_key_and_make)
    package.build(graph, tmp_path / "m.engine", for_="rtx", sign=key)
    assert signature_path(tmp_path / "m.engine").exists()
