"""What of an image is in the input: held against torchvision's rules as they are written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.support.image_files import drawn, write_image
from trtqat.data.images.decoding import decode
from trtqat.data.images.options import INTERPOLATIONS, ImageOptions
from trtqat.data.images.placing import place
from trtqat.data.images.values import PixelInput
from trtqat.tensors import TensorSpec

SIDES = st.integers(1, 60)


def resized(image: Any, size: int | tuple[int, int], interpolation: str) -> Any:
    """Torchvision's ``Resize`` of a PIL image."""
    width, height = image.size
    if isinstance(size, tuple):
        wanted = size[1], size[0]
    else:
        short, long = min(width, height), max(width, height)
        longer = int(size * long / short)
        wanted = (size, longer) if width <= height else (longer, size)
    return image.resize(wanted, Image.Resampling[interpolation.upper()])


def cropped(image: Any, size: tuple[int, int]) -> Any:
    """Torchvision's ``CenterCrop`` of a PIL image: black around it first, then the middle of it."""
    height, width = size
    missing = max(0, width - image.width), max(0, height - image.height)
    before = missing[0] // 2, missing[1] // 2
    after = (missing[0] + 1) // 2, (missing[1] + 1) // 2
    image = ImageOps.expand(image, (*before, *after), 0)
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


def normalized(image: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Torchvision's ``ToTensor`` and ``Normalize``."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    tensor = tensor.to(torch.float32).div(255)
    mean_of, std_of = (torch.tensor(each)[:, None, None] for each in (mean, std))
    return tensor.sub(mean_of).div(std_of)


@given(
    height=SIDES,
    width=SIDES,
    resize=st.one_of(st.none(), SIDES, st.tuples(SIDES, SIDES)),
    crop=st.tuples(SIDES, SIDES),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_values_are_those_of_torchvision(
    height: int,
    width: int,
    resize: int | tuple[int, int] | None,
    crop: tuple[int, int],
    interpolation: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = drawn(height * 61 + width, height, width)
    path = write_image(tmp_path_factory.mktemp("one") / "image.png", pixels)
    options = ImageOptions(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std
    )
    image_input = PixelInput("images", TensorSpec("x", (-1, 3, *crop)), options)
    made = np.empty((3, *crop), np.float32)
    image_input.write(decode(path, options, 3).pixels, made)

    image = Image.fromarray(pixels)
    image = image if resize is None else resized(image, resize, interpolation)
    np.testing.assert_array_equal(made, normalized(cropped(image, crop), mean, std).numpy())


@given(width=SIDES, height=SIDES, size=st.tuples(SIDES, SIDES))
def test_a_letterbox_holds_the_whole_image_in_its_middle(
    width: int, height: int, size: tuple[int, int]
) -> None:
    placement = place(width, height, ImageOptions(letterbox=size))
    assert placement.canvas == (size[1], size[0])
    for offset, length, whole in zip(
        (placement.left, placement.top), placement.resized, placement.canvas, strict=True
    ):
        assert 0 <= offset <= whole - length - offset <= offset + 1
    # One side is as long as the letterbox's, and the proportions stay but for rounding.
    assert any(a == b for a, b in zip(placement.resized, placement.canvas, strict=True))
    ratio = min(size[1] / width, size[0] / height)
    assert abs(placement.resized[0] - width * ratio) <= 0.5 or placement.resized[0] == 1


def test_beside_a_letterboxed_image_is_its_fill(tmp_path: Path) -> None:
    path = write_image(tmp_path / "wide.png", drawn(0, 10, 40))
    options = ImageOptions(letterbox=(20, 20), fill=7, interpolation="box")
    pixels = decode(path, options, 3).pixels
    assert pixels.shape == (20, 20, 3)
    assert (pixels[:7] == 7).all()
    assert (pixels[12:] == 7).all()
    halved = np.asarray(Image.fromarray(drawn(0, 10, 40)).resize((20, 5), Image.Resampling.BOX))
    np.testing.assert_array_equal(pixels[7:12], halved)


@given(
    width=SIDES,
    height=SIDES,
    resize=st.one_of(st.none(), SIDES, st.tuples(SIDES, SIDES)),
    crop=st.tuples(SIDES, SIDES),
)
def test_corners_go_where_the_pixels_go(
    width: int, height: int, resize: int | tuple[int, int] | None, crop: tuple[int, int]
) -> None:
    placement = place(width, height, ImageOptions(resize=resize, crop=crop))
    (left, top), (right, bottom) = placement.points(
        np.array([[0.0, 0.0], [float(width), float(height)]])
    )
    assert (left, top) == (placement.left, placement.top)
    assert right - left == pytest.approx(placement.resized[0])
    assert bottom - top == pytest.approx(placement.resized[1])
