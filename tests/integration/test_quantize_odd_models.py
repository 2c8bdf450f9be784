"""``trtqat quantize`` on models that cannot be calibrated, or not in every layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.support.quantize_command import run

pytestmark = pytest.mark.usefixtures("one_thread")

ODD = """
import torch
from torch import nn


class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(torch.sqrt(self.first(x)))


class Sometimes(Nan):
    def forward(self, x):
        y = self.first(x)
        # The samples that are recorded are two, and those that are observed more.
        return self.second(y) if len(x) == 2 else y


class Helped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.recurs = nn.Linear(4, 8), nn.GRU(8, 8)
        self.aux, self.last = nn.Sequential(nn.Linear(8, 3)), nn.Linear(8, 3)

    def forward(self, x):
        x = self.recurs(self.first(x)[None])[0][0]
        return self.aux(x) if self.training else self.last(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.mix = nn.Linear(8, 3)

    def forward(self, x, tokens, scale=None):
        return self.mix(torch.cat([x, self.embedding(tokens).mean(1)], 1)), x.argmax(1)


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6 * 6 * 6, 3)

    def forward(self, x):
        return self.fc(self.conv(x).view(-1, 6 * 6 * 6))


class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 3, 1)
        self.filter = nn.Parameter(torch.randn(6, 6, 4, 2))

    def forward(self, x):
        spectrum = torch.fft.rfft2(self.conv(x)) * torch.view_as_complex(self.filter)
        return self.last(torch.fft.irfft2(spectrum, s=(6, 6)))
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(ODD)
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 4)).astype(np.float32)
    tokens = random.integers(0, 7, (40, 5)).astype(np.int32)
    np.savez(folder / "x.npz", x=x, labels=random.integers(0, 3, 40))
    images = random.standard_normal((8, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "images.npz", x=images, labels=np.zeros(8, int))
    np.savez(folder / "both.npz", x=x, tokens=tokens, labels=random.integers(0, 3, 40))
    np.savez(folder / "beyond.npz", x=x[:9], tokens=tokens[:9], labels=np.arange(9))
    return folder


def odd_model(odd: Path, name: str, data: str, output: Path, *arguments: object) -> Result:
    source = f"{odd / 'odd.py'}:{name}"
    return run("quantize", source, "--data", f"npz:{odd / data}.npz", "-o", output, *arguments)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("Nan", "x", "'second.int8.input' saw 88 values that are not finite"),
        ("Sometimes", "x", "'second.int8.input' saw no data"),
        ("Pair", "x", "no array for input 'tokens'"),
    ],
)
def test_a_model_that_cannot_be_calibrated(
    odd: Path, tmp_path: Path, name: str, data: str, said: str
) -> None:
    done = odd_model(odd, name, data, tmp_path / "m.pt")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Viewed", "Spectral"])
def test_a_model_that_runs_with_channels_first_alone(odd: Path, tmp_path: Path, name: str) -> None:
    done = odd_model(odd, name, "images", tmp_path / "m.pt")
    assert done.exit_code == 0, done.output
    assert "2 of 2 layers in INT8" in done.stdout


def test_layers_without_a_quantizer_are_listed(odd: Path, tmp_path: Path) -> None:
    listing = tmp_path / "found.json"
    done = odd_model(odd, "Helped", "x", tmp_path / "m.pt", "--keep", "aux", "--json", listing)
    assert done.exit_code == 0, done.output
    assert "2 of 4 layers in INT8, 13 % of the MACs;" in done.stdout
    assert "TensorRT has no INT8 for what recurs, 87 % of the MACs: recurs\n" in done.stdout
    assert "in floating point, it did not run on the first samples: aux.0\n" in done.stdout
    layers = {each["name"]: each for each in json.loads(listing.read_text())["layers"]}
    assert list(layers) == ["first", "recurs", "last", "aux.0"]
    assert layers["recurs"]["macs"] == 2 * 24 * 8
    assert (layers["aux.0"]["macs"], layers["aux.0"]["call"]) == (0, None)


def test_a_model_with_two_inputs_and_two_outputs(odd: Path, tmp_path: Path) -> None:
    arguments = ("--sensitivity", "--eval-data", f"npz:{odd / 'beyond.npz'}", "--json", "-")
    refused = odd_model(odd, "Pair", "both", tmp_path / "m.pt", *arguments)
    assert "belongs to an accuracy target" in refused.stderr
    beyond = odd_model(
        odd, "Pair", "both", tmp_path / "m.pt", *arguments, "--max-accuracy-drop", 100
    )
    assert beyond.exit_code == 2
    assert "has the label 3, but 'Pair' has 3 classes" in beyond.stderr
    done = odd_model(odd, "Pair", "both", tmp_path / "m.pt", "--sensitivity", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["inputs"] == ["x:1x4:float32", "tokens:1x5:int64"]
    assert [each["output"] for each in found["sensitivity"]] == ["output_0"]
