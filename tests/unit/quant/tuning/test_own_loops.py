"""What users put around a quantized model: checkpointing, a compiler, a moving average."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import trtqat
from tests.support.bars import Net, is_same, plain
from trtqat.errors import QuantizerError
from trtqat.quant.quantize import quantize
from trtqat.quant.recipe import recipe_of, save_quantized
from trtqat.quant.tuning.fine_tune import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")


class TestOwnLoops:
    def step(self, model: nn.Module) -> dict[str, Tensor]:
        images, labels = plain()[0]
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_gradient_checkpointing(self, quantized: nn.Module, reentrant: bool) -> None:
        model = quantized.eval()
        expected = self.step(model)
        model.zero_grad()
        inner = copy.deepcopy(model)

        class Checkpointed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Tensor) -> Tensor:
                out: Tensor = checkpoint(self.inner, x.requires_grad_(), use_reentrant=reentrant)
                return out

        found = self.step(Checkpointed())
        assert len(found) == len(expected)
        for name, value in expected.items():
            assert torch.equal(found[f"inner.{name}"], value), name

    def test_checkpointing_a_part_of_a_forward_is_no_silent_loss(self) -> None:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 3, padding=1)
                self.last = nn.Conv2d(3, 3, 1)
                self.reentrant = True

            def part(self, x: Tensor) -> Tensor:
                y: Tensor = self.conv(x) + x
                return y

            def forward(self, x: Tensor) -> Tensor:
                if not torch.is_grad_enabled():
                    y: Tensor = self.last(self.part(x))
                else:
                    y = self.last(checkpoint(self.part, x, use_reentrant=self.reentrant))
                return y

        images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        model = quantize(Block(), [images]).model
        with pytest.raises(QuantizerError, match="Give checkpoint a module"):
            model(images.requires_grad_())
        model.reentrant = False  # type: ignore[assignment]
        with pytest.raises(torch.utils.checkpoint.CheckpointError):
            model(images).sum().backward()

    # PyTorch's compiler looks at .grad and makes an object of a Function, of which PyTorch warns.
    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
    def test_torch_compile(self, quantized: nn.Module) -> None:
        quantized.get_submodule("dropout").p = 0.0  # type: ignore[assignment]
        plainly = copy.deepcopy(quantized)
        expected = fine_tune(plainly, plain()[:2], epochs=1)
        compiled = torch.compile(quantized, backend="eager")
        done = fine_tune(compiled, plain()[:2], epochs=1)  # type: ignore[arg-type]
        torch._dynamo.reset()
        assert done.weight_change == pytest.approx(expected.weight_change, rel=1e-3)
        assert done.range_change == pytest.approx(expected.range_change, rel=1e-3, abs=1e-5)
        for name, value in quantized.state_dict().items():
            torch.testing.assert_close(value, plainly.state_dict()[name])
        assert {each.method for each in recipe_of(quantized).quantizers} == {"learned"}

    def test_moving_average_of_pytorch(
        self, quantized: nn.Module, float_model: Net, tmp_path: Path
    ) -> None:
        decay = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
        average = AveragedModel(quantized, multi_avg_fn=decay)
        fine_tune(
            *(quantized, plain()), epochs=1, ranges="fixed",
            progress=lambda *_: average.update_parameters(quantized),
        )  # fmt: skip
        averaged = average.module.eval()
        save_quantized(quantized, tmp_path / "ema.pt", state=averaged.state_dict())
        loaded = copy.deepcopy(float_model)
        trtqat.load_state(loaded, tmp_path / "ema.pt")
        assert not is_same(loaded, quantized)
        assert is_same(loaded, averaged)
        images = plain()[0][0]
        with torch.no_grad():
            assert torch.equal(loaded.eval()(images), averaged(images))
