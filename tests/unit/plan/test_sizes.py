"""Which profile takes a batch of a size, and what profiles are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.plan.profile_text import parse_profile
from trtqat.plan.profiles import batches_of, choose_profile, main_profile
from trtqat.plan.sizes import (
    Profile,
    choose_sized,
    count_shapes,
    largest_profile,
    profile_names,
    sized_inputs,
)
from trtqat.tensors import TensorSpec

WIDTHS = ["x:1:8:32x3x160", "x:1:8:32x3x320", "x:1:8:32x3x640"]


def profiles(*texts: str) -> list[Profile]:
    return [parse_profile(text) for text in texts]


def chosen(texts: list[str], batch: int, *size: int) -> int | None:
    made = profiles(*texts)
    return choose_sized(made, [batches_of(each) for each in made], batch, {"x": size})


@pytest.mark.parametrize(
    ("texts", "batch", "size", "index"),
    [
        (WIDTHS, 8, (3, 320), 1),
        (WIDTHS, 1, (3, 640), 2),
        (WIDTHS, 33, (3, 640), None),
        (WIDTHS, 8, (3, 200), None),
        (WIDTHS, 8, (320,), None),
        # A range takes what lies between, and the narrower one what both hold.
        ([*WIDTHS, "x:1:8:32x3x32:320:640"], 8, (3, 200), 3),
        ([*WIDTHS, "x:1:8:32x3x32:320:640"], 8, (3, 160), 0),
        (["x:1:8:32x3x160", "x:8x3x32:160:640"], 8, (3, 160), 0),
        # Equally narrow: the nearest optimum by all dimensions, then the first.
        (["x:8x3x32:160:640", "x:8x3x32:480:640"], 8, (3, 400), 1),
        (["x:8x3x32:160:640", "x:8x3x32:480:640"], 8, (3, 320), 0),
        (["x:1:2:8x3x32:160:640", "x:1:8:8x3x32:163:640"], 8, (3, 160), 1),
    ],
)
def test_the_narrowest_that_holds_batch_and_size(
    texts: list[str], batch: int, size: tuple[int, ...], index: int | None
) -> None:
    assert chosen(texts, batch, *size) == index


BATCHES = st.lists(
    st.lists(st.integers(1, 40), min_size=3, max_size=3).map(sorted), min_size=1, max_size=6
)


@given(BATCHES, st.integers(1, 41))
def test_where_batches_alone_differ_they_decide(made: list[list[int]], batch: int) -> None:
    found = profiles(*(f"x:{':'.join(map(str, each))}x3x8" for each in made))
    ranges = [batches_of(each) for each in found]
    assert choose_sized(found, ranges, batch, {"x": (3, 8)}) == choose_profile(ranges, batch)
    assert largest_profile(found) == main_profile(ranges)
    assert profile_names(found) == tuple(each.as_option for each in ranges)
    widths = [each.max - each.min for each in ranges]
    order = sorted(range(len(found)), key=lambda index: count_shapes(found[index]))
    assert order == sorted(range(len(found)), key=lambda index: widths[index])


def test_what_profiles_are_called() -> None:
    several = profiles("x:8x3x160,y:8x2", "x:8x3x320,y:8x2")
    assert sized_inputs(several) == ("x",)
    assert profile_names(several) == ("x:8x3x160", "x:8x3x320")
    assert profile_names(profiles("x:8x3x32:160:320")) == ("x:8x3x32:160:320",)
    assert largest_profile(profiles(*WIDTHS)) == 2
    # What one profile of one size is called was ever its batch.
    assert profile_names(profiles("x:1:8:32x3x160")) == ("1:8:32",)
    anchored = profiles("anchors:100x4,x:8x3", "anchors:100x4,x:1:8:32x3")
    inputs = [TensorSpec("anchors", (100, 4)), TensorSpec("x", (-1, 3))]
    assert profile_names(anchored, inputs) == ("8", "1:8:32")
    assert [count_shapes(each, inputs) for each in anchored] == [1, 32]
