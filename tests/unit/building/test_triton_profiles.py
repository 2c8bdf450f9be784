"""Which plans of several shape profiles Triton can serve, and what it is told of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.triton_engines import (
    CLASSIFIER,
    OPTIONS,
    SCHEMA,
    batches,
    config_of,
    engine,
    refused,
)
from trtqat.building.triton.config import config_text
from trtqat.errors import UsageError
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.plan.profiles import batches_of
from trtqat.plan.sizes import choose_sized
from trtqat.tensors import TensorSpec

STATIC = [{"images": batches(size, size, size, 3, 32, 32)} for size in (1, 8, 32)]
RANGE = {"images": batches(1, 32, 128, 3, 32, 32)}


def with_profiles(first: Any, *more: Any) -> Manifest:
    return replace(CLASSIFIER, profiles=first, more_profiles=more, schema_version=2)


def test_several_profiles(tmp_path: Path) -> None:
    """Triton takes one alone unless all are named, and of those the one of the nearest optimum."""
    config = config_of(with_profiles(*STATIC, RANGE), tmp_path)
    assert config.max_batch_size == 128
    assert list(config.instance_group[0].profile) == ["0", "1", "2", "3"]
    # It captures a CUDA graph for each of these, besides 1 and the maximum.
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 8, 32]
    assert config.optimization.cuda.graphs
    assert [(each.name, each.batch_size) for each in config.model_warmup] == [
        ("batch 1", 1),
        ("batch 8", 8),
        ("batch 32", 32),
    ]
    assert {tuple(each.inputs["images"].dims) for each in config.model_warmup} == {(3, 32, 32)}


LINES = engine(
    [TensorSpec("lines", (-1, 3, 48, -1))],
    [TensorSpec("characters", (-1, -1, 97))],
    batches(1, 8, 32, 3, 48, 160),
)


def of_widths(*shapes: ProfileShapes) -> Manifest:
    first, *more = ({"lines": each} for each in shapes)
    return replace(LINES, profiles=first, more_profiles=tuple(more), schema_version=2)


def test_profiles_of_several_sizes(tmp_path: Path) -> None:
    widths = (160, 320, 640)
    config = config_of(of_widths(*(batches(1, 8, 32, 3, 48, each) for each in widths)), tmp_path)
    assert config.max_batch_size == 32
    fp32 = SCHEMA.DataType.Value("TYPE_FP32")
    lines = SCHEMA.ModelInput(name="lines", data_type=fp32, dims=[3, 48, -1])
    assert list(config.input) == [lines]
    assert list(config.instance_group[0].profile) == ["0", "1", "2"]
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    warmed = {each.name: each for each in config.model_warmup}
    assert set(warmed) == {f"batch 8 at lines 3x48x{width}" for width in widths}
    for width in widths:
        found = warmed[f"batch 8 at lines 3x48x{width}"]
        assert found.batch_size == 8
        assert list(found.inputs["lines"].dims) == [3, 48, width]


def test_warm_ups_beside_a_table_of_fixed_size(tmp_path: Path) -> None:
    anchors, x = TensorSpec("anchors", (100, 4)), TensorSpec("x", (-1, 3))
    table = ProfileShapes((100, 4), (100, 4), (100, 4))
    manifest = replace(
        engine([anchors, x], [TensorSpec("y", (-1, 2))], table, batches(1, 4, 8, 3)),
        more_profiles=({"anchors": table, "x": batches(9, 9, 9, 3)},),
        schema_version=2,
    )
    config = config_of(manifest, tmp_path)
    warmed = {each.name: list(each.inputs["x"].dims) for each in config.model_warmup}
    assert warmed == {"batch 4": [4, 3], "batch 9": [9, 3]}


@pytest.mark.usefixtures("here")
def test_batches_that_one_size_lacks() -> None:
    refused(
        of_widths(batches(1, 8, 32, 3, 48, 160), batches(8, 8, 8, 3, 48, 640)),
        r"takes 8 at lines 3x48x640\..*--shapes lines:1:8:32x3x48x160 --shapes "
        r"lines:1:8:32x3x48x640$",
    )
    # A range of sizes makes up for it where it holds that size.
    wide = ProfileShapes((1, 3, 48, 32), (8, 3, 48, 320), (32, 3, 48, 640))
    check_batches = of_widths(batches(8, 8, 8, 3, 48, 640), wide)
    text = config_text(
        check_batches.inputs,
        check_batches.outputs,
        check_batches.profiles,
        OPTIONS,
        check_batches.more_profiles,
    )
    assert "max_batch_size: 32" in text


@pytest.mark.usefixtures("here")
def test_batches_that_sizes_within_a_range_lack() -> None:
    """At its ends and its optimum the range has neighbours with the other batches."""
    some = ProfileShapes((1, 3, 48, 100), (4, 3, 48, 150), (8, 3, 48, 200))
    others = [batches(9, 12, 16, 3, 48, width) for width in (100, 150, 200)]
    refused(
        of_widths(*others, some),
        r"takes 1 to 8 at lines 3x48x101\..*--shapes lines:1:4:16x3x48x100:150:200$",
    )


def test_ranges_that_make_up_for_each_other(tmp_path: Path) -> None:
    """No other profile holds all widths of the first one, and each width has all batches."""
    some = ProfileShapes((1, 3, 48, 100), (4, 3, 48, 150), (8, 3, 48, 200))
    others = [
        ProfileShapes((9, 3, 48, low), (12, 3, 48, low), (16, 3, 48, high))
        for low, high in ((100, 150), (151, 200))
    ]
    config = config_of(of_widths(some, *others), tmp_path)
    assert config.max_batch_size == 16


def drawn_ranges(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, most), min_size=2, max_size=2).map(sorted)


@example([([1, 1], [1, 1], [1, 4]), ([2, 2], [1, 1], [1, 1]), ([2, 2], [1, 1], [4, 4])])
@given(st.lists(st.tuples(drawn_ranges(3), drawn_ranges(4), drawn_ranges(4)), min_size=2))
def test_triton_gets_what_takes_every_batch_of_every_size(made: list[Any]) -> None:
    """Whether a plan is taken, against a session's choice for each batch of each size."""
    profiles = [
        {
            name: ProfileShapes((b[0], each[0]), (b[1], each[1]), (b[1], each[1]))
            for name, each in (("h", h), ("w", w))
        }
        for b, h, w in made
    ]
    inputs = [TensorSpec("h", (-1, -1)), TensorSpec("w", (-1, -1))]
    ranges = [batches_of(each) for each in profiles]
    chosen: dict[tuple[int, ...], list[bool]] = {
        size: [
            choose_sized(profiles, ranges, batch, {"h": size[:1], "w": size[1:]}) is not None
            for batch in range(1, 1 + max(each.max for each in ranges))
        ]
        for size in itertools.product(range(1, 5), repeat=2)
    }
    is_served = all(all(each) for each in chosen.values() if any(each))
    try:
        config_text(inputs, [TensorSpec("y", (-1, 2))], profiles[0], OPTIONS, profiles[1:])
    except UsageError:
        assert not is_served
    else:
        assert is_served


@pytest.mark.usefixtures("here")
def test_batches_between_profiles_that_triton_would_send() -> None:
    refused(
        with_profiles(*STATIC),
        r"any batch from 1 to 32, but the engine takes 1, 8 and 32\. "
        r".*--batch 1,8,32,1:32:32\.",
    )
    refused(with_profiles(STATIC[1], {"images": batches(4, 8, 16, 3, 32, 32)}), "takes 4 to 16")
