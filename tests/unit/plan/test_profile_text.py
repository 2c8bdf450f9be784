"""Profiles as ``--shapes`` takes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profile_text import parse_profile, profile_text

TRIPLES = st.lists(st.integers(1, 4096), min_size=3, max_size=3).map(sorted)
SHAPES = st.lists(TRIPLES, min_size=1, max_size=5).map(
    lambda dims: ProfileShapes(*map(tuple, zip(*dims, strict=True)))
)
NAMES = st.sampled_from(["x", "input:0", "model/in", "a.b-c", "3d", "1x3"])


@given(st.dictionaries(NAMES, SHAPES, min_size=1, max_size=3))
def test_what_is_written_is_read_again(profile: dict[str, ProfileShapes]) -> None:
    assert parse_profile(profile_text(profile, profile)) == profile


def test_the_shape_is_all_that_reads_as_one() -> None:
    found = parse_profile("input:0:1:8:32x3x48x160,scale:8x2")
    assert found == {
        "input:0": ProfileShapes((1, 3, 48, 160), (8, 3, 48, 160), (32, 3, 48, 160)),
        "scale": ProfileShapes(*[(8, 2)] * 3),
    }


@pytest.mark.parametrize(
    "wrong",
    ["x", "x:", ":1x3", "x:1x", "x:1x-3", "x:axb", "x:1x3,y", {"x": ()}, {"x": (1.5,)},
     {"x": ((1, 2),)}, {"": (1,)}, {"x": (-1, 3)}, {"x": (True,)}, "x:0x64", "x:0:8:32x3",
     {"x": (0, 64)}, f"x:{'9' * 5000}x3", f"x:1:8:{'9' * 5000}x3"],
)  # fmt: skip
def test_what_is_no_shape(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"is no shape\. Write NAME:1:8:32x3x48x160"):
        parse_profile(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "names no input"),
        ({}, "names no input"),
        (3, "The shapes is 3, a int"),
        ({"x": "1x3"}, "The shape of 'x' is '1x3', a str"),
        ("x:8:4:32x3", "8:4:32 of 'x:8:4:32x3' does not ascend"),
        ("x:1x3,x:2x3", "names the input 'x' twice.*another --shapes for another one"),
    ],
)
def test_what_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_profile(wrong)
