from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.errors import ExportError, UsageError
from trtqat.exporting.open_dimensions import (
    check_dynamic,
    open_outputs,
    other_sizes,
    parse_dynamic,
)
from trtqat.exporting.options import ExportOptions
from trtqat.tensors import TensorSpec

IMAGES = TensorSpec("images", (1, 3, 32, 64))


def test_what_a_user_writes() -> None:
    assert parse_dynamic(["images:2,3", "mask:1"]) == {"images": (2, 3), "mask": (1,)}
    assert parse_dynamic({"images": [2, 3]}) == {"images": (2, 3)}
    assert parse_dynamic(()) == {}


@pytest.mark.parametrize("text", ["images", "images:", ":2", "images:2,", "images:h", "images:-1"])
def test_what_says_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="does not say which dimensions stay open"):
        parse_dynamic([text])


def test_one_input_twice() -> None:
    with pytest.raises(UsageError, match="names the input 'x' twice"):
        parse_dynamic(["x:2", "x:3"])


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({"x": (2,)}, "names 'x', and no --input does"),
        ({"images": (0, 2)}, "Dimension 0 of 'images' is the batch, which is open"),
        ({"images": (4,)}, "Dimension 4 of 'images' is none of its dimensions"),
        ({"images": (2, 2)}, r"names \[2, 2\] of 'images'"),
        ({"images": ()}, r"names \[\] of 'images'"),
        ({"images": ("2",)}, "A dimension of 'images' is '2'"),
        ([("images", 2)], "ExportOptions.dynamic is"),
    ],
)
def test_what_cannot_stay_open(dynamic: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_dynamic([IMAGES], dynamic)
    with pytest.raises(UsageError, match=message):
        ExportOptions((IMAGES,), dynamic=dynamic)


@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_other_sizes_are_as_divisible_and_all_different(height: int, width: int) -> None:
    spec = TensorSpec("images", (1, 3, height, width))
    sizes = [
        each.shape[2:]
        for (each, vector) in other_sizes([spec, TensorSpec("v", (1, 8))], {"images": (2, 3)})
        if vector.shape == (1, 8)
    ]
    for axis, before in enumerate((height, width)):
        after = [size[axis] for size in sizes]
        assert len({before, *after}) == 3
        assert min(after) > 0
        divisor = min(before & -before, 32)
        assert all(each % divisor == 0 for each in after)


def test_one_size_where_nothing_is_open() -> None:
    assert other_sizes([IMAGES], {}) == []


def test_outputs_that_follow() -> None:
    runs = [
        {"map": np.ones((2, 4, 8, 6)), "classes": np.ones((2, 10)), "none": np.ones(())},
        {"map": np.ones((1, 4, 16, 6)), "classes": np.ones((1, 10)), "none": np.ones(())},
    ]
    assert open_outputs(runs) == {"map": (2,)}
    assert open_outputs([]) == {}
    with pytest.raises(ExportError, match="Output 'y' has 2 dimensions at one size"):
        open_outputs([{"y": np.ones((1, 2))}, {"y": np.ones((1, 2, 3))}])
