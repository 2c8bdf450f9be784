"""From bytes of images to a verdict, as a user meets it: export, build, eval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import in_process
from trtqat.host.tensorrt_library import load_rtx
from trtqat.plan.manifest import read_manifest

FACTORY = """
from tests.support.models import EXAMPLES

def qat():
    return EXAMPLES["residual"].qat()
"""
PIXELS = ("--pixels", "x:nhwc", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pixels")
    (made / "net.py").write_text(FACTORY)
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 16, 16)).astype(np.uint8)
    labels = np.arange(24) % 10
    np.savez(made / "bytes.npz", images=images, labels=labels)
    np.savez(made / "floats.npz", images=images.astype(np.float32), labels=labels)
    done = in_process(
        made,
        *("export", "net.py:qat", "--input", "x:1x3x16x16", "-o", "m.onnx", *PIXELS, "--bgr"),
        *("--for", "rtx"),
    )
    assert done.returncode == 0, done.stderr
    assert "input 'x' arrives as bytes: Cast, Mul, Add make the codes" in done.stdout
    assert "all 256 bytes in 3 channels" in done.stdout
    return made


def test_the_baseline_gets_the_floats_of_the_same_bytes(folder: Path) -> None:
    done = in_process(
        folder,
        *("eval", "m.onnx", "--data", "npz:bytes.npz", "--baseline", "net.py:qat"),
        *("--fake-quantized", "net.py:qat", "--batch-size", 8, "--duration", 0),
        *("--min-sqnr-db", 60, "--json", "report.json"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["contenders"]


@pytest.mark.parametrize("locate", [False, True])
def test_random_bytes(folder: Path, locate: bool) -> None:
    # Times are of no interest in the second one: PyTorch would be started apart for them.
    more: tuple[object, ...] = ("--duration", 0.1)
    if locate:
        more = ("--duration", 0, "--locate", "--fake-quantized", "net.py:qat")
    done = in_process(
        folder,
        *("eval", "m.onnx", "--data", "random:16", "--baseline", "net.py:qat", *more),
        *("--batch-size", 8, "--min-sqnr-db", 60),
    )
    assert done.returncode == 0, done.stderr


def test_floats_are_refused(folder: Path) -> None:
    done = in_process(folder, "eval", "m.onnx", "--data", "npz:floats.npz")
    assert done.returncode == 2
    assert "which the graph normalises itself" in done.stderr
    assert "Save the images as uint8" in done.stderr


def test_lint_and_inspect_have_nothing_against_bytes(folder: Path) -> None:
    done = in_process(folder, "lint", "m.onnx", "--strict", "--for", "rtx")
    assert done.returncode == 0, done.stdout
    done = in_process(folder, "inspect", "m.onnx")
    assert done.returncode == 0, done.stderr
    assert "x.pixels" not in done.stdout


def test_what_the_command_line_refuses(folder: Path) -> None:
    base = ("export", "net.py:qat", "--input", "x:1x3x16x16", "-o", "no.onnx")
    for words, message in (
        (("--pixels", "x:nhwc", "--mean", "0"), "--std is missing for 1 input of bytes"),
        (("--mean", "0"), "--mean is of an input that takes bytes"),
        ((*PIXELS, "--quantized-input"), "or the codes that the caller made of them"),
        ((*PIXELS, "--for", "8.6", "--opset", "18"), "opset 18 is not for TensorRT 8.6"),
    ):
        done = in_process(folder, *base, *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (folder / "no.onnx").exists()


def test_an_engine_of_tensorrt_for_rtx(folder: Path) -> None:
    """Bytes go into its first kernel, and it has no layer more than one from floats."""
    load_rtx("This test")
    floats = in_process(
        folder, "export", "net.py:qat", "--input", "x:1x3x16x16", "-o", "floats.onnx"
    )
    assert floats.returncode == 0, floats.stderr
    found = {}
    for name in ("m", "floats"):
        done = in_process(
            folder,
            *("build", f"{name}.onnx", "-o", f"{name}.engine", "--for", "rtx"),
            *("--batch", "8", "--require-int8", "--export-layer-info", f"{name}.json"),
        )
        assert done.returncode == 0, done.stderr
        layers = json.loads((folder / f"{name}.json").read_text())["Layers"]
        names = [each["Name"] for each in layers]
        first = next(at for at, each in enumerate(layers) if each["LayerType"] == "correlation")
        found[name] = (len(names), first)
        if name == "m":
            (image,) = [each for each in layers[0]["Inputs"] if each["Name"] == "x"]
            assert (image["Datatype"], image["Dimensions"]) == ("UInt8", [8, 16, 16, 3])
    assert found["m"] == found["floats"]
    manifest = read_manifest(folder / "m.engine")
    assert manifest is not None
    (spec,) = manifest.inputs
    assert (spec.dtype, spec.shape[1:]) == ("uint8", (16, 16, 3))
    assert manifest.provenance.pixels is not None
    assert manifest.provenance.pixels["x"].bgr
