"""Fake quantization found in the graphs of programs, and what is refused there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.ao.quantization.fx import _decomposed as registers_operators  # noqa: F401

from trtqat.errors import QuantizerError, SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.program import program_module
from trtqat.exporting.source import ModelSource
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.toolkits.quantizers import read_quantizers

ATEN, DECOMPOSED, OWN = torch.ops.aten, torch.ops.quantized_decomposed, torch.ops.trtqat
per_tensor = ATEN.fake_quantize_per_tensor_affine.default


class Graph(nn.Module):
    """Runs a function of its tensors and of the input."""

    def __init__(self, run: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.run = run
        self.weight = nn.Parameter(torch.arange(-6.0, 6.0).reshape(4, 3) / 7)
        buffers = {
            "scale": torch.tensor([0.03]),
            "scales": torch.tensor([0.01, 0.02, 0.03, 0.04]),
            "zero": torch.zeros(1, dtype=torch.int32),
            "five": torch.full((1,), 5, dtype=torch.int32),
            "zeros": torch.zeros(4, dtype=torch.int32),
            "on": torch.ones(1, dtype=torch.int64),
            "off": torch.zeros(1, dtype=torch.int64),
            "least": torch.tensor(-1.0),
            "most": torch.tensor(1.0),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> Any:
        return self.run(self, x)


def rewritten(run: Callable[[Any, Any], Any]) -> tuple[nn.Module, nn.Module]:
    """The model, and the module that its graph becomes."""
    model = Graph(run).eval()
    traced = fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        node.meta["val"] = torch.empty(4, 3)
    return model, program_module(traced, "m.pt2")


def fused(g: Any, x: Any, observing: Any, enabled: Any) -> Any:
    return ATEN.fused_moving_avg_obs_fake_quant.default(
        x, observing, enabled, g.least, g.most, g.scale, g.zero, 0.01, -128, 127, -1
    )


def helper(g: Any, x: Any) -> Any:
    """As run_decompositions leaves it: the observer's state is written back."""
    results = ATEN._fused_moving_avg_obs_fq_helper_functional.default(
        x, g.off, g.on, g.least, g.most, g.scale, g.zero, 0.01, -128, 127, -1
    )
    ATEN.copy_.default(g.least, results[2])
    ATEN.copy_.default(g.scale, results[4])
    return results[0]


def pair(x: Any, scale: float = 0.03, zero: int = 0, other: float = 0.03) -> Any:
    codes = DECOMPOSED.quantize_per_tensor.default(x, scale, zero, -128, 127, torch.int8)
    return DECOMPOSED.dequantize_per_tensor.default(codes, other, zero, -128, 127, torch.int8)


def channels(g: Any) -> Any:
    codes = DECOMPOSED.quantize_per_channel.default(
        g.weight, g.scales, g.zeros, -2, -127, 127, torch.int8
    )
    return DECOMPOSED.dequantize_per_channel.default(
        codes, g.scales, g.zeros, 0, -127, 127, torch.int8
    )


@pytest.mark.parametrize(
    ("run", "axis", "low"),
    [
        (lambda g, x: per_tensor(x, 0.03, 0, -128, 127), None, -128),
        (
            lambda g, x: ATEN.fake_quantize_per_tensor_affine.tensor_qparams(
                x, g.scale, g.zero, -127, 127
            ),
            None,
            -127,
        ),
        (
            lambda g, x: ATEN._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default(
                x, g.scale, g.zero, g.on, -128, 127
            )[0],
            None,
            -128,
        ),
        (
            lambda g, x: ATEN.fake_quantize_per_channel_affine_cachemask.default(
                x, g.scales, g.zeros, 0, -128, 127
            )[0],
            0,
            -128,
        ),
        # The scale may be computed, as long as it is from constants.
        (
            lambda g, x: ATEN.fake_quantize_per_channel_affine.default(
                x, ATEN.mul.Tensor(g.scales, 0.5), g.zeros, 0, -128, 127
            ),
            0,
            -128,
        ),
        (lambda g, x: fused(g, x, g.off, g.on), None, -128),
        (helper, None, -128),
        (lambda g, x: pair(x), None, -128),
        (lambda g, x: channels(g), 0, -127),
        (lambda g, x: OWN.fake_quantize.default(x, g.scales, 0, -3.5, 127.0, "mine"), 0, -3.5),
        # Unsigned codes around 128 are INT8.
        (lambda g, x: per_tensor(x, 0.03, 128, 0, 255), None, -128),
    ],
)  # fmt: skip
def test_becomes_a_module_that_computes_the_same(run: Any, axis: int | None, low: float) -> None:
    model, module = rewritten(run)
    (found,) = read_quantizers(module).values()
    assert found is not None
    assert (found.axis, found.low, found.high) == (axis, low, 127)
    assert sum(isinstance(each, FakeQuantize) for each in module.modules()) == 1
    x = torch.randn(4, 3) * 3
    torch.testing.assert_close(module(x), model(x), rtol=0, atol=1e-6)
    assert not torch.equal(module(x), x)


