"""The FP32 model as the teacher, and losses of the user's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.architectures import ARCHITECTURES, batches, by_name, trained_like
from tests.support.bars import CLASSES, SIZE, Net, plain, samples
from trtqat.errors import UsageError
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.quantize import quantize
from trtqat.quant.tuning.fine_tune import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")


class TestTeacher:
    def test_no_labels_are_needed(self, quantized: nn.Module, float_model: Net) -> None:
        for each in quantized.modules():
            if isinstance(each, Int8Quantizer) and not each.is_weight:
                each.amax *= 0.2
        images = [images for images, _ in plain()]
        distance = [_distance(quantized, float_model)]
        for data in (images, [(each, None) for each in images], [[each] for each in images]):
            fine_tune(quantized, data, epochs=2, teacher=float_model, lr=0.01, range_lr=0.05)
            distance.append(_distance(quantized, float_model))
        assert distance == sorted(distance, reverse=True)
        assert distance[-1] < 0.5 * distance[0]

    def test_losses_are_these(self, quantized: nn.Module, float_model: Net) -> None:
        images, labels = plain()[0]
        share, temperature = 0.3, 2.0
        seen: list[float] = []
        quantized.get_submodule("dropout").p = 0.0  # type: ignore[assignment]
        before = copy.deepcopy(quantized)

        def run(labels: Tensor | None, **options: Any) -> float:
            fine_tune(
                copy.deepcopy(quantized),
                [(images, labels)],
                epochs=1,
                teacher=float_model,
                freeze_batch_norm=0,
                progress=lambda *each: seen.append(each[3]),
                **options,
            )
            return seen[-1]

        with torch.no_grad():
            ours, theirs = before(images), float_model(images)
        p, q = (theirs / temperature).softmax(1), (ours / temperature).softmax(1)
        divergence = float((p * (p / q).log()).sum(1).mean()) * temperature**2
        hard = float(functional.cross_entropy(ours, labels))
        error = float((ours - theirs).square().mean() / theirs.square().mean())
        options = {"teacher_share": share, "temperature": temperature}
        assert run(labels, **options) == pytest.approx(
            (1 - share) * hard + share * divergence, rel=1e-4
        )
        assert run(None, **options) == pytest.approx(divergence, rel=1e-3)
        assert run(None, distance="mse") == pytest.approx(error, rel=1e-4)

    @pytest.mark.parametrize(
        "name", ["resnet_basic", "feature_pyramid", "vit_multihead", "two_inputs", "lstm", "bert"]
    )
    def test_any_inputs_and_outputs(self, name: str) -> None:
        architecture, model = ARCHITECTURES[name], trained_like(name)
        data = batches(architecture, 2, 4)
        quantized = quantize(model, data).model
        done = fine_tune(quantized, [(each, None) for each in data], epochs=1, teacher=model)
        assert done.epochs[0].loss > 0
        assert min(done.weight_change.values()) > 0

    def test_inputs_by_name_and_a_loss_of_ones_own(self) -> None:
        architecture, model = ARCHITECTURES["feature_pyramid"], trained_like("feature_pyramid")
        data = list(by_name(architecture, batches(architecture, 2, 4)))
        quantized = quantize(model, data).model
        given: list[Any] = []

        def loss(outputs: Any, labels: Any) -> Tensor:
            given.append(labels)
            values = outputs.values() if isinstance(outputs, dict) else outputs
            squares = [each.square().mean() for each in values]
            weight: Tensor = labels["weight"]
            return torch.stack(squares).sum() * weight

        labels = {"weight": torch.tensor(0.5), "names": ["a"]}
        pairs = [(each, labels) for each in data]
        fine_tune(quantized, pairs, epochs=1, loss=loss)
        assert [each["names"] for each in given] == [["a"], ["a"]]

    def test_another_model_is_no_teacher(self, quantized: nn.Module) -> None:
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, CLASSES + 1))
        with pytest.raises(UsageError, match="teacher, in evaluation, returns other tensors"):
            fine_tune(quantized, plain(), epochs=1, teacher=teacher)

    def test_a_detector_that_returns_something_else_in_training(self) -> None:
        """The float model itself is no teacher then, and was named as the way out."""

        class Detector(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Conv2d(3, 6, 3)

            def forward(self, images: Tensor) -> list[Tensor]:
                maps = self.head(images)
                return [maps] if self.training else [maps.flatten(2).sigmoid(), maps]

        class Maps(nn.Module):
            def __init__(self, detector: nn.Module) -> None:
                super().__init__()
                self.detector = detector

            def forward(self, images: Tensor) -> list[Tensor]:
                return [self.detector(images)[1]]

        images = torch.randn(4, 3, 8, 8)
        model = Detector().eval()
        quantized = quantize(model, [images]).model
        with pytest.raises(UsageError, match=r"\(4, 6, 36\), .* not \(4, 6, 6, 6\)") as refused:
            fine_tune(quantized, [images], epochs=1, teacher=model)
        assert "one that returns that in evaluation" in refused.value.remedy
        assert fine_tune(quantized, [images], epochs=1, teacher=Maps(model)).epochs[0].loss > 0


def _distance(model: nn.Module, teacher: nn.Module) -> float:
    images = samples(9)[0]
    with torch.no_grad():
        return float((model(images) - teacher(images)).square().mean())
