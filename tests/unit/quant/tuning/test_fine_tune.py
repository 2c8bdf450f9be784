"""Quantized models are fine-tuned, and go on exactly where they were killed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, by_name, trained_like
from tests.support.hanging import HUNG_S
from trtqat.apart import call_apart
from trtqat.errors import QuantizerError, SourceError, TrtqatError, UsageError
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.quantize import quantize
from trtqat.quant.recipe import recipe_of, save_quantized
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.quant.tuning.fine_tune import FineTuned, fine_tune
from trtqat.quant.tuning.optimizer import scheduled_share
from trtqat.quant.tuning.options import FineTuneKeywords, FineTuneOptions

CLASSES, SIZE = 3, 8
Batch = tuple[Tensor, Tensor]


pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A convolution with BatchNorm, dropout, a skip that is added, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(8 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.conv2(x)) + x
        logits: Tensor = self.fc(self.dropout(functional.avg_pool2d(x, 2).flatten(1)))
        return logits


def samples(seed: int, count: int = 60) -> Batch:
    """Bars in three directions, under noise; another scale than 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    bars = torch.zeros(CLASSES, 1, SIZE, SIZE)
    bars[0, 0, 3:5] = bars[1, 0, :, 3:5] = 1
    bars[2, 0] = torch.eye(SIZE) + torch.eye(SIZE).flip(1)
    noise = torch.randn(count, 1, SIZE, SIZE, generator=generator)
    return 3 * (bars[labels] + 0.7 * noise), labels


def loader(seed: int = 0, batch: int = 12) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(seed)), batch, shuffle=True)


def plain(seed: int = 0) -> list[Batch]:
    images, labels = samples(seed)
    return list(zip(torch.split(images, 12), torch.split(labels, 12), strict=True))


def trained() -> Net:
    torch.manual_seed(0)
    model = Net()
    fine_tune(model, plain(), epochs=6, ranges=None, lr=0.1)
    return model


@pytest.fixture(scope="module")
def float_model() -> Net:
    return trained()


@pytest.fixture(scope="module")
def calibrated(float_model: Net) -> nn.Module:
    return quantize(float_model, [images for images, _ in plain()]).model


@pytest.fixture
def quantized(calibrated: nn.Module) -> nn.Module:
    return copy.deepcopy(calibrated)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


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
        with pytest.raises(UsageError, match="teacher returns other tensors"):
            fine_tune(quantized, plain(), epochs=1, teacher=teacher)


def _distance(model: nn.Module, teacher: nn.Module) -> float:
    images = samples(9)[0]
    with torch.no_grad():
        return float((model(images) - teacher(images)).square().mean())


class Killed(Exception):  # noqa: N818
    pass


def killed_at(step: int) -> Callable[..., None]:
    seen = iter(range(1, step + 1))

    def progress(*_: object) -> None:
        if next(seen) == step:
            raise Killed

    return progress


