"""What quantizing and exporting leave of a model as it was, and what they see through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtqat
from trtqat.errors import ExportError, QuantizerError, SourceError
from trtqat.quant.kept_state import buffers_kept, evaluated
from trtqat.quant.quantize import quantize
from trtqat.runtime.onnx_model import OnnxModel


class Counting(nn.Module):
    """Writes into its buffers in eval mode, too: in place, by another tensor, and past autograd."""

    calls: torch.Tensor
    largest: torch.Tensor
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y: torch.Tensor = self.norm(self.conv(images))
        self.largest = torch.maximum(self.largest, y.max())
        self.mean.data.add_(1)
        dropped: torch.Tensor = self.drop(y)
        return dropped


def _images() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _buffers(model: nn.Module) -> list[float]:
    return [float(model.get_buffer(name).detach().sum()) for name in ("calls", "largest", "mean")]


class Centred(nn.Module):
    """Takes a running mean of its own away, which it moves in eval mode, too."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(images)
        self.mean.mul_(0.5).add_(y.mean((0, 2, 3)), alpha=0.5)
        return y - self.mean[:, None, None]


def test_a_graph_begins_with_what_the_model_holds(tmp_path: Path) -> None:
    """However often the export ran it meanwhile."""
    torch.manual_seed(0)
    images = _images()
    model = quantize(Centred(), [images]).model
    model.get_buffer("mean").fill_(0.25)
    result = trtqat.export(model, tmp_path / "m.onnx", inputs=["images:1x3x8x8"])
    assert any("writes its buffer 'mean'" in note for note in result.notes)
    assert model.get_buffer("mean").tolist() == [0.25] * 8
    with OnnxModel(tmp_path / "m.onnx", as_written=True) as graph, graph.session(4) as session:
        for _ in range(2):
            (found,) = session.run({"images": images.numpy()}).values()
            with buffers_kept(model), torch.no_grad():
                expected = model(images)
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_torchscript_exporter_says_what_its_run_wrote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = quantize(Centred(), [_images()]).model
    with pytest.raises(ExportError, match="computes something else"):
        trtqat.export(model, tmp_path / "m.onnx", inputs=["images:1x3x8x8"], exporter="torchscript")
    assert "what that wrote into buffer 'mean'" in caplog.text
    assert not model.get_buffer("mean").requires_grad
    assert not model.get_buffer("mean").any()


def test_a_block_leaves_buffers_as_they_were() -> None:
    model = Counting()
    before = model.mean
    with buffers_kept(model):
        model(_images())
        assert 0 not in _buffers(model)
        model.register_buffer("added", torch.ones(()))
    assert _buffers(model) == [0, 0, 0]
    assert model.mean is before
    assert model.get_buffer("added") == 1


def test_a_buffer_of_nan_that_nobody_writes_is_not_written() -> None:
    """As the range of a quantizer that saw no data."""
    model = Counting()
    model.largest.fill_(torch.nan)
    with buffers_kept(model) as written:
        model.calls += 1
    assert written == ["calls"]


def test_each_module_goes_back_into_its_mode() -> None:
    model = Counting().train()
    model.norm.eval()
    with evaluated(model):
        assert not any(module.training for module in model.modules())
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes == {"": True, "conv": True, "norm": False, "drop": True}


def test_calibration_is_not_counted_by_the_model() -> None:
    quantized = quantize(Counting(), [_images()] * 3).model
    assert _buffers(quantized) == [0, 0, 0]


def test_export_leaves_modes_and_buffers(tmp_path: Path) -> None:
    model = quantize(Counting(), [_images()]).model.train()
    model.get_submodule("norm").eval()
    trtqat.export(model, tmp_path / "m.onnx", inputs=["images:1x3x8x8"], exporter="torchscript")
    assert _buffers(model) == [0, 0, 0]
    assert model.training
    assert not model.get_submodule("norm").training
    assert model.get_submodule("drop").training


def _compiled(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, backend="eager")  # type: ignore[assignment]
    return compiled


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(images)
        return y


@pytest.mark.parametrize("wrap", [nn.DataParallel, _compiled])
def test_export_takes_the_model_inside(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    model = wrap(quantize(_Net(), [_images()]).model)
    done = trtqat.export(
        model, tmp_path / "m.onnx", inputs=["images:1x3x8x8"], exporter="torchscript"
    )
    assert done.pairs == 2


_WRAPPING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, images):
        return self.conv(images)

def parallel():
    return nn.DataParallel(Net())

def compiled():
    return torch.compile(Net(), backend="eager")

def short():
    return Net().bfloat16()
"""


@pytest.mark.parametrize("name", ["parallel", "compiled"])
def test_a_factory_may_wrap_its_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "wrapping.py").write_text(_WRAPPING)
    source, int8 = f"{tmp_path / 'wrapping.py'}:{name}", tmp_path / "int8.pt"
    trtqat.quantize_source(source, int8, data="random:4", inputs=["images:1x3x8x8"])
    done = trtqat.export(
        source,
        tmp_path / "m.onnx",
        checkpoint=int8,
        inputs=["images:1x3x8x8"],
        exporter="torchscript",
    )
    assert done.pairs == 2
    report = trtqat.evaluate(
        tmp_path / "m.onnx",
        "random:4",
        baseline=source,
        fake_quantized=trtqat.Torch(source, checkpoint=int8),
        latency=None,
    )
    assert len(report.contenders) == 3


def test_a_model_of_other_floats_is_told_so_not_its_data(tmp_path: Path) -> None:
    (tmp_path / "wrapping.py").write_text(_WRAPPING)
    source = f"{tmp_path / 'wrapping.py'}:short"
    with pytest.raises(SourceError, match=r"'conv\.weight' is bfloat16.*\.float\(\)"):
        trtqat.quantize_source(
            source, tmp_path / "int8.pt", data="random:4", inputs=["images:1x3x8x8"]
        )


def test_inference_mode_is_no_hindrance() -> None:
    with torch.inference_mode():
        model = quantize(_Net(), [_images()]).model
    model.train()(_images()).sum().backward()
    assert all(each.grad is not None for each in model.parameters())


class _Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(4, 8)

    def forward(self, batch: dict[str, list[torch.Tensor]]) -> torch.Tensor:
        left, right = batch["pair"]
        left += 1
        y: torch.Tensor = self.first(left) + self.second(right)
        return y


def test_tensors_inside_of_arguments_are_counted_and_copied() -> None:
    left, right = torch.ones(6, 4), torch.ones(6, 4)
    quantized = quantize(_Nested(), [({"pair": [left, right]},)])
    assert quantized.images == 6
    assert torch.equal(left, torch.ones(6, 4))


def test_a_model_without_numbers_is_told_so() -> None:
    with pytest.raises(QuantizerError, match=r"'conv\.weight' is on the meta device.*to_empty"):
        quantize(_Net().to("meta"), [_images()])
    lazy = nn.Sequential(nn.LazyConv2d(4, 3))
    with pytest.raises(QuantizerError, match=r"'0\.weight' has no shape yet.*Run the model once"):
        quantize(lazy, [_images()])


def test_nothing_to_quantize_has_a_reason() -> None:
    images = torch.randn(2, 4, 4, 4)
    with pytest.raises(QuantizerError, match=r"as TensorRT 8\.6 builds no .*give --for 10"):
        quantize(nn.ConvTranspose2d(4, 4, 2), [images])
    with pytest.raises(QuantizerError, match=r"1 convolutions and products\. Leave fewer"):
        quantize(nn.Sequential(nn.Conv2d(4, 4, 2)), [images], keep=["0"])
