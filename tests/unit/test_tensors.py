from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.data.dataset import open_dataset
from trtqat.errors import UsageError
from trtqat.tensors import TensorSpec, parse_tensor_spec, random_arrays


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x:1x3x32x32", TensorSpec("x", (1, 3, 32, 32), "float32")),
        ("ids:2x128:int64", TensorSpec("ids", (2, 128), "int64")),
        ("x:5:float16", TensorSpec("x", (5,), "float16")),
        ("x:5:", TensorSpec("x", (5,), "float32")),
        ("input:0:1x3x8x8", TensorSpec("input:0", (1, 3, 8, 8), "float32")),
        ("ids:0:2x128:int64", TensorSpec("ids:0", (2, 128), "int64")),
    ],
)
def test_parse(text: str, spec: TensorSpec) -> None:
    assert parse_tensor_spec(text) == spec


@given(
    st.lists(st.integers(1, 999), min_size=1, max_size=5),
    st.sampled_from(["float32", "float16", "int32", "int64", "bool"]),
)
def test_a_fixed_spec_reads_what_it_prints(shape: list[int], dtype: str) -> None:
    spec = TensorSpec("x", tuple(shape), dtype)
    assert parse_tensor_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text", ["", "x", "x:", ":1x3", "x:1x", "x:0x3", "x:-1x3", "x:?x3", "x:1,3", "x:1.5", "x:int8"]
)
def test_no_specification(text: str) -> None:
    with pytest.raises(UsageError, match="is not an input specification"):
        parse_tensor_spec(text)


@pytest.mark.parametrize("dtype", ["fp16", "float33", "int8:x"])
def test_unknown_dtype(dtype: str) -> None:
    with pytest.raises(UsageError, match=f"names the dtype '{dtype}'"):
        parse_tensor_spec(f"x:1x3:{dtype}")


def test_dynamic_dimensions() -> None:
    spec = TensorSpec("x", (-1, 3))
    assert spec.is_dynamic
    assert str(spec) == "x:?x3:float32"
    assert spec.with_batch(4) == TensorSpec("x", (4, 3))
    assert not spec.with_batch(4).is_dynamic
    assert TensorSpec("i", (-1,), "int64").with_batch(2) == TensorSpec("i", (2,), "int64")


@pytest.mark.parametrize(
    ("shape", "dtype", "most"),
    [
        ((8, 3, 16, 16), "uint8", 255),
        ((8, 16, 16, 4), "uint8", 255),
        ((8, 1, 16, 16), "uint8", 1),
        ((8, 300), "uint8", 1),
        ((8, 3, 16, 16), "int64", 1),
    ],
)
def test_random_integers_are_all_bytes_of_colours_alone(
    shape: tuple[int, ...], dtype: str, most: int
) -> None:
    """Others may be indices or masks: a larger one is none of what a model knows."""
    drawn = random_arrays([TensorSpec("x", shape, dtype)], seed=0)["x"]
    assert (str(drawn.dtype), drawn.min(), drawn.max()) == (dtype, 0, most)
    samples = open_dataset("random:64", [TensorSpec("x", shape, dtype)]).batch(0, 64).inputs["x"]
    assert (str(samples.dtype), samples.min(), samples.max()) == (dtype, 0, most)
