"""What cannot be fine-tuned, or goes wrong while it is, is said in a sentence."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.bars import Batch, Net, plain, samples, state_of
from trtqat.errors import QuantizerError, TrtqatError, UsageError
from trtqat.quant.quantize import quantize
from trtqat.quant.training import insert_quantizers
from trtqat.quant.tuning.fine_tune import fine_tune
from trtqat.quant.tuning.options import FineTuneKeywords, FineTuneOptions

pytestmark = pytest.mark.usefixtures("one_thread")


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

    def test_toolkits_quantizers_that_were_not_calibrated(self, float_model: Net) -> None:
        model = copy.deepcopy(float_model)
        insert_quantizers(model)
        with pytest.raises(QuantizerError, match=r"'conv1\._input_quantizer' has no amax"):
            fine_tune(model, plain(), epochs=1)

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

    def test_a_layer_that_does_not_run_is_told_before_the_epoch_ends(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = nn.Sequential(nn.Linear(4, 2))
        model[0].add_module("aux", nn.Linear(2, 2))
        told: list[str] = []
        with pytest.raises(TrtqatError, match=r"of '0\.aux' did not move in the first epoch"):
            fine_tune(
                model, [(torch.randn(2, 4), torch.tensor([0, 1]))] * 150, epochs=1, ranges=None,
                progress=lambda *_: told.append(caplog.text),
            )  # fmt: skip
        assert "The weight of '0.aux' did not move in the first 100 steps" in told[99]
        assert not told[98]
        assert caplog.text.count("first 100 steps") == 1

    @pytest.mark.parametrize("begins", [60, 105])
    def test_a_layer_that_runs_now_and_then_or_late_may_be_trained(self, begins: int) -> None:
        model, aux, steps = nn.Sequential(nn.Linear(4, 2)), nn.Linear(2, 2), list[int]()
        model[0].add_module("aux", aux)

        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            steps.append(1)
            extra = aux(torch.ones(2)).sum() if len(steps) == begins else 0.0
            return functional.cross_entropy(outputs, labels) + extra

        few = [(torch.randn(2, 4), torch.tensor([0, 1]))] * 110
        done = fine_tune(model, few, epochs=1, ranges=None, loss=loss)
        assert done.weight_change["0.aux"] > 0

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


def test_a_loss_of_nothing_that_is_trained(quantized: nn.Module) -> None:
    with pytest.raises(UsageError, match="The loss depends on nothing that is trained"):
        fine_tune(quantized, plain(), epochs=1, loss=lambda y, _: y.detach().sum())
