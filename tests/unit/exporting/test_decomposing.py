from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from tests.support.graphs import nodes_of
from tests.support.models import EXAMPLES
from trtqat.exporting import decomposing
from trtqat.exporting.decomposing import decompose
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.tracing import trace


class _Block(nn.Module):
    """All that is rewritten: in place, BatchNorm, dropout, both kinds of reshape, a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.relu, self.dropout = nn.ReLU6(inplace=True), nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head, self.mix = nn.Linear(8, 4), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(self.conv(x)))
        y += self.dropout(self.conv(x))
        tokens = y.flatten(2).transpose(1, 2)
        tokens = self.mix(tokens).unflatten(2, (2, 4)).transpose(1, 2).flatten(2)
        z: Tensor = self.head(self.pool(y).flatten(1))
        mixed: Tensor = z + tokens.reshape(x.shape[0], -1, 4).mean(1)
        return mixed


class _Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Any:
        return self._function(x)


def _in_place_among_others(x: Tensor) -> Tensor:
    """PyTorch calls the sums add_, add and add_1; without the first in place all are renamed."""
    y = torch.relu(x)
    y.add_(1.0)
    return (y + x) * y + x


def _in_place_before_a_view(x: Tensor) -> Tensor:
    y = torch.relu(x)
    flat = y.flatten(1)
    y.add_(1.0)
    return flat.sum(1)


def _in_place_after_a_dropout(x: Tensor) -> Tensor:
    y = torch.relu(x)
    z = nn.functional.dropout(y, 0.5, training=False)
    z.mul_(2.0)
    return y


def _in_place_and_returned_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.relu(x)
    return y, y.add_(1.0)


def _in_place_on_an_input(x: Tensor) -> Tensor:
    return torch.relu_(x) + x


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each program that was exported was decomposed node by node."""
    answers: list[bool] = []

    def noting(*arguments: object) -> bool:
        answers.append(decompose(*arguments))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(decomposing, "decompose", noting)
    return answers


def _traced(model: nn.Module, outputs: tuple[str, ...] = ("y",)) -> ir.Model:
    samples = {"x": torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))}
    batched = dict.fromkeys(outputs, True)
    model.eval()
    return trace(model, samples, batched, opset=18, dynamic_batch=True, exporter="dynamo")[0]


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (_Block(), ("y",)),
        (_Of(_in_place_among_others), ("y",)),
        (_Of(_in_place_and_returned_twice), ("before", "after")),
    ],
)
def test_every_rule_writes_what_pytorch_writes(
    model: nn.Module,
    outputs: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    used: list[bool],
) -> None:
    ours = _traced(model, outputs)
    assert used == [True]
    monkeypatch.setattr(decomposing, "decompose", lambda *_: False)
    theirs = _traced(model, outputs)
    assert nodes_of(ours) == nodes_of(theirs)
    assert [str(each) for each in ours.graph.outputs] == [
        str(each) for each in theirs.graph.outputs
    ]


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_same_file_as_with_the_decompositions_of_pytorch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: list[bool]
) -> None:
    def exported() -> onnx.ModelProto:
        path = tmp_path / "model.onnx"
        options = ExportOptions(EXAMPLES[name].inputs, exporter="dynamo")
        export_onnx(EXAMPLES[name].qat(), path, options)
        return onnx.load(path)

    ours = exported()
    assert used == [True]
    monkeypatch.setattr(decomposing, "decompose", lambda *_: False)
    theirs = exported()
    assert list(ours.graph.node) == list(theirs.graph.node)
    assert list(ours.graph.initializer) == list(theirs.graph.initializer)
    assert list(ours.graph.value_info) == list(theirs.graph.value_info)
    assert list(ours.graph.output) == list(theirs.graph.output)
    assert list(ours.opset_import) == list(theirs.opset_import)


@pytest.mark.parametrize(
    "function", [_in_place_before_a_view, _in_place_after_a_dropout, _in_place_on_an_input]
)
def test_what_may_be_seen_elsewhere_is_left_to_pytorch(
    function: Callable[[Tensor], Tensor], used: list[bool]
) -> None:
    assert len(_traced(_Of(function)).graph) > 0
    assert used == [False]


class _BuiltIn(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return torch.relu(input) + input


def test_an_input_may_have_the_name_of_what_is_built_in(used: list[bool]) -> None:
    samples = {"input": torch.randn(2, 3)}
    graph, _ = trace(
        _BuiltIn().eval(), samples, {"y": True}, opset=18, dynamic_batch=True, exporter="dynamo"
    )
    assert used == [True]
    assert [each.name for each in graph.graph.inputs] == ["input"]


def test_an_operator_that_is_not_known_is_left_to_pytorch(used: list[bool]) -> None:
    graph = _traced(nn.ConvTranspose2d(3, 4, 2)).graph
    assert used == [False]
    assert "ConvTranspose" in {node.op_type for node in graph}


def test_nothing_changes_where_pytorch_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a version that decomposes by another way than ``run_decompositions``."""
    model = _Block()
    expected = nodes_of(_traced(model))
    own = torch.export.ExportedProgram.run_decompositions
    program = "torch.onnx._internal.exporter._fx_passes.decompose_with_registry"

    def decomposed(exported: torch.export.ExportedProgram, registry: object) -> object:
        from torch.onnx._internal.exporter import _decomp

        kept = set(_decomp.get_onnx_implemented_overloads(registry))  # type: ignore[arg-type]
        return own(exported, _decomp.create_onnx_friendly_decomposition_table(kept))

    monkeypatch.setattr(program, decomposed)
    assert nodes_of(_traced(model)) == expected
    assert torch.export.ExportedProgram.run_decompositions is own
