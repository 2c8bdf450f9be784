"""Which dimension is the batch: what a model declares, or else lengths."""

from __future__ import annotations

import numpy as np
import pytest

from trtqat.evaluation.batch_axis import (
    by_image,
    find_batch_axis,
    first_images,
    is_of_no_image,
    moved_axis,
)


@pytest.mark.parametrize(
    ("shape", "declared", "axis"),
    [
        ((8, 3), (-1, 3), 0),
        # As many tokens as images: only the declaration tells.
        ((8, 8, 3), (8, -1, 3), 1),
        ((8, 8, 3), None, 0),
        ((4, 8, 3), None, 1),
        # Three tokens of each image.
        ((24, 3), (-1, 3), 0),
        ((24, 3), None, 0),
        # Of no single image.
        ((), (), None),
        ((3,), (3,), None),
        # An output whose batch somebody has declared as fixed, and a model of a fixed batch.
        ((8, 10), (1, 10), 0),
        ((8, 10), (8, 10), 0),
        # Several open dimensions: the one that is as long as the batch.
        ((16, 8, 3), (-1, -1, 3), 1),
        ((8, 16, 3), (-1, -1, 3), 0),
        ((24, 5), (-1, -1), 0),
        ((5, 3), (-1, 3), None),
        ((5, 3), None, None),
        ((0, 3), None, None),
        # Another model's declaration, of another rank.
        ((4, 8, 3), (-1, 3), 1),
    ],
)
def test_axis(shape: tuple[int, ...], declared: tuple[int, ...] | None, axis: int | None) -> None:
    assert find_batch_axis(shape, 8, declared) == axis


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("each", [1, 3])
def test_rows_of_the_first_images(axis: int, each: int) -> None:
    images = np.arange(5 * each * 7 * 2).reshape(5 * each, 7, 2)
    array = np.moveaxis(images, 0, axis)
    cut = first_images(array, axis, 2, 5)
    np.testing.assert_array_equal(np.moveaxis(cut, axis, 0), images[: 2 * each])
    rows = by_image(cut, axis, 2)
    expected = images[:2] if each == 1 else images.reshape(5, each, 7, 2)[:2]
    np.testing.assert_array_equal(rows, expected)


def test_what_is_of_no_image_is_of_every_one() -> None:
    mean = np.arange(3.0)
    assert first_images(mean, None, 2, 5) is mean
    np.testing.assert_array_equal(by_image(mean, None, 2), [mean, mean])
    # As long as the first batch, but not as the last one.
    np.testing.assert_array_equal(by_image(mean, 0, 2), [mean, mean])
    assert first_images(mean, 0, 1, 2) is mean


def moved(images: np.ndarray, axis: int, *, noise: float = 0.0) -> int | None:
    """What is found of four images, each with as many rows as tokens, along this axis."""
    random = np.random.default_rng(0)
    other = np.roll(images, 1, axis=0) + noise * random.normal(size=images.shape)
    before, after = (np.moveaxis(each, 0, axis) for each in (images, other))
    return moved_axis(before, after, (0, 1), 4)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_batch_is_what_moves_with_the_images(axis: int) -> None:
    images = np.random.default_rng(1).normal(size=(4, 4, 3))
    assert moved(images, axis) == axis
    # Rounded otherwise at another place of the batch.
    assert moved(images, axis, noise=1e-3) == axis
    assert moved(images, axis, noise=1.0) is None
    images[1, 2] = np.nan
    assert moved(images, axis) == axis
    # As wherever all images are repetitions of one.
    assert moved(np.repeat(images[:1], 4, axis=0), axis) == axis


def test_what_stays_is_of_no_image() -> None:
    prior = np.random.default_rng(4).normal(size=(4, 4))
    assert is_of_no_image(prior, prior + 1e-9, (0, 1), 4)
    assert not is_of_no_image(prior, np.roll(prior, 1, axis=0), (0, 1), 4)
    # Of images that are all the same nobody knows.
    same = np.ones((4, 4))
    assert not is_of_no_image(same, same, (0, 1), 4)


def test_texts_do_not_tell() -> None:
    texts = np.array([["a", "b"], ["c", "d"]])
    assert moved_axis(texts, texts[::-1], (0, 1), 2) is None


def test_what_moves_along_none_or_not_at_all() -> None:
    table = np.random.default_rng(2).normal(size=(4, 4))
    assert moved_axis(table, np.roll(table, (1, 1), (0, 1)), (0, 1), 4) is None
    constant = np.ones((4, 4))
    assert moved_axis(constant, constant, (1, 0), 4) == 1
    # Two rows of each of four images, of four numbers.
    rows = np.random.default_rng(3).normal(size=(8, 4))
    assert moved_axis(rows, np.roll(rows, 2, axis=0), (1, 0), 4) == 0
