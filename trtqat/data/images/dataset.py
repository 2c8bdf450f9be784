"""``images:DIR``: images with the classes that folders or ``labels.csv`` give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch, Shown, check_range, only_input
from trtqat.data.images.ahead import Ahead
from trtqat.data.images.broken import Progress, find_whole, first_whole
from trtqat.data.images.decoding import Decoded, decode, require_pillow, size_of
from trtqat.data.images.listing import list_images
from trtqat.data.images.options import ImageOptions, parse_image_spec
from trtqat.data.images.placing import place
from trtqat.data.images.values import PixelInput
from trtqat.errors import DataError
from trtqat.memory import check_fits
from trtqat.tensors import Array, Arrays, TensorSpec


class Images(Shown):
    """The images of a folder, bound to a model's only input; decoded when they are read."""

    def __init__(
        self,
        rest: str,
        inputs: Sequence[TensorSpec],
        *,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Finds the images, and decodes the first one.

        Args:
            rest: What follows ``images:``.
            inputs: The model's inputs.
            limit: No more images than that are read; all of them if it is None.
            progress: Called with images looked at and their number, while broken ones are sought.

        Raises:
            UsageError: An option is none.
            MissingError: Pillow is not installed.
            DataError: There are no images, the first one is broken, or images do not fit the input.
        """
        spec = parse_image_spec(rest)
        require_pillow()
        self.name = f"images:{rest}"
        self._source = f"'{self.name}'"
        listing = list_images(spec.directory)
        if spec.options.skip_broken:
            whole, left_out = find_whole(self.name, listing.files, limit, progress)
            listing = listing.only(whole)
            self.name += left_out
        self._listing = listing
        self._reader = ImageReader(
            self._source, listing.files, only_input(self._source, inputs), spec.options
        )

    def __len__(self) -> int:
        return len(self._listing.files)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by their number; empty if they have none."""
        return self._listing.classes

    def batch(self, start: int, stop: int) -> Batch:
        """Images and their classes; the next ones are decoded while these are used.

        Raises:
            DataError: An image is broken, or does not fit the input.
        """
        check_range(start, stop, len(self))
        return Batch(self._reader.read(start, stop), self._labels(start, stop))

    def read_into(self, start: int, stop: int, arrays: Arrays) -> Batch:
        """As ``batch``, into arrays that are there, as an engine's session has them pinned.

        Args:
            start: Index of the first image.
            stop: One past the last.
            arrays: By input, ``(B, …)`` of its dtype; the first ``stop - start`` rows are written.

        Raises:
            DataError: An image is broken, or does not fit the input or the array.
        """
        check_range(start, stop, len(self))
        return Batch(self._reader.read(start, stop, arrays), self._labels(start, stop))

    def _labels(self, start: int, stop: int) -> NDArray[np.int64] | None:
        labels = self._listing.labels
        return None if labels is None else labels[start:stop]


class ImageReader:
    """Decodes files into the batches of an input."""

    def __init__(
        self, source: str, files: Sequence[Path], spec: TensorSpec, options: ImageOptions
    ) -> None:
        """Checks that the first image fits.

        Args:
            source: The data in words, the subject of a message.
            files: The images, at least one.
            spec: The input.
            options: From a file to an input.

        Raises:
            DataError: The first image is broken, or does not fit.
        """
        self._source = source
        self._files = files
        self._input = PixelInput(source, spec, options)
        channels = self._input.channels
        self._check(0, decode(files[0], options, channels))
        self._ahead = Ahead(lambda index: decode(files[index], options, channels), len(files))

    def read(self, start: int, stop: int, arrays: Arrays | None = None) -> dict[str, Array]:
        """The images of a batch by input.

        Args:
            start: Index of the first one.
            stop: One past the last.
            arrays: Where to write them; None makes an array.

        Raises:
            DataError: An image is broken, does not fit the input, or is of another size than the
                others of the batch.
        """
        return self.read_placed(start, stop, arrays)[0]

    def read_placed(
        self, start: int, stop: int, arrays: Arrays | None = None
    ) -> tuple[dict[str, Array], list[Decoded]]:
        """As ``read``, with what was decoded, as whoever has boxes needs it."""
        name, count = self._input.spec.name, stop - start
        decoded = list(self._ahead.results(start, stop))
        for index, each in enumerate(decoded, start):
            self._check(index, each)
        shape = self._input.shape(decoded[0].pixels)
        if arrays is None:
            dtype = np.dtype(self._input.spec.dtype)
            size = count * decoded[0].pixels.size * dtype.itemsize
            check_fits(size, f"{count} images of {self._source}")
            out = np.empty((count, *shape), dtype)
        else:
            out = arrays[name][:count]
        for index, each in enumerate(decoded):
            have = self._input.shape(each.pixels)
            if have != out.shape[1:]:
                other = self._unlike(decoded[0], out.shape[1:], given=arrays is not None)
                raise self._unfit(start + index, each, other)
            self._input.write(each.pixels, out[index])
        return {name: out}, decoded

    def _check(self, index: int, decoded: Decoded) -> None:
        """Refuses an image of another height or width than the input's."""
        have = decoded.pixels.shape
        if any(
            want not in (None, side) for want, side in zip(self._input.size, have, strict=False)
        ):
            raise self._unfit(index, decoded, f"but the model takes {self._input.spec}")

    def _unlike(self, first: Decoded, shape: tuple[int, ...], *, given: bool) -> str:
        """What an image of another size than its batch is said to be unlike."""
        if given:
            return f"but the array that is to be filled holds {shape}"
        width, height = first.placement.canvas
        return f"but the first one of its batch makes {height}x{width}: a batch has one size"

    def _unfit(self, index: int, decoded: Decoded, but: str) -> DataError:
        width, height = decoded.placement.canvas
        return DataError(
            f"'{self._files[index]}' makes an input of {height}x{width} (height x width), {but}.",
            "Add how to resize to the data, as in images:DIR,resize=256,crop=224.",
        )


def shape_of_images(spec: str) -> tuple[int, int, int]:
    """The shape ``(3, H, W)`` of the first image of a folder, resized and cropped.

    It is the first one that is whole, where broken ones are left out.

    Args:
        spec: What follows ``images:``.

    Raises:
        DataError: As ``Images``.
    """
    parsed = parse_image_spec(spec)
    require_pillow()
    files = list_images(parsed.directory).files
    first = first_whole(f"images:{spec}", files) if parsed.options.skip_broken else files[0]
    width, height = place(*size_of(first, parsed.options), parsed.options).canvas
    return 3, height, width