@pytest.mark.parametrize(
    "run",
    [
        lambda g, x: fused(g, x, g.off, g.off),
        lambda g, x: ATEN._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default(
            x, g.scale, g.zero, g.off, -128, 127
        )[0],
    ],
)
def test_disabled(run: Any) -> None:
    _, module = rewritten(run)
    assert read_quantizers(module) == {}
    x = torch.randn(4, 3)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda g, x: per_tensor(x, 0.1, 5, -128, 127), "point of 5"),
        (lambda g, x: per_tensor(x, 0.1, 0, 0, 255), r"\[0, 255\]"),
        (lambda g, x: per_tensor(x, 0.1, 0, -8, 7), "only 16"),
        (lambda g, x: per_tensor(x, 0.0, 0, -128, 127), "scale of 0"),
        (
            lambda g, x: ATEN.fake_quantize_per_tensor_affine.tensor_qparams(
                x, g.scale, g.five, -128, 127
            ),
            "point of 5",
        ),
        (
            lambda g, x: ATEN.fake_quantize_per_tensor_affine.tensor_qparams(
                x, ATEN.amax.default(x), g.zero, -128, 127
            ),
            "computes its scale",
        ),
        (lambda g, x: fused(g, x, g.on, g.on), "still observes"),
        (lambda g, x: pair(x, zero=3), "point of 3"),
        (lambda g, x: pair(x, other=0.04), "other parameters"),
        (
            lambda g, x: DECOMPOSED.dequantize_per_tensor.default(
                ATEN.relu.default(
                    DECOMPOSED.quantize_per_tensor.default(x, 0.1, 0, -128, 127, torch.int8)
                ),
                0.1, 0, -128, 127, torch.int8,
            ),
            "dequantizes the codes that 'relu",
        ),
    ],
)  # fmt: skip
def test_refused_by_name_with_a_way_out(run: Any, message: str) -> None:
    with pytest.raises(QuantizerError, match=message) as caught:
        read_quantizers(rewritten(run)[1])
    assert "'" in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    "run",
    [
        lambda g, x: ATEN.dropout.default(x, 0.5, True),
        lambda g, x: ATEN.batch_norm.default(
            x, None, None, g.scales[:3], g.scales[1:], True, 0.1, 1e-5, False
        ),
    ],
)
def test_exported_in_training_mode(run: Any) -> None:
    with pytest.raises(SourceError, match="in training mode") as caught:
        rewritten(run)
    assert "model.eval()" in caught.value.remedy


class Twice(nn.Module):
    """A quantizer that runs twice, and a layer that quantizes its input and its weight."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = torch.fake_quantize_per_tensor_affine(self.weight, 0.01, 0, -128, 127)
            return torch.fake_quantize_per_tensor_affine(x, 0.02, 0, -128, 127) @ weight

    class Quantizer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127)

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.quantizer = self.Layer(), self.Quantizer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.quantizer(self.layer(self.quantizer(x)))
        return y


def test_names_are_those_of_the_modules() -> None:
    program = torch.export.export(Twice(), (torch.randn(2, 3),))
    assert list(read_quantizers(program_module(program, "m"))) == [
        "layer.fake_quantize_per_tensor_affine_1",
        "layer.fake_quantize_per_tensor_affine_2",
        "quantizer",
    ]


def test_files_that_are_no_program(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    program = torch.export.export(Twice(), (torch.randn(2, 3),))
    torch.export.save(program, tmp_path / "whole.pt2")
    whole = (tmp_path / "whole.pt2").read_bytes()
    torch.save({"weight": torch.ones(2)}, tmp_path / "checkpoint.pt2")
    (tmp_path / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt2").write_bytes(b"hello")
    caplog.clear()
    for name in ("checkpoint", "cut", "text"):
        path = tmp_path / f"{name}.pt2"
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(SourceError, match="cannot be read as a torch") as caught,
        ):
            load_model(ModelSource(str(path)))
        assert str(path) in caught.value.problem
        assert "torch.export.save" in caught.value.remedy
    # PyTorch's own tracebacks are kept from the user.
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SourceError, match="There is no model file"):
        load_model(ModelSource(str(tmp_path / "none.pt2")))
    with pytest.raises(SourceError, match=r"is a torch\.export program; it brings its weights"):
        load_model(ModelSource(str(tmp_path / "whole.pt2"), checkpoint=tmp_path / "x.pt"))


@pytest.mark.parametrize(("name", "kind"), [("m.onnx", "an ONNX file"), ("m.plan", "an engine")])
def test_what_is_made_of_a_model_is_none(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"ftrt")
    with pytest.raises(SourceError, match=f"is {kind}, and no PyTorch model"):
        load_model(ModelSource(str(tmp_path / name)))


def test_shapes_that_it_was_not_exported_for() -> None:
    batch = torch.export.Dim("batch", min=2, max=8)
    layer = nn.Linear(3, 2)
    program = torch.export.export(layer, (torch.randn(4, 3),), dynamic_shapes=({0: batch},))
    module = program_module(program, "m.pt2")
    module(torch.randn(8, 3))
    with pytest.raises(
        SourceError, match="dimension 0 of its input 'input' from 2 to 8, and got 9"
    ):
        module(torch.randn(9, 3))
    fixed = "dimension 1 of its input 'input' fixed to 3, and got 5"
    with pytest.raises(SourceError, match=fixed) as raised:
        module(torch.randn(4, 5))
    assert "without --dynamic" in raised.value.remedy
