"""Which samples are taken, and what the data tells of a model's inputs."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trtqat.data.batches import Batch
from trtqat.errors import DataError, SourceError, UsageError
from trtqat.search.model_inputs import find_inputs
from trtqat.search.options import QuantizeOptions
from trtqat.search.samples import SpreadSamples, open_training
from trtqat.tensors import TensorSpec


class Numbered:
    """A data set whose samples hold their own numbers."""

    name = "numbers"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, start: int, stop: int) -> Batch:
        x = np.arange(start, stop, dtype=np.float32)[:, None]
        return Batch({"x": x, "y": -x})


@pytest.mark.parametrize(("length", "count"), [(1000, 64), (65, 64), (64, 64), (10, 64), (7, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_samples_are_spread_over_all_of_the_data(length: int, count: int, seed: int) -> None:
    samples = SpreadSamples(Numbered(length), ["y", "x"], count, 8, seed)
    taken = min(length, count)
    assert len(samples.indices) == len(set(samples.indices)) == taken
    assert samples.indices == sorted(samples.indices)
    # One of each stretch.
    for number, index in enumerate(samples.indices):
        assert number * length // taken <= index < (number + 1) * length // taken
    batches = list(samples)
    assert len(batches) == len(samples)
    assert all(len(batch[0]) == 8 for batch in batches[:-1])
    found = torch.cat([batch[1] for batch in batches])[:, 0].tolist()
    assert found == samples.indices
    assert torch.equal(batches[0][0], -batches[0][1])
    assert [batch[1].tolist() for batch in samples] == [batch[1].tolist() for batch in batches]


def test_the_seed_decides_which() -> None:
    one, same, other = (
        SpreadSamples(Numbered(1000), ["x"], 64, 8, seed).indices for seed in (1, 1, 2)
    )
    assert one == same != other


def test_some_of_them_are_of_them() -> None:
    samples = SpreadSamples(Numbered(1000), ["x"], 64, 8, 0)
    some = samples.some(16)
    assert len(some.indices) == len(set(some.indices)) == 16
    assert set(some.indices) <= set(samples.indices)
    assert (some.indices[0], some.indices[-1]) == (samples.indices[0], samples.indices[-1])
    assert samples.some(100).indices == samples.indices


class Two(nn.Module):
    def forward(
        self, images: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        del tokens, mask
        return images


class One(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


ARRAYS = {
    "images": np.zeros((4, 3, 8, 8), np.float64),
    "tokens": np.zeros((4, 5), np.int32),
    "mask": np.zeros((4, 5), bool),
    "labels": np.zeros(4, int),
}
IMAGES = TensorSpec("images", (-1, 3, 8, 8))
TOKENS = TensorSpec("tokens", (-1, 5), "int64")


def saved(folder: Path, *names: str) -> str:
    np.savez(folder / "data.npz", **{name: ARRAYS[name] for name in names})  # type: ignore[arg-type]
    return f"npz:{folder / 'data.npz'}"


def test_arrays_tell_the_inputs(tmp_path: Path) -> None:
    assert find_inputs(Two(), saved(tmp_path, "tokens", "images", "labels")) == (IMAGES, TOKENS)
    found = find_inputs(Two(), saved(tmp_path, "tokens", "images", "mask"))
    assert found == (IMAGES, TOKENS, TensorSpec("mask", (-1, 5), "bool"))
    # The only input may be called images in the file.
    assert find_inputs(One(), saved(tmp_path, "images")) == (TensorSpec("x", (-1, 3, 8, 8)),)


def test_what_is_said_goes_before_what_the_data_holds(tmp_path: Path) -> None:
    given = [TensorSpec("tokens", (2, 5), "int32"), TensorSpec("images", (2, 3, 8, 8))]
    found = find_inputs(Two(), saved(tmp_path, "images"), given)
    assert found == (IMAGES, TensorSpec("tokens", (-1, 5), "int32"))


def test_an_input_that_the_data_lacks(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no array for input 'tokens'; it holds 'images'"
    ) as raised:
        find_inputs(Two(), saved(tmp_path, "images"))
    assert "images, tokens" in raised.value.remedy
    with pytest.raises(SourceError, match=r"forward takes \(x\)"):
        find_inputs(One(), "random:8")
    with pytest.raises(UsageError, match="names no kind"):
        find_inputs(One(), "imagenet")


FACTORIES = """
import numpy as np

def pairs():
    return [(np.zeros((3, 8, 8), np.float32), 1)] * 4

def named():
    return [({"images": np.zeros((3, 8, 8), np.float32), "tokens": np.zeros(5, int)}, None)] * 4

class Batches:
    def __len__(self):
        return 4

    def batch(self, start, stop):
        self.inputs = {"x": np.zeros((stop - start, 3, 8, 8), np.float32)}
        self.labels = None
        return self

def broken():
    raise RuntimeError("no disk")
"""


def test_factories_tell_the_inputs(tmp_path: Path) -> None:
    path = tmp_path / "samples.py"
    path.write_text(FACTORIES)
    alone = (TensorSpec("x", (-1, 3, 8, 8)),)
    assert find_inputs(One(), f"{path}:pairs") == alone
    assert find_inputs(One(), f"{path}:Batches") == alone
    assert find_inputs(Two(), f"{path}:named") == (IMAGES, TOKENS)
    with pytest.raises(DataError, match="one array without a name"):
        find_inputs(Two(), f"{path}:pairs")
    with pytest.raises(DataError, match="raised RuntimeError when it was called: no disk"):
        find_inputs(One(), f"{path}:broken")


def test_cifar10_is_calibrated_on_its_training_split(tmp_path: Path) -> None:
    for number in range(1, 6):
        record = bytes([number]) + bytes([50 * number] * 3072)
        (tmp_path / f"data_batch_{number}.bin").write_bytes(record * 2)
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073))
    data = f"cifar10:{tmp_path}"
    inputs = find_inputs(One(), data)
    assert inputs == (TensorSpec("x", (-1, 3, 32, 32)),)
    training = open_training(data, inputs, 0)
    assert len(training) == 10
    labels = training.batch(0, 10).labels
    assert isinstance(labels, np.ndarray)
    assert labels.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_idx_files_are_calibrated_on_their_training_split(tmp_path: Path) -> None:
    for prefix, count in (("train", 6), ("t10k", 2)):
        images = struct.pack(">I3I", 0x803, count, 28, 28) + bytes(count * 784)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">II", 0x801, count) + bytes(count)
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    data = f"idx:{tmp_path}"
    inputs = find_inputs(One(), data)
    assert inputs == (TensorSpec("x", (-1, 1, 28, 28)),)
    assert len(open_training(data, inputs, 0)) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "images is 0"),
        ({"images": 1.5}, "images is 1.5"),
        ({"method": "best"}, "method is 'best'"),
        ({"for_": "9"}, "for_ is '9'"),
        ({"keep": "fc"}, "keep is 'fc', where a list"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"seed": -1}, "seed is -1"),
        ({"sensitivity": 1}, "sensitivity is 1"),
        ({"max_accuracy_drop": 1}, "needs labelled data"),
        ({"max_accuracy_drop": -1, "eval_data": "npz:v.npz"}, "max_accuracy_drop is -1"),
        ({"max_accuracy_drop": float("nan"), "eval_data": "npz:v.npz"}, "max_accuracy_drop is nan"),
        ({"eval_data": "npz:v.npz"}, "belongs to an accuracy target"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        QuantizeOptions("npz:t.npz", **options)  # type: ignore[arg-type]
