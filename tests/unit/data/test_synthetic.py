from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.data.dataset import RANDOM_COUNT, open_dataset
from trtqat.errors import DataError, UsageError
from trtqat.tensors import TensorSpec

FLOATS = TensorSpec("x", (-1, 3, 8, 8))
TOKENS = TensorSpec("ids", (-1, 200), "int64")


@given(start=st.integers(0, 19), length=st.integers(1, 20), seed=st.integers(0, 5))
def test_a_sample_does_not_depend_on_its_batch(start: int, length: int, seed: int) -> None:
    stop = min(start + length, 20)
    dataset = open_dataset("random:20", [FLOATS, TOKENS], seed=seed)
    whole, part = dataset.batch(0, 20), dataset.batch(start, stop)
    for name in ("x", "ids"):
        np.testing.assert_array_equal(part.inputs[name], whole.inputs[name][start:stop])


def test_standard_normal_and_small_integers() -> None:
    batch = open_dataset("random:50", [FLOATS, TOKENS]).batch(0, 50)
    x, ids = batch.inputs["x"], batch.inputs["ids"]
    assert batch.labels is None
    assert x.dtype == np.float32
    assert x.shape == (50, 3, 8, 8)
    assert abs(float(x.mean())) < 0.05
    assert float(x.std()) == pytest.approx(1.0, abs=0.05)
    assert ids.dtype == np.int64
    assert np.unique(ids).tolist() == [0, 1]


def test_samples_inputs_and_seeds_differ() -> None:
    twin = TensorSpec("y", FLOATS.shape)
    first = open_dataset("random:2", [FLOATS, twin], seed=1).batch(0, 2).inputs
    other = open_dataset("random:2", [FLOATS, twin], seed=2).batch(0, 2).inputs
    assert not np.array_equal(first["x"][0], first["x"][1])
    assert not np.array_equal(first["x"], first["y"])
    assert not np.array_equal(first["x"], other["x"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "bool"])
def test_dtypes(dtype: str) -> None:
    spec = TensorSpec("x", (-1, 5), dtype)
    assert open_dataset("random", [spec]).batch(0, 1).inputs["x"].dtype == dtype


def test_counts() -> None:
    assert len(open_dataset("random", [FLOATS])) == RANDOM_COUNT == 256
    assert len(open_dataset("random:7", [FLOATS])) == 7
    assert len(open_dataset("random", [FLOATS], limit=3)) == 3
    assert open_dataset("random", [TensorSpec("s", (-1,))]).batch(0, 4).inputs["s"].shape == (4,)


@pytest.mark.parametrize("spec", ["random:", "random:0", "random:-4", "random:many", "random:1.5"])
def test_wrong_count(spec: str) -> None:
    with pytest.raises(UsageError, match="no count of samples"):
        open_dataset(spec, [FLOATS])


def test_inputs_that_cannot_be_made_up() -> None:
    with pytest.raises(DataError, match=r"open dimensions of input 'x:\?x3x\?x\?:float32'"):
        open_dataset("random", [TensorSpec("x", (-1, 3, -1, -1))])
    with pytest.raises(DataError, match="complex64, which random data cannot be"):
        open_dataset("random", [TensorSpec("x", (-1, 3), "complex64")])
