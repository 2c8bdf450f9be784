"""Weights that are no numbers are named: by lint, by export of a graph, and of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.graphs import Graph, batch_norm
from trtqat.errors import GraphError, SourceError
from trtqat.exporting.check_model import check_finite_parameters
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lint import lint
from trtqat.graph_file.reading import read_model
from trtqat.tensors import Array


def spoiled(name: str, value: float, folder: Path) -> Path:
    graph = Graph((2, 4, 5, 5))
    graph.conv(graph.pair("x", 0.05), "conv", kernel=3)
    graph.batch_norm("conv", batch_norm(4), "norm")
    mask: Array = np.zeros((1, 4, 1, 1), np.float32)
    graph.node("Add", ["norm", graph.constant("mask", mask)], "y")
    array = graph.constants[name] = graph.constants[name].copy()
    array.reshape(-1)[1] = value
    path = folder / "m.onnx"
    path.write_bytes(graph.proto("y").SerializeToString())
    return path


def findings(path: Path) -> list[str]:
    return [each.where for each in lint(read_model(path)) if each.rule == "weight-not-finite"]


@pytest.mark.parametrize("name", ["conv.weight", "norm.g", "norm.v"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_weight_is_named(name: str, value: float, tmp_path: Path) -> None:
    path = spoiled(name, value, tmp_path)
    assert findings(path) == [name]
    size = 144 if name == "conv.weight" else 4
    word = "NaN" if np.isnan(value) else "infinite"
    with pytest.raises(GraphError, match=f"'{name}' is {word} in 1 of {size} numbers") as refused:
        improve_onnx(path, tmp_path / "out.onnx", ExportOptions(()))
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out.onnx").exists()


def test_a_mask_may_be_infinite_but_not_nan(tmp_path: Path) -> None:
    assert findings(spoiled("mask", -np.inf, tmp_path)) == []
    assert findings(spoiled("mask", np.nan, tmp_path)) == ["mask"]


def test_a_scale_has_a_rule_of_its_own(tmp_path: Path) -> None:
    found = lint(read_model(spoiled("conv.weight.scale", np.nan, tmp_path)))
    assert [each.rule for each in found if "conv.weight.scale" in each.where] == [
        "scale-not-positive"
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("0.weight", torch.nan, "Parameter '0.weight' is NaN in 1 of 12 numbers"),
        ("0.bias", torch.inf, "Parameter '0.bias' is infinite in 1 of 4 numbers"),
        ("1.running_var", torch.inf, "Buffer '1.running_var' is infinite"),
        ("1.running_mean", torch.nan, "Buffer '1.running_mean' is NaN"),
        ("mask", torch.nan, "Buffer 'mask' is NaN"),
        ("mask", -torch.inf, None),
    ],
)
def test_parameters_of_a_model(name: str, value: float, expected: str | None) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model.register_buffer("mask", torch.zeros(2, 2))
    check_finite_parameters(model)
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = value
    if expected is None:
        check_finite_parameters(model)
        return
    with pytest.raises(SourceError, match=expected):
        check_finite_parameters(model)


def test_parameters_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = torch.nn.Sequential(torch.nn.Linear(3, 4))
    check_finite_parameters(model)
