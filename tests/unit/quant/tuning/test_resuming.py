"""A run that was killed goes on exactly where it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.support.bars import CLASSES, Batch, Net, is_same, plain, samples, trained
from trtqat.errors import SourceError
from trtqat.quant.quantize import quantize
from trtqat.quant.tuning.fine_tune import FineTuned, fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")


def loader(seed: int = 0, batch: int = 12) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(seed)), batch, shuffle=True)


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
