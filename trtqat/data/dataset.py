"""Opening what ``--data`` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trtqat.checks import check_kind
from trtqat.data import cifar10, idx
from trtqat.data.batches import Batch, Dataset, Shown, check_range
from trtqat.data.factory import FactoryDataset
from trtqat.data.images.broken import Progress
from trtqat.data.images.coco import CocoDetection, files_of_coco
from trtqat.data.images.dataset import Images
from trtqat.data.images.listing import files_of_images
from trtqat.data.images.options import parse_image_spec
from trtqat.data.npz import Npz
from trtqat.data.synthetic import Random
from trtqat.errors import UsageError
from trtqat.tensors import TensorSpec

__all__ = ["Batch", "Dataset", "open_dataset"]

KINDS = (
    "images:DIR, coco:DIR, cifar10:DIR, idx:DIR, npz:FILE, file.py:factory, random or random:COUNT"
)
RANDOM_COUNT = 256


def open_dataset(
    spec: str | Path,
    inputs: Sequence[TensorSpec],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Opens data and checks it against the model before anything is measured.

    Args:
        spec: ``images:DIR`` or ``coco:DIR`` and options behind it, ``cifar10:DIR`` or ``idx:DIR``
            (the test split), ``npz:FILE``, ``file.py:factory``, ``random`` or ``random:COUNT``.
        inputs: The model's inputs; the first dimension of each is the batch.
        limit: Take only the first so many samples.
        seed: For random data.
        progress: Called with samples read and their number, where all are read beforehand.

    Raises:
        UsageError: The kind is unknown, a count is below 1, or there is no such function.
        MissingError: A package that such data needs is not installed.
        DataError: The data is missing or damaged, or does not fit the inputs.
    """
    check_kind("The data", spec, (str, os.PathLike), "'npz:test.npz'")
    if limit is not None:
        check_kind("The limit", limit, int, "1000")
    if limit is not None and limit < 1:
        raise UsageError(f"A limit of {limit} leaves no sample.", "Give at least 1.")
    dataset = _open(str(spec), inputs, seed, limit, progress)
    return dataset if limit is None else first(dataset, limit)


def files_of(spec: str) -> list[Path]:
    """The files that a data set consists of, as far as its specification tells.

    Args:
        spec: As for ``open_dataset``.

    Raises:
        DataError: A folder is missing.
    """
    kind, _, rest = spec.partition(":")
    if kind == "images" and rest:
        return files_of_images(parse_image_spec(rest).directory)
    if kind == "coco" and rest:
        return files_of_coco(rest)
    if kind == "cifar10" and rest:
        return cifar10.split_files(rest, "test")
    if kind == "idx" and rest:
        return idx.split_files(rest, "test")
    if kind == "npz" and rest:
        return [Path(rest)]
    source = spec.rpartition(":")[0]
    return [Path(source)] if source.endswith(".py") else []


def no_kind(spec: str) -> UsageError:
    """The error that a specification is of no kind of data."""
    return UsageError(f"'{spec}' names no kind of data.", f"Use {KINDS}.")


def first(dataset: Dataset, limit: int) -> Dataset:
    """The first samples of a data set, or all of them where there are no more."""
    return dataset if limit >= len(dataset) else _First(dataset, limit)


def is_random(data: str) -> bool:
    """Whether data is random numbers, which have no size of their own.

    Args:
        data: Its specification.
    """
    return data.partition(":")[0] == "random"


def _open(
    spec: str,
    inputs: Sequence[TensorSpec],
    seed: int,
    limit: int | None,
    progress: Progress | None,
) -> Dataset:
    kind, colon, rest = spec.partition(":")
    if kind == "images" and rest:
        return Images(rest, inputs, limit=limit, progress=progress)
    if kind == "coco" and rest:
        return CocoDetection(rest, inputs, limit=limit, progress=progress)
    if kind == "cifar10" and rest:
        return cifar10.Cifar10(rest, inputs)
    if kind == "idx" and rest:
        return idx.Idx(rest, inputs)
    if kind == "npz" and rest:
        return Npz(rest, inputs)
    if kind == "random":
        return Random(inputs, _count(spec, rest) if colon else RANDOM_COUNT, seed)
    if spec.rpartition(":")[0].endswith(".py"):
        return FactoryDataset(spec, inputs)
    raise no_kind(spec)


def _count(spec: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"'{spec}' has no count of samples.", "Write random:256, for example.")
    return int(text)


class _First(Shown):
    """The first samples of a data set."""

    def __init__(self, dataset: Dataset, limit: int) -> None:
        self._dataset = dataset
        self._limit = limit
        self.name = dataset.name

    def __len__(self) -> int:
        return self._limit

    def batch(self, start: int, stop: int) -> Batch:
        check_range(start, stop, self._limit)
        return self._dataset.batch(start, stop)
