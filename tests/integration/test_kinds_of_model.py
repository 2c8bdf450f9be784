"""What the commands make of kinds of models that people bring."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from trtqat.cli.app import app
from trtqat.errors import GraphError
from trtqat.exporting import pipeline

pytestmark = pytest.mark.usefixtures("one_thread")

_MODELS = """
import torch
from torch import nn


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Conv2d(3, 8, 3)
        self.time = nn.Conv3d(8, 8, (3, 1, 1))

    def forward(self, clip):
        frames = torch.relu(self.frame(clip.transpose(1, 2).flatten(0, 1)))
        return self.time(frames.unflatten(0, (clip.shape[0], -1)).transpose(1, 2))


def clip():
    torch.manual_seed(0)
    return Clip()


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.returned = nn.Linear(8, 8)
        self.in_training = nn.Linear(8, 8)

    def forward(self, x):
        x = torch.relu(self.body(x))
        heads = [self.returned(x), self.in_training(x)]
        return heads if self.training else heads[0]


def two_heads():
    torch.manual_seed(0)
    return TwoHeads()


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x, cache=None, mask=None, *, scale=None):
        if cache is not None:
            raise ValueError("the mask came as the cache")
        return self.linear(x * mask) * scale


def masked():
    torch.manual_seed(0)
    return Masked()


def generator():
    return nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, 2))


class LogOfMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(torch.log(x))


def log_of_mask():
    torch.manual_seed(0)
    return LogOfMask()


class Biased(nn.Module):
    # As Swin V2's attention: a network of a table of positions makes a bias.
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 100), nn.Linear(100, 8)
        self.of_table = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, 4, bias=False))
        self.register_buffer("table", torch.rand(5, 5, 2))

    def forward(self, x):
        return self.last(self.first(x) + self.of_table(self.table).flatten())


def biased():
    torch.manual_seed(0)
    return Biased()
"""


# Where it is not asked what an exporter makes of a model.
FASTER = ("--exporter", "torchscript")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def quantize(
    folder: Path, factory: str, *arguments: object, **arrays: np.ndarray[Any, Any]
) -> Result:
    (folder / "models.py").write_text(_MODELS)
    np.savez(folder / "train.npz", **arrays)  # type: ignore[arg-type]
    source, data = f"{folder / 'models.py'}:{factory}", f"npz:{folder / 'train.npz'}"
    return run("quantize", source, "--data", data, "-o", folder / "int8.pt", *arguments)


def export(folder: Path, factory: str, *arguments: object) -> Result:
    source, weights = f"{folder / 'models.py'}:{factory}", folder / "int8.pt"
    return run("export", source, "--checkpoint", weights, "-o", folder / "model.onnx", *arguments)


def test_a_net_of_3d_convolutions_is_quantized(tmp_path: Path) -> None:
    clips = np.random.default_rng(0).standard_normal((4, 3, 4, 8, 8), np.float32)
    done = quantize(tmp_path, "clip", "--json", tmp_path / "found.json", clip=clips)
    assert done.exit_code == 0, done.output
    layers = json.loads((tmp_path / "found.json").read_text())["layers"]
    assert [each["name"] for each in layers] == ["frame", "time"]
    assert not any(each["kept"] for each in layers)


def test_a_head_that_is_not_returned_has_no_pairs(tmp_path: Path) -> None:
    xs = np.random.default_rng(0).standard_normal((8, 4), np.float32)
    assert quantize(tmp_path, "two_heads", x=xs).exit_code == 0
    done = export(tmp_path, "two_heads", "--input", "x:1x4", "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["pairs"] == 4
    (note,) = found["notes"]
    assert note.startswith("Quantizer 'in_training.int8.weight' runs for no output")


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_inputs_need_not_be_the_first_ones(tmp_path: Path, exporter: str) -> None:
    drawn = np.random.default_rng(0)
    names = ("x", "mask", "scale")
    arrays = {name: drawn.standard_normal((8, 6), np.float32) for name in names}
    made = quantize(tmp_path, "masked", **arrays)
    assert made.exit_code == 0, made.output
    inputs = [each for name in reversed(names) for each in ("--input", f"{name}:1x6")]
    done = export(tmp_path, "masked", *inputs, "--exporter", exporter)
    assert done.exit_code == 0, done.output
    graph, data = tmp_path / "model.onnx", f"npz:{tmp_path / 'train.npz'}"
    source = f"{tmp_path / 'models.py'}:masked"
    weights = ("--fake-quantized-checkpoint", tmp_path / "int8.pt", "--duration", 0)
    told = run("eval", graph, "--data", data, "--fake-quantized", source, *weights)
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_layers_of_constants_alone_are_not_in_the_graph(tmp_path: Path, exporter: str) -> None:
    xs = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    assert quantize(tmp_path, "biased", x=xs).exit_code == 0
    done = export(tmp_path, "biased", "--input", "x:1x8", "--exporter", exporter)
    assert done.exit_code == 0, done.output
    assert "INT8: 2 of 2 layers, 100.0%" in done.output
    assert "lint: 0 warnings" in done.output
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node)
    pairs = {"QuantizeLinear": 2, "DequantizeLinear": 4}
    assert operators == {**pairs, "Gemm": 2, "Add": 1}


def test_a_net_of_transposed_convolutions_alone_names_who_builds_one(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((8, 4, 2, 2), np.float32)
    refused = quantize(tmp_path, "generator", input=noise)
    assert refused.exit_code == 2
    assert (
        "TensorRT 10 and 11 build one: give --for 10, and export with --opset 19." in refused.stderr
    )
    assert quantize(tmp_path, "generator", "--for", 10, input=noise).exit_code == 0
    done = export(tmp_path, "generator", "--input", "input:1x4x2x2", "--opset", 19, *FASTER)
    assert done.exit_code == 0, done.output


def test_data_is_the_way_out_where_random_samples_make_nan(tmp_path: Path) -> None:
    xs = np.random.default_rng(0).uniform(1, 2, (8, 6)).astype(np.float32)
    assert quantize(tmp_path, "log_of_mask", x=xs).exit_code == 0
    refused = export(tmp_path, "log_of_mask", "--input", "x:1x6", *FASTER)
    assert refused.exit_code == 1
    assert "itself returns NaN" in refused.stderr
    assert "Give --data, if only random samples make it" in refused.stderr
    data = f"npz:{tmp_path / 'train.npz'}"
    done = export(tmp_path, "log_of_mask", "--input", "x:1x6", "--data", data, *FASTER)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("exporter", "way_out"),
    [("dynamo", "Try --exporter torchscript."), ("torchscript", "try --static-batch")],
)
def test_a_graph_that_does_not_run_is_not_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exporter: str, way_out: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GraphError("ONNX Runtime does not accept 'graph': a Loop.", "Check that it is whole.")

    monkeypatch.setattr(pipeline, "verify", fail)
    xs = np.random.default_rng(0).standard_normal((8, 4), np.float32)
    assert quantize(tmp_path, "two_heads", x=xs).exit_code == 0
    failed = export(tmp_path, "two_heads", "--input", "x:1x4", "--exporter", exporter)
    assert failed.exit_code == 1
    assert "a Loop." in failed.stderr
    assert way_out in failed.stderr
    assert "whole" not in failed.stderr
