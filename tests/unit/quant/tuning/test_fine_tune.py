"""What fine-tuning does to weights, ranges and statistics, and what it says of that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.support.bars import Batch, Net, is_same, plain, state_of
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.quantize import quantize
from trtqat.quant.recipe import recipe_of
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.quant.tuning.fine_tune import fine_tune
from trtqat.quant.tuning.optimizer import scheduled_share

pytestmark = pytest.mark.usefixtures("one_thread")


def loss_of(model: nn.Module, data: list[Batch]) -> float:
    with torch.no_grad():
        return sum(float(functional.cross_entropy(model(x), y)) for x, y in data) / len(data)


class TestTraining:
    def test_the_loss_falls_and_the_record_says_so(self, float_model: Net) -> None:
        # Ranges a quarter of what they should be: much is lost, and can be won back.
        model = quantize(float_model, [images for images, _ in plain()]).model
        for each in model.modules():
            if isinstance(each, Int8Quantizer) and not each.is_weight:
                each.amax *= 0.2
        # What dropout draws would decide whether each epoch is better than the one before.
        model.get_submodule("dropout").p = 0.0  # type: ignore[assignment]
        before, loss = state_of(model), loss_of(model, plain(5))
        done = fine_tune(model, plain(), epochs=6, lr=0.02, range_lr=0.05)
        assert loss_of(model, plain(5)) < 0.7 * loss
        assert [each.loss for each in done.epochs] == sorted(
            (each.loss for each in done.epochs), reverse=True
        )
        assert all(each.seconds > 0 for each in done.epochs)
        assert done.epochs[0].lr > done.epochs[-1].lr > 0
        assert set(done.weight_change) == {"conv1", "conv2", "fc"}
        for name, change in done.weight_change.items():
            old = before[f"{name}.weight"]
            new = model.state_dict()[f"{name}.weight"]
            assert change == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-4)
        assert done.range_change["conv2.int8.input"] > 0.05
        assert not model.training

    def test_learned_ranges_move_and_are_buffers_again(self, quantized: nn.Module) -> None:
        before = state_of(quantized)
        done = fine_tune(quantized, plain(), epochs=2)
        after = quantized.state_dict()
        assert list(after) == list(before)
        for name, module in quantized.named_modules():
            if isinstance(module, Int8Quantizer):
                assert "amax" in dict(module.named_buffers())
                assert not module.amax.requires_grad
                moved = (after[f"{name}.amax"] / before[f"{name}.amax"]).log2()
                assert (moved.abs() > 0).any()
                assert done.range_change[name] == pytest.approx(
                    float(moved.flatten()[moved.abs().argmax()]), rel=1e-3, abs=1e-6
                )
        assert not [name for name, _ in quantized.named_parameters() if "int8" in name]
        assert {each.method for each in recipe_of(quantized).quantizers} == {"learned"}
        assert len(read_quantizers(quantized)) == len(done.range_change)

    def test_fixed_ranges_stay(self, quantized: nn.Module) -> None:
        before = state_of(quantized)
        done = fine_tune(quantized, plain(), epochs=1, ranges="fixed")
        for name, value in quantized.state_dict().items():
            assert torch.equal(value, before[name]) is name.endswith("amax")
        assert done.range_change == {}

    def test_ranges_stay_positive_at_any_rate(self, quantized: nn.Module) -> None:
        fine_tune(quantized, plain(), epochs=3, range_lr=2.0)
        for name, value in quantized.state_dict().items():
            assert not name.endswith("amax") or (value > 0).all()

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_decay_is_for_weights_alone(self, calibrated: nn.Module, optimizer: Any) -> None:
        models = [copy.deepcopy(calibrated) for _ in range(2)]
        for model, decay in zip(models, (0.0, 1.0), strict=True):
            torch.manual_seed(0)
            # One step, in which the decay has no way yet to reach others through the loss.
            fine_tune(
                model,
                plain()[:1],
                epochs=1,
                weight_decay=decay,
                optimizer=optimizer,
                freeze_batch_norm=0,
                lr=1e-3,
            )
        first, second = (model.state_dict() for model in models)
        decayed = {name for name in first if not torch.equal(first[name], second[name])}
        assert decayed == {"conv1.weight", "conv2.weight", "fc.weight"}

    def test_batch_norms_keep_their_statistics_from_an_epoch_on(self, quantized: nn.Module) -> None:
        means: list[Tensor] = []

        def note(epoch: int, step: int, steps: int, loss: float) -> None:
            means.append(quantized.get_buffer("bn1.running_mean").clone())

        fine_tune(quantized, plain(), epochs=3, freeze_batch_norm=1, progress=note)
        first, later = means[:5], means[4:]
        assert not any(torch.equal(first[0], each) for each in first[1:])
        assert all(torch.equal(later[0], each) for each in later)

    def test_progress(self, quantized: nn.Module) -> None:
        seen: list[tuple[int, int, int, float]] = []
        done = fine_tune(quantized, plain(), epochs=2, progress=lambda *each: seen.append(each))
        assert [each[:3] for each in seen] == [(e, s, 5) for e in (1, 2) for s in range(1, 6)]
        for epoch, record in enumerate(done.epochs, start=1):
            losses = [each[3] for each in seen if each[0] == epoch]
            assert record.loss == pytest.approx(sum(losses) / len(losses))

    def test_toolkits_quantizers_train_too(self, float_model: Net) -> None:
        pytest.importorskip("pytorch_quantization")
        model = copy.deepcopy(float_model)
        insert_quantizers(model)
        calibrate(model, [images for images, _ in plain()])
        before = state_of(model)
        with quiet_toolkit():
            done = fine_tune(model, plain(), epochs=1)
        assert set(done.weight_change) == {"conv1", "conv2", "fc"}
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]) is name.endswith("_amax")

    def test_average_is_what_pytorch_makes_of_the_steps(self, quantized: nn.Module) -> None:
        averages: list[AveragedModel] = []

        def average(*_: object) -> None:
            if not averages:
                decay = get_ema_multi_avg_fn(0.5)  # type: ignore[no-untyped-call]
                averages.append(AveragedModel(quantized, multi_avg_fn=decay))
            averages[0].update_parameters(quantized)

        fine_tune(quantized, plain(), epochs=2, ema=0.5, progress=average)
        expected = averages[0].module.state_dict()
        assert all(torch.equal(value, expected[n]) for n, value in quantized.state_dict().items())

    def test_bfloat16(self, quantized: nn.Module) -> None:
        full = copy.deepcopy(quantized)
        torch.manual_seed(0)
        expected = fine_tune(full, plain(), epochs=1)
        torch.manual_seed(0)
        done = fine_tune(quantized, plain(), epochs=1, amp="bf16")
        assert done.epochs[0].loss == pytest.approx(expected.epochs[0].loss, rel=0.1)
        assert not is_same(full, quantized)
        assert all(value.dtype != torch.bfloat16 for value in quantized.state_dict().values())

    def test_clipping_bounds_a_step(self, quantized: nn.Module) -> None:
        before = state_of(quantized)
        fine_tune(
            *(quantized, plain()[:1]), epochs=1, lr=1.0, momentum=0, weight_decay=0, clip=1e-3,
            warm_up=0,
        )  # fmt: skip
        names = [name for name, _ in quantized.named_parameters()]
        change = sum(
            float((quantized.state_dict()[name] - before[name]).square().sum()) for name in names
        )
        assert change**0.5 == pytest.approx(1e-3, rel=0.01)

    def test_float_model_as_control(self, float_model: Net) -> None:
        model = copy.deepcopy(float_model)
        done = fine_tune(model, plain(), epochs=1, ranges=None)
        assert set(done.weight_change) == {"conv1", "conv2", "fc"}
        assert list(model.state_dict()) == list(float_model.state_dict())


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_has_switched_off(
    quantized: nn.Module, without_gradients: Callable[[], Any]
) -> None:
    again = copy.deepcopy(quantized)
    torch.manual_seed(1)
    fine_tune(quantized, plain(), epochs=1)
    torch.manual_seed(1)
    with without_gradients():
        fine_tune(again, plain(), epochs=1)
        assert not torch.is_grad_enabled()
    assert is_same(again, quantized)


def test_schedule() -> None:
    """Half a cosine after an even rise, from the step alone."""
    shares = [scheduled_share(step / 100, 10, 100, 0.1) for step in range(1000)]
    peak = int(np.argmax(shares))
    assert 90 <= peak <= 110
    assert 0.95 < shares[peak] <= 1
    assert 0 < shares[0] < 0.02
    assert shares[500] == pytest.approx(0.5)
    assert shares[-1] < 1e-5
    assert scheduled_share(0, 1, 1, 0.1) == 1.0
    assert scheduled_share(0, 10, 100, 0.0) == 1.0
