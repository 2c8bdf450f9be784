"""Which batches profiles hold, and which of them a session takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profiles import (
    BatchRange,
    batches_in_words,
    batches_of,
    choose_profile,
    main_profile,
)
from trtqat.tensors import TensorSpec


def ranges(text: str) -> list[BatchRange]:
    """What ``--batch`` would make of it."""
    made = [[int(part) for part in each.split(":")] for each in text.split(",")]
    return [BatchRange(*(each * 3 if len(each) == 1 else each)) for each in made]


@pytest.mark.parametrize(
    ("held", "batch", "chosen"),
    [
        ("1,8,32", 8, 1),
        ("1,8,32", 9, None),
        ("1,8,32", 33, None),
        ("1:32:128,8,32", 32, 2),
        ("1:32:128,8,32", 9, 0),
        ("1:32:128,1:8:16", 16, 1),
        # Equally wide: the nearest optimum, then the first.
        ("1:2:8,1:7:8", 6, 1),
        ("1:2:8,1:7:8", 3, 0),
        ("1:2:8,1:4:8", 3, 0),
    ],
)
def test_the_narrowest_that_holds_a_batch(held: str, batch: int, chosen: int | None) -> None:
    assert choose_profile(ranges(held), batch) == chosen


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ("1:32:128", "1 to 128"),
        ("8", "8"),
        ("1,32,8", "1, 8 and 32"),
        ("1:32:128,8,32", "1 to 128"),
        ("1,4,16:16:32", "1, 4 and 16 to 32"),
        ("1,2,3,8", "1 to 3 and 8"),
    ],
)
def test_batches_in_words(held: str, words: str) -> None:
    assert batches_in_words(ranges(held)) == words


@given(st.lists(st.tuples(*[st.integers(1, 40)] * 3).map(sorted), min_size=1, max_size=6))
def test_words_and_choice_agree(made: list[list[int]]) -> None:
    held = [BatchRange(*each) for each in made]
    words = batches_in_words(held).replace(" and ", ", ").split(", ")
    spans = [[int(part) for part in each.split(" to ")] for each in words]
    for batch in range(45):
        chosen = choose_profile(held, batch)
        assert (chosen is not None) == any(span[0] <= batch <= span[-1] for span in spans)
        assert chosen is None or held[chosen].min <= batch <= held[chosen].max


def test_what_a_plan_is_tuned_for() -> None:
    assert main_profile(ranges("1,8,32")) == 2
    assert main_profile(ranges("1:32:128,8,32")) == 0
    assert [each.as_option for each in ranges("8,1:32:128")] == ["8", "1:32:128"]


def test_batches_of_a_profile() -> None:
    image = ProfileShapes((1, 3), (4, 3), (8, 3))
    assert batches_of({"x": image}) == BatchRange(1, 4, 8)
    # All inputs must take it; one without dimensions takes any.
    other = ProfileShapes((2, 5), (2, 5), (6, 5))
    assert batches_of({"x": image, "y": other}) == BatchRange(2, 4, 6)
    assert batches_of({"x": image, "scale": ProfileShapes((), (), ())}) == BatchRange(1, 4, 8)
    assert batches_of({}) == BatchRange(1, 1, 1)


def test_an_input_of_a_fixed_batch_has_no_say_beside_an_open_one() -> None:
    profile = {
        "anchors": ProfileShapes((100, 4), (100, 4), (100, 4)),
        "x": ProfileShapes((1, 3), (4, 3), (8, 3)),
    }
    anchors, scale = TensorSpec("anchors", (100, 4)), TensorSpec("scale", ())
    assert batches_of(profile, [anchors, TensorSpec("x", (-1, 3))]) == BatchRange(1, 4, 8)
    # One static profile of the same plan tells by its numbers alone nothing of that.
    static = {**profile, "x": ProfileShapes((8, 3), (8, 3), (8, 3))}
    assert batches_of(static, [anchors, TensorSpec("x", (-1, 3))]) == BatchRange(8, 8, 8)
    fixed = [anchors, TensorSpec("x", (8, 3))]
    assert batches_of(static, fixed) == batches_of(static, fixed[::-1]) == BatchRange(8, 8, 8)
    assert batches_of({"scale": ProfileShapes((), (), ())}, [scale]) == BatchRange(1, 1, 1)
