"""Arrays of an .npz file, none of which is given memory for more than the file can hold.

NumPy allocates what an array's header declares before it reads on, and its zip reader raises half a
dozen kinds of exceptions where bytes were changed. Here a damaged file is a sentence, and a small
one that declares a large array is refused before anything is allocated.
"""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from trtqat.errors import DataError, TrtqatError, first_line
from trtqat.files import check_input
from trtqat.tensors import Array

_REMEDY = "Save it with numpy.savez, without object arrays: those are pickles, which run code."
# Deflate makes no more than 1032 bytes of one, and ends with a few more.
_MOST_PER_BYTE = 1032
_SLACK_BYTES = 1024
# The methods that NumPy writes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


def read_arrays(path: Path, wanted: Collection[str]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Reads some arrays of a file.

    Args:
        path: As ``numpy.savez`` writes it.
        wanted: Names of arrays to read, if they are there.

    Returns:
        The arrays by name, and the names of all.

    Raises:
        UsageError: No file can have such a name.
        DataError: The file is missing, damaged, encrypted, or holds what NumPy does not write
            without pickles.
    """
    check_input(path)
    if path.exists() and not path.is_file():
        raise DataError(f"'{path}' is no file.", "Give an .npz file.")
    try:
        with path.open("rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise DataError(
                    f"'{path}' holds one array without a name.",
                    "Save it with numpy.savez(path, images=..., labels=...).",
                )
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                size = path.stat().st_size
                names = [each.filename.removesuffix(".npy") for each in archive.infolist()]
                twice = [name for name, count in Counter(names).items() if count > 1]
                if twice:
                    raise ValueError(f"it holds '{twice[0]}' twice")
                return {
                    name: _read(archive, each, name, size)
                    for name, each in zip(names, archive.infolist(), strict=True)
                    if name in wanted
                }, tuple(names)
    except TrtqatError:
        raise
    except MemoryError as error:
        raise DataError(
            f"The arrays of '{path}' do not fit into memory.", "Split the file."
        ) from error
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    # The zip and array readers have no exception of their own for bytes that were changed.
    except Exception as error:
        raise DataError(
            f"'{path}' is not an .npz file of plain arrays ({first_line(error)}).", _REMEDY
        ) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, size: int) -> Array:
    """One array.

    Raises:
        ValueError: It is not as it declares.
    """
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"array '{name}' is encrypted")
    if member.compress_type not in _METHODS:
        raise ValueError(f"array '{name}' is compressed by the method {member.compress_type}")
    possible = member.compress_size * _MOST_PER_BYTE + _SLACK_BYTES
    if member.compress_size > size or member.file_size > possible:
        raise ValueError(f"array '{name}' is said to be larger than the file can hold")
    with archive.open(member) as stream:
        shape, dtype = _header(stream)
        stored = member.file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError(f"array '{name}' holds objects")
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != stored:
        raise ValueError(
            f"array '{name}' declares {declared} bytes as {dtype} {shape}, and has {stored}"
        )
    with archive.open(member) as stream:
        array = npy.read_array(stream, allow_pickle=False)
        # The checksum is compared at the end of the stream, which is behind the last element.
        stream.read(1)
    return np.asarray(array)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(stream)
    else:
        raise ValueError(f"an array has the format {version[0]}.{version[1]}, of structures")
    return shape, dtype
