"""What a metric keeps of samples, as text in a report.

So a host without PyTorch compares its engine with a recorded baseline sample by sample. Most of
these numbers are small integers and zeros, which compress to a few bits.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trtqat.evaluation.metrics.metric import PerSample
from trtqat.tensors import Array

_Type: TypeAlias = Literal["int8", "int32", "float32", "float64"]
_TYPES: tuple[_Type, ...] = ("int8", "int32", "float32", "float64")
# A million samples of 150 classes.
_MOST_NUMBERS = 300_000_000


@dataclass(frozen=True)
class Packed:
    """A matrix: its columns one behind the other, little-endian, compressed by zlib, in base64.

    Attributes:
        rows: How many.
        columns: How many.
        type: Of the numbers, as NumPy calls it; the narrowest that holds each of them exactly.
        data: The text.
    """

    rows: int
    columns: int
    type: _Type
    data: str


@dataclass(frozen=True)
class PackedSamples:
    """What a metric keeps of every sample.

    Attributes:
        rows: What it keeps.
        lengths: How many rows each sample has, as one column; None if it is one for each.
    """

    rows: Packed
    lengths: Packed | None


def pack_samples(found: PerSample) -> PackedSamples:
    """Samples as they stand in a report.

    Args:
        found: Of any number of samples.
    """
    lengths = None if (found.lengths == 1).all() else _pack(found.lengths[:, None])
    return PackedSamples(_pack(found.rows), lengths)


def unpack_samples(packed: PackedSamples) -> PerSample:
    """Samples of what ``pack_samples`` made of them.

    Raises:
        ValueError: It is something else; the message is the end of a sentence.
    """
    rows = _unpack(packed.rows)
    if packed.lengths is None:
        return PerSample(rows, np.ones(len(rows), np.int64))
    lengths = _unpack(packed.lengths)
    sound = lengths.shape[1] == 1 and np.isfinite(lengths).all() and (lengths >= 0).all()
    if not sound or lengths.sum() != len(rows) or (lengths != np.floor(lengths)).any():
        raise ValueError("the rows of a metric do not belong to its samples")
    # A sum may be none; a score, or which of the detections are right, is a number.
    if not np.isfinite(rows).all():
        raise ValueError("a row of a metric holds what is no number")
    return PerSample(rows, lengths[:, 0].astype(np.int64))


def _pack(matrix: Array) -> Packed:
    columns = np.ascontiguousarray(matrix.T, np.float64)
    kind = next(each for each in _TYPES if _is_exact(columns, each))
    data = columns.astype(np.dtype(kind).newbyteorder("<")).tobytes()
    text = base64.b64encode(zlib.compress(data, 9)).decode()
    return Packed(matrix.shape[0], matrix.shape[1], kind, text)


def _is_exact(numbers: Array, kind: _Type) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        narrow = numbers.astype(kind).astype(np.float64)
    return bool(np.array_equal(narrow, numbers, equal_nan=True))


def _unpack(packed: Packed) -> Array:
    count = packed.rows * packed.columns
    if packed.rows < 0 or packed.columns < 1 or count > _MOST_NUMBERS:
        raise ValueError(f"a metric has {packed.rows} rows of {packed.columns} numbers")
    kind = np.dtype(packed.type).newbyteorder("<")
    size = count * kind.itemsize
    try:
        compressed = base64.b64decode(packed.data, validate=True)
        # No more is made of it than it says: a few bytes may stand for gigabytes.
        data = zlib.decompressobj().decompress(compressed, size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"the statistics of a metric are damaged ({error})") from error
    if len(data) != size:
        raise ValueError("the statistics of a metric are of another length than they say")
    numbers = np.frombuffer(data, kind).astype(np.float64)
    return np.ascontiguousarray(numbers.reshape(packed.columns, packed.rows).T)
