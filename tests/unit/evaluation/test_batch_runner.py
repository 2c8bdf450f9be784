"""Outputs in which lengths alone do not tell which dimension is the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.support.measured import NumpyModel, Samples, make_samples
from trtqat.errors import DataError
from trtqat.evaluation.running import run_models
from trtqat.tensors import Array, TensorSpec


def only(outputs: Mapping[str, Array]) -> Array:
    (array,) = outputs.values()
    return array


@pytest.mark.parametrize("batch_range", [(4, 4), (1, None)])
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        # (T, N, 7) with as many tokens as images, (N, T, 7), and (N·T, 4).
        (lambda x: np.stack([x * each for each in range(1, 5)]), (4, 7)),
        (lambda x: np.stack([x * each for each in range(1, 5)], axis=1), (4, 7)),
        (lambda x: (x[:, None, :4] * [[1], [2]]).reshape(-1, 4), (2, 4)),
    ],
)
def test_the_batch_is_what_moves_with_the_images(
    function: Callable[[Array], Array], shape: tuple[int, ...], batch_range: tuple[int, int | None]
) -> None:
    """Lengths alone do not tell; the last two rows of ten images were those of two tokens."""
    x, _ = make_samples(10)
    model = NumpyModel(function, batch_range=batch_range, outputs=(TensorSpec("logits", ()),))
    found = np.concatenate(
        [
            only(answers.outputs[0])
            for answers in run_models([model], Samples(x, None), batch_size=4)
        ]
    )
    assert found.shape == (10, *shape)
    for image, output in zip(x, found, strict=True):
        each = image[: shape[1]]
        np.testing.assert_allclose(output, [each * token for token in range(1, shape[0] + 1)])


def test_an_output_that_no_image_changes_is_of_all_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A prior of as many numbers as images; the last two of ten fill no batch."""
    x, _ = make_samples(10)
    prior = np.arange(16.0).reshape(4, 4)
    model = NumpyModel(lambda _: prior, batch_range=(4, 4), outputs=(TensorSpec("logits", (4, 4)),))
    for answers in run_models([model], Samples(x, None), batch_size=4):
        for found in only(answers.outputs[0]):
            np.testing.assert_array_equal(found, prior)
    assert not caplog.text


def test_images_that_are_not_told_from_each_other_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each number is of two images; a part of a batch would be compared with what fills it up."""
    x, _ = make_samples(10)
    model = NumpyModel(
        lambda x: x @ x.T, batch_range=(4, 4), outputs=(TensorSpec("logits", (4, 4)),)
    )
    (whole,) = run_models([model], Samples(x[:4], None), batch_size=4)
    np.testing.assert_array_equal(only(whole.outputs[0]), x[:4] @ x[:4].T)
    assert "the output 'logits' of 'numpy' (4x4) holds its 4 images is not known" in caplog.text
    with pytest.raises(DataError, match=r"'logits' of 'numpy' .* the last 2 fill no batch") as told:
        list(run_models([model], Samples(x, None), batch_size=4))
    assert "--limit" in told.value.remedy