class TestResuming:
    @pytest.mark.parametrize("step", [3, 5, 12], ids=lambda step: f"step{step}")
    @pytest.mark.parametrize(
        "options",
        [{}, {"optimizer": "adamw", "ema": 0.9, "clip": 1.0}, {"ranges": "fixed", "amp": "bf16"}],
        ids=["learned", "adamw", "fixed"],
    )
    def test_bit_for_bit(
        self, calibrated: nn.Module, options: dict[str, Any], step: int, tmp_path: Path
    ) -> None:
        """The order and the dropout are random, and every epoch draws from Python and NumPy."""

        def data(epoch: int) -> Iterator[Batch]:
            scale = random.uniform(0.9, 1.1) * float(np.random.uniform(0.9, 1.1))  # noqa: NPY002
            return [(scale * images, labels) for images, labels in loader()]  # type: ignore[return-value]

        def run(model: nn.Module, **more: Any) -> FineTuned:
            return fine_tune(model, data, epochs=3, **options, **more)

        def seed(value: int) -> None:
            torch.manual_seed(value)
            random.seed(value)
            np.random.seed(value)  # noqa: NPY002

        path = tmp_path / "run.ckpt"
        models = [copy.deepcopy(calibrated) for _ in range(3)]
        seed(1)
        whole = run(models[0])
        seed(1)
        with pytest.raises(Killed):
            run(models[1], checkpoint=path, progress=killed_at(step))
        assert not [n for n, _ in models[1].named_parameters() if n.endswith("amax")]
        seed(2)
        resumed = run(models[2], checkpoint=path)
        assert is_same(models[0], models[2])
        assert resumed.resumed_at == (step - 1) // 5
        strip = [replace(each, seconds=0.0) for each in whole.epochs]
        assert [replace(each, seconds=0.0) for each in resumed.epochs] == strip
        assert resumed.weight_change == whole.weight_change
        assert resumed.range_change == whole.range_change
        assert [each.name for each in tmp_path.iterdir()] == ["run.ckpt"]

    def test_a_loaders_own_generator_goes_on(self, calibrated: nn.Module, tmp_path: Path) -> None:
        def data() -> DataLoader[Any]:
            generator = torch.Generator().manual_seed(4)
            return DataLoader(TensorDataset(*samples(0)), 12, shuffle=True, generator=generator)

        models = [copy.deepcopy(calibrated) for _ in range(3)]
        torch.manual_seed(1)
        fine_tune(models[0], data(), epochs=2)
        torch.manual_seed(1)
        with pytest.raises(Killed):
            fine_tune(models[1], data(), epochs=2, checkpoint=tmp_path / "c", progress=killed_at(7))
        fine_tune(models[2], data(), epochs=2, checkpoint=tmp_path / "c")
        assert is_same(models[0], models[2])

    def test_what_is_done_is_not_done_again(self, quantized: nn.Module, tmp_path: Path) -> None:
        again = copy.deepcopy(quantized)
        first = fine_tune(quantized, plain(), epochs=1, checkpoint=tmp_path / "c")
        second = fine_tune(
            again, plain(), epochs=1, checkpoint=tmp_path / "c", progress=killed_at(1)
        )
        assert is_same(quantized, again)
        assert second == replace(first, resumed_at=1)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"epochs": 3}, "its epochs is 2, not 3"),
            ({"lr": 0.1}, "its lr is None, not 0.1"),
            ({"teacher": Net()}, "its teacher is 'NoneType', not 'Net'"),
        ],
        ids=["epochs", "lr", "teacher"],
    )
    def test_another_run(
        self, quantized: nn.Module, change: dict[str, Any], words: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "c"
        fine_tune(copy.deepcopy(quantized), plain(), epochs=2, checkpoint=path)
        with pytest.raises(SourceError, match=f"another run: {words}"):
            fine_tune(quantized, plain(), checkpoint=path, **{"epochs": 2, **change})

    def test_another_model(self, quantized: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "c"
        fine_tune(quantized, plain(), epochs=1, checkpoint=path)
        other = trained()
        other.fc = nn.Linear(8 * 16, CLASSES + 1)
        model = quantize(other, [images for images, _ in plain()]).model
        with pytest.raises(
            SourceError, match=r"has \[3, 128\] for 'fc\.weight', this one \[4, 128\]"
        ):
            fine_tune(model, plain(), epochs=1, checkpoint=path)

    @pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
    def test_no_checkpoint(
        self, quantized: nn.Module, content: bytes | None, tmp_path: Path
    ) -> None:
        path = tmp_path / "c"
        if content is None:
            torch.save({"model": {}}, path)
        else:
            path.write_bytes(content)
        before = path.read_bytes()
        with pytest.raises(SourceError, match="c' "):
            fine_tune(quantized, plain(), epochs=1, checkpoint=path)
        assert path.read_bytes() == before


class TestBadInput:
    def test_float_model(self, float_model: Net) -> None:
        with pytest.raises(UsageError, match=r"Net has no quantizers.*ranges=None"):
            fine_tune(float_model, plain(), epochs=1)

    def test_quantizers_where_none_should_be(self, quantized: nn.Module) -> None:
        with pytest.raises(UsageError, match=r"'conv1\.int8\.input', but ranges=None"):
            fine_tune(quantized, plain(), epochs=1, ranges=None)

    def test_no_range(self, quantized: nn.Module) -> None:
        quantized.get_submodule("conv2.int8.input").amax.fill_(float("nan"))  # type: ignore[operator]
        with pytest.raises(QuantizerError, match=r"'conv2\.int8\.input' has no range"):
            fine_tune(quantized, plain(), epochs=1)

    def test_infinite_loss(self, quantized: nn.Module) -> None:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(outputs, labels) * float("inf")

        with pytest.raises(TrtqatError, match=r"inf in epoch 1, step 1\. Check the batch"):
            fine_tune(quantized, plain(), epochs=1, loss=loss)
        assert "amax" in dict(quantized.get_submodule("conv1.int8.input").named_buffers())

    def test_diverging(self, quantized: nn.Module, tmp_path: Path) -> None:
        def data(epoch: int) -> list[Batch]:
            return (
                plain() if epoch == 0 else [(images * 1e38, labels) for images, labels in plain()]
            )

        path = tmp_path / "c"
        with pytest.raises(TrtqatError, match=r"in epoch 2, step 1"):
            fine_tune(
                quantized, data, epochs=2, ranges="fixed", checkpoint=path, freeze_batch_norm=9,
                loss=lambda outputs, labels: outputs.sum() * (1 if len(seen) < 5 else float("nan")),
                progress=lambda *_: seen.append(1),
            )  # fmt: skip
        assert len(torch.load(path, weights_only=True)["state"]["epochs"]) == 1

    def test_last_step_diverging(self, quantized: nn.Module) -> None:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            # Finite itself, and its gradient is not.
            return functional.cross_entropy(outputs, labels) + (outputs * 0).abs().sqrt().sum()

        with pytest.raises(TrtqatError, match="no longer finite after the last step"):
            fine_tune(quantized, plain()[:1], epochs=1, loss=loss)

    def test_weight_that_does_not_move(self, quantized: nn.Module) -> None:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(outputs.detach() + 0 * outputs, labels)

        with pytest.raises(TrtqatError, match="weight of 'conv1' did not move"):
            fine_tune(quantized, plain(), epochs=1, loss=loss, weight_decay=0)

    def test_frozen_weights_need_not_move(self, quantized: nn.Module) -> None:
        quantized.get_parameter("conv1.weight").requires_grad_(False)
        before = state_of(quantized)
        done = fine_tune(quantized, plain(), epochs=1)
        assert set(done.weight_change) == {"conv2", "fc"}
        assert torch.equal(quantized.get_parameter("conv1.weight"), before["conv1.weight"])

    def test_nothing_may_change(self, quantized: nn.Module) -> None:
        quantized.requires_grad_(False)
        with pytest.raises(UsageError, match="Net has no weight that may change"):
            fine_tune(quantized, plain(), epochs=1)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (iter(plain()), "an iterator, which is empty after the first epoch"),
            (7, "a int, which cannot be iterated"),
            ([], "Epoch 1 has no batch"),
            ([samples(0)[0]], "no labels, and there is no teacher"),
            ([(*samples(0), 1)], r"a tuple of 3, not a pair"),
            ([(samples(0), samples(0)[1])], "does not take the inputs of a batch"),
            (lambda _: iter(plain()), "have no length"),
            ([(samples(0)[0], samples(0)[1] + 3)], r"\(60, 3\) does not take the labels \(60,\)"),
            ([(samples(0)[0], samples(0)[1][:9])], "does not take the labels"),
        ],
        ids=[
            *("iterator", "number", "empty", "unlabelled", "triple", "inputs", "length"),
            *("class", "fewer"),
        ],
    )
    def test_batches(self, quantized: nn.Module, data: Any, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            fine_tune(quantized, data, epochs=2)

    def test_length_can_be_told(self, quantized: nn.Module) -> None:
        class Endless(IterableDataset[Batch]):
            def __iter__(self) -> Iterator[Batch]:
                return iter(plain())

        data = DataLoader(Endless(), batch_size=None)
        with pytest.raises(UsageError, match="have no length"):
            fine_tune(quantized, data, epochs=2)
        done = fine_tune(quantized, data, epochs=2, steps=5)
        assert done.epochs[-1].lr < 0.1 * 0.002

    def test_outputs_that_cross_entropy_cannot_judge(self) -> None:
        model = trained_like("feature_pyramid")
        data = batches(ARCHITECTURES["feature_pyramid"], 1, 4)
        quantized = quantize(model, data).model
        with pytest.raises(UsageError, match="Give loss="):
            fine_tune(quantized, [(data[0], torch.zeros(4))], epochs=1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"epochs": 0}, "epochs is 0"),
            ({"epochs": 1, "lr": 0.0}, "lr is 0.0"),
            ({"epochs": 1, "lr": float("nan")}, "lr is nan"),
            ({"epochs": 1, "ranges": "free"}, "ranges is 'free'"),
            ({"epochs": 1, "ema": 2.0}, "ema is 2.0"),
            ({"epochs": 1, "learning_rate": 1.0}, "'learning_rate' is no option"),
        ],
        ids=lambda each: next(reversed(each)) if isinstance(each, dict) else "",
    )
    def test_options(self, quantized: nn.Module, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            fine_tune(quantized, plain(), **options)

    def test_keywords_are_the_options(self) -> None:
        fields = set(FineTuneOptions.__annotations__)
        assert set(FineTuneKeywords.__annotations__) == fields - {"epochs"}


seen: list[int] = []


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


def test_a_loss_of_nothing_that_is_trained(quantized: nn.Module) -> None:
    with pytest.raises(UsageError, match="The loss depends on nothing that is trained"):
        fine_tune(quantized, plain(), epochs=1, loss=lambda y, _: y.detach().sum())


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


def _train_together(rank: int, processes: int, folder: Path, model: nn.Module) -> None:
    """One of several processes: each sees another half of every batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=HUNG_S),
    )
    try:
        data = [(images[rank::processes], labels[rank::processes]) for images, labels in plain()]
        wrapped = nn.parallel.DistributedDataParallel(model)
        done = fine_tune(wrapped, data, epochs=2, freeze_batch_norm=0, checkpoint=folder / "c")
        torch.save([model.state_dict(), done.epochs[-1].loss], folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_processes_train_as_one_would(quantized: nn.Module, tmp_path: Path) -> None:
    quantized.get_submodule("dropout").p = 0.0  # type: ignore[assignment]
    # New ones: in a fork of this process, locks that its threads held are held for ever.
    with ThreadPoolExecutor(2) as pool:
        together = [
            pool.submit(call_apart, _train_together, rank, 2, tmp_path, quantized)
            for rank in range(2)
        ]
    assert [each.result() for each in together] == [None, None]
    (first, first_loss), (second, second_loss) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert first_loss != second_loss
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone = fine_tune(quantized, plain(), epochs=2, freeze_batch_norm=0)
    assert alone.epochs[-1].loss == pytest.approx((first_loss + second_loss) / 2, rel=1e-3)
    for name, value in quantized.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4)
    # One of them has written for both, under the names of the model itself.
    state = torch.load(tmp_path / "c", weights_only=True)["state"]
    assert len(state["random"]) == 2
    assert list(state["model"]) == list(first)


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
