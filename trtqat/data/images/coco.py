"""``coco:DIR``: images with boxes, or with the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtqat.data.batches import Batch, Shown, check_range, only_input
from trtqat.data.images.broken import Progress, find_whole, first_whole
from trtqat.data.images.coco_file import CocoImage, boxes_of, find_coco, read_coco
from trtqat.data.images.coco_masks import check_masks, class_map
from trtqat.data.images.dataset import ImageReader
from trtqat.data.images.decoding import Decoded, require_pillow, size_of
from trtqat.data.images.options import ImageSpec, parse_image_spec
from trtqat.data.images.placing import Placement, place
from trtqat.errors import DataError
from trtqat.tensors import Array, Arrays, TensorSpec

# What stands in the specification besides what all images have.
_MORE = ("annotations=", "images=", "masks")


class CocoDetection(Shown):
    """Images and the objects in them, in pixels of the model's input.

    Labels of a batch are a tuple of a dict for each image: ``boxes`` float64 ``(K, 4)`` (left, top,
    right and bottom, 0 being the left or upper edge of the first pixel), ``classes`` int64 ``(K,)``
    from 0 on in the order of COCO's categories, ``crowd`` int64 ``(K,)``, 1 for what nothing must
    find, ``area`` float64 ``(K,)``, of the object if the file says it, and ``image_id`` int64
    ``()``. Boxes are resized and moved as the image is. Those that a crop cuts end at its edge, of
    whose area as large a share is left as of the box, and those outside are left out.

    With ``masks`` labels are an array int64 ``(N, H, W)`` instead (``coco_masks.class_map``).
    """

    def __init__(
        self,
        rest: str,
        inputs: Sequence[TensorSpec],
        *,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Reads the annotations, and decodes the first image.

        Args:
            rest: What follows ``coco:``.
            inputs: The model's inputs.
            limit: No more images than that are read; all of them if it is None.
            progress: Called with images looked at and their number, while broken ones are sought.

        Raises:
            UsageError: An option is none.
            MissingError: Pillow is not installed, or pycocotools where a mask needs it.
            DataError: Annotations or images are missing or damaged, or images do not fit the input.
        """
        spec = parse_coco_spec(rest)
        require_pillow()
        self.name = f"coco:{rest}"
        self._source = f"'{self.name}'"
        read = read_coco(*files_in(spec))
        self._images = read.images
        self.categories = read.categories
        files: list[Path] = [each.file for each in self._images]
        if spec.options.skip_broken:
            whole, left_out = find_whole(self.name, files, limit, progress)
            self._images = tuple(self._images[index] for index in whole)
            files = [each.file for each in self._images]
            self.name += left_out
        self._masks = "masks" in spec.more
        if self._masks:
            check_masks(self._source, self._images)
        spec_of_input = only_input(self._source, inputs)
        self._reader = ImageReader(self._source, files, spec_of_input, spec.options)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, start: int, stop: int) -> Batch:
        """Images and what is in them; the next ones are decoded while these are used.

        Raises:
            DataError: An image is broken, does not fit the input, or is of another size than its
                annotations are for.
        """
        return self._read(start, stop, None)

    def read_into(self, start: int, stop: int, arrays: Arrays) -> Batch:
        """As ``batch``, into arrays that are there, as an engine's session has them pinned.

        Args:
            start: Index of the first image.
            stop: One past the last.
            arrays: By input, ``(B, …)`` of its dtype; the first ``stop - start`` rows are written.

        Raises:
            DataError: As ``batch``.
        """
        return self._read(start, stop, arrays)

    def _read(self, start: int, stop: int, arrays: Arrays | None) -> Batch:
        check_range(start, stop, len(self))
        inputs, decoded = self._reader.read_placed(start, stop, arrays)
        images = self._images[start:stop]
        for image, each in zip(images, decoded, strict=True):
            _check_size(image, each)
        labels: Any
        if self._masks:
            maps = [class_map(*each) for each in _with_places(images, decoded)]
            labels = np.stack(maps)
        else:
            labels = tuple(_objects(*each) for each in _with_places(images, decoded))
        return Batch(inputs, labels)


def parse_coco_spec(rest: str) -> ImageSpec:
    """Reads what follows ``coco:``: ``DIR[,annotations=FILE][,images=FOLDER][,masks]`` and more.

    Images stay as they are stored, as boxes are in the pixels of the file.

    Args:
        rest: As ``parse_image_spec`` reads it.

    Raises:
        UsageError: An option is none.
    """
    spec = parse_image_spec(rest, kind="coco", more=_MORE)
    return replace(spec, options=replace(spec.options, as_stored=True))


def files_in(spec: ImageSpec) -> tuple[Path, Path]:
    """The file of annotations, and the folder of the images.

    Args:
        spec: From ``parse_coco_spec``.

    Raises:
        DataError: They are not there.
    """
    return find_coco(spec.directory, spec.more.get("annotations"), spec.more.get("images"))


def files_of_coco(rest: str) -> list[Path]:
    """The files that the data is in.

    Args:
        rest: What follows ``coco:``.

    Raises:
        DataError: They are not there.
    """
    annotations, images = files_in(parse_coco_spec(rest))
    return [annotations, *(each.file for each in read_coco(annotations, images).images)]


def shape_of_coco(rest: str) -> tuple[int, int, int]:
    """The shape ``(3, H, W)`` of the first image, resized and cropped.

    It is the first one that is whole, where broken ones are left out.

    Args:
        rest: What follows ``coco:``.

    Raises:
        DataError: As ``CocoDetection``.
    """
    spec = parse_coco_spec(rest)
    require_pillow()
    files = [image.file for image in read_coco(*files_in(spec)).images]
    first = first_whole(f"coco:{rest}", files) if spec.options.skip_broken else files[0]
    width, height = place(*size_of(first, spec.options), spec.options).canvas
    return 3, height, width


def _with_places(
    images: Sequence[CocoImage], decoded: Sequence[Decoded]
) -> list[tuple[CocoImage, Placement]]:
    return [(image, each.placement) for image, each in zip(images, decoded, strict=True)]


def _objects(image: CocoImage, placement: Placement) -> dict[str, Array]:
    """The label of one image."""
    corners = placement.points(boxes_of(image).reshape(-1, 2, 2))
    areas = np.array(image.areas) * placement.area_scale
    kept = np.arange(len(corners))
    if placement.cuts:
        whole = corners
        corners = corners.clip(0, placement.canvas)
        kept = np.flatnonzero((corners[:, 1] > corners[:, 0]).all(axis=1))
        before, left = (np.diff(each, axis=1).prod(axis=(1, 2)) for each in (whole, corners))
        areas = np.where(left > 0, areas * left / np.where(left > 0, before, 1), 0)
    return {
        "boxes": corners.reshape(-1, 4)[kept],
        "classes": np.array(image.classes, np.int64)[kept],
        "crowd": np.array(image.crowd, np.int64)[kept],
        "area": areas[kept],
        "image_id": np.array(image.image_id, np.int64),
    }


def _check_size(image: CocoImage, decoded: Decoded) -> None:
    """Refuses an image of another size than its annotations are for.

    Raises:
        DataError: It is of another size.
    """
    stored = decoded.placement.stored
    if image.size is not None and image.size != stored:
        raise DataError(
            f"'{image.file}' has {stored[0]}x{stored[1]} pixels, but its annotations are for "
            f"{image.size[0]}x{image.size[1]}.",
            "Give the images that were annotated; save those that EXIF turns as they were seen.",
        )
