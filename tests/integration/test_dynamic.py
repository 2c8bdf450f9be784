"""Open height and width: export, ONNX Runtime at sizes that nobody traced, a real build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.support.commands import in_process
from tests.support.segments import Segments, quantized
from trtqat.building.options import options_again
from trtqat.building.profiles import resolve_profiles
from trtqat.errors import ForwardError
from trtqat.exporting.export import export
from trtqat.plan.manifest import read_manifest
from trtqat.plan.sizes import profile_names


class Positions(nn.Module):
    """Adds one number for each place, of which there are 16 x 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.positions = nn.Parameter(torch.ones(4, 16, 16))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(images) + self.positions
        return y


class Shrinks(nn.Sequential):
    """Halves its images three times."""

    def __init__(self) -> None:
        steps = [nn.Conv2d(each, 8, 3, 2, 1) for each in (3, 8, 8)]
        super().__init__(*(layer for step in steps for layer in (step, nn.SiLU())))


@pytest.fixture(scope="module", params=["dynamo", "torchscript"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    model = quantized(Segments)
    result = export(
        model,
        path,
        inputs=["images:1x3x32x64"],
        dynamic=["images:2,3"],
        exporter=request.param,
    )
    return path, model, result


def test_it_is_verified_at_several_sizes(exported: Any) -> None:
    _, _, result = exported
    sizes = [size["images"] for size in result.verification.sizes]
    assert len(sizes) == 3
    assert sizes[0] == (3, 32, 64)
    # One code more or less at one place, of a thousand times a thousand.
    assert result.verification.sqnr_db > 60
    assert result.verification.pieces.least_db > 110


def test_it_takes_sizes_that_nobody_tried(exported: Any) -> None:
    path, model, _ = exported
    session = onnxruntime.InferenceSession(str(path))
    for batch, height, width in ((1, 32, 64), (3, 44, 100), (2, 200, 8)):
        images = np.random.default_rng(height).normal(size=(batch, 3, height, width))
        images = images.astype(np.float32)
        found = dict(
            zip(
                [each.name for each in session.get_outputs()],
                session.run(None, {"images": images}),
                strict=True,
            )
        )
        with torch.no_grad():
            wanted = model(torch.from_numpy(images))
        assert found["classes"].shape == (batch, 4, height, width)
        for name, each in wanted.items():
            np.testing.assert_allclose(found[name], each.numpy(), atol=1e-4)


def test_what_follows_is_open_and_nothing_else(exported: Any) -> None:
    path, _, _ = exported
    graph = onnx.load(str(path)).graph
    shapes = {
        each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in [*graph.input, *graph.output]
    }
    assert shapes == {"images": [0, 3, 0, 0], "classes": [0, 4, 0, 0], "mean": [0, 4]}


def test_rtx_builds_it_for_the_sizes_that_are_asked_for(exported: Any, tmp_path: Path) -> None:
    path, _, _ = exported
    command = ("build", path, "-o", "m.engine", "--for", "rtx", "--targets", "sm89")
    done = in_process(tmp_path, *command)
    assert done.returncode == 2
    assert "dynamic dimensions besides the batch: ?x3x?x?" in done.stderr
    shapes = {"min": "1x3x32x32", "opt": "4x3x64x128", "max": "8x3x256x512"}
    options = [
        each for name, shape in shapes.items() for each in (f"--{name}-shapes", f"images:{shape}")
    ]
    done = in_process(tmp_path, *command, *options, "--require-int8")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "m.engine.json").read_text())
    assert manifest["profiles"] == {
        "images": {name: list(map(int, shape.split("x"))) for name, shape in shapes.items()}
    }
    assert manifest["inputs"][0]["shape"] == [-1, 3, -1, -1]


WIDTHS = tuple(f"images:1:4:8x3x32x{width}" for width in (64, 128, 256))


def test_rtx_builds_a_profile_for_each_size(exported: Any, tmp_path: Path) -> None:
    path, _, _ = exported
    command = ("build", path, "-o", "m.engine", "--for", "rtx", "--targets", "sm89")
    wide = "images:1:4:8x3x32:64:256x32:128:512"
    asked = [each for shape in (wide, *WIDTHS) for each in ("--shapes", shape)]
    done = in_process(tmp_path, *command, *asked, "--require-int8")
    assert done.returncode == 0, done.stderr
    # The narrowest first, whatever was asked for first.
    names = (*WIDTHS, wide)
    assert f"shapes of 4 profiles, for {', '.join(names)}" in done.stdout
    assert f"3 of 3 quantized layers, in each of 4 profiles ({', '.join(names)})" in done.stdout
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert manifest.schema_version == 2
    assert profile_names(manifest.all_profiles) == names
    assert manifest.coverage is not None
    assert manifest.coverage.profiles == names
    # Another engine like it has all of them.
    again = options_again(manifest, "m.engine", "fp32").profile
    assert resolve_profiles(manifest.inputs, again) == manifest.all_profiles
    done = in_process(tmp_path, "inspect", "m.engine")
    assert f"in each of 4 profiles ({', '.join(names)})" in done.stdout


def test_sizes_behind_strides_are_not_the_same(tmp_path: Path) -> None:
    result = export(
        quantized(Shrinks),
        tmp_path / "m.onnx",
        inputs=["input:1x3x64x64"],
        dynamic=["input:2,3"],
        exporter="torchscript",
    )
    assert len(result.verification.sizes) == 3
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (found,) = session.run(None, {"input": np.zeros((1, 3, 40, 24), np.float32)})
    assert found.shape == (1, 8, 5, 3)


def test_a_model_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(ForwardError, match="The model raised RuntimeError on images") as raised:
        export(
            quantized(Positions),
            tmp_path / "m.onnx",
            inputs=["images:1x3x16x16"],
            dynamic={"images": (2, 3)},
        )
    assert "--dynamic says that the model takes other sizes" in raised.value.remedy
    assert not (tmp_path / "m.onnx").exists()


def test_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from trtqat.quant.training import calibrate, insert_quantizers\n\n\n"
        "def qat():\n"
        "    torch.manual_seed(0)\n"
        "    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))\n"
        "    insert_quantizers(model)\n"
        "    calibrate(model, [(torch.randn(4, 3, 16, 16),)])\n"
        "    return model.eval()\n"
    )
    command = ("export", "net.py:qat", "--input", "input:1x3x16x16", "-o", "m.onnx")
    done = in_process(tmp_path, *command, "--dynamic", "input:2,3", "--exporter", "torchscript")
    assert done.returncode == 0, done.stderr
    assert "and 3 sizes (input 3x16x16; input 3x32x48; input 3x" in done.stdout
    # Data of another size than the traced one is as good.
    np.savez(tmp_path / "d.npz", input=np.zeros((3, 3, 20, 40), np.float32))
    evaluated = ("eval", "m.onnx", "--data", "npz:d.npz", "--duration", "0")
    done = in_process(tmp_path, *evaluated, "--baseline", "net.py:qat")
    assert done.returncode == 0, done.stderr
    done = in_process(tmp_path, *command, "--dynamic", "input:0")
    assert done.returncode == 2
    assert "Dimension 0 of 'input' is the batch" in done.stderr
    done = in_process(tmp_path, "export", "m.onnx", "-o", "n.onnx", "--dynamic", "input:2")
    assert done.returncode == 2
    assert "Leave out --dynamic" in done.stderr
