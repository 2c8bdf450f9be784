"""Stored tensors: what they declare is what is there, before anything of that size is allocated."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from trtqat.graph_file.border.damage import Damage, is_type, name_of, type_name

# Elements of a type are in raw_data, or in one of these; complex ones take two, and of the types
# below one byte several share an int32.
_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
_ALL_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data",
               "uint64_data")  # fmt: skip
_PAIRS = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.UINT8: 8, TensorProto.INT8: 8, TensorProto.UINT16: 16,
    TensorProto.INT16: 16, TensorProto.INT32: 32, TensorProto.INT64: 64, TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16, TensorProto.DOUBLE: 64, TensorProto.UINT32: 32,
    TensorProto.UINT64: 64, TensorProto.COMPLEX64: 64, TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
}  # fmt: skip


@dataclass(frozen=True)
class ExternalData:
    """Where the elements of a tensor lie in another file.

    Attributes:
        path: The file.
        offset: Of the first byte.
        length: In bytes.
    """

    path: Path
    offset: int
    length: int


def check_tensors(
    tensors: Iterable[tuple[onnx.TensorProto, onnx.NodeProto | None]], folder: Path
) -> None:
    """Checks each tensor: type, dimensions, and as many elements as they declare.

    Args:
        tensors: With the nodes that they are attributes of.
        folder: That of the ONNX file, out of which external data must not lead.

    Raises:
        Damage: One is otherwise.
    """
    sizes: dict[str, int] = {}
    for tensor, node in tensors:
        what = f"Tensor '{tensor.name}'" if node is None else f"A tensor of {name_of(node)}"
        if not is_type(tensor.data_type):
            raise Damage(f"{what} has elements of the type {type_name(tensor.data_type)}.")
        if any(dim < 0 for dim in tensor.dims):
            raise Damage(f"{what} has the dimensions {tuple(tensor.dims)}.")
        if is_external(tensor):
            _check_external(tensor, what, folder, sizes)
        else:
            _check_embedded(tensor, what)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether its elements lie in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def element_bits(data_type: int) -> int:
    """Bits of an element, as ONNX packs them; 0 for strings."""
    if data_type in _BITS:
        return _BITS[data_type]
    name = type_name(data_type)
    # The small types say it in their names: UINT4, FLOAT8E5M2, FLOAT4E2M1.
    digits = name.lstrip("UINTFLOA")[:1]
    return int(digits) if digits.isdigit() else 0


def byte_count(tensor: onnx.TensorProto) -> int:
    """Bytes that a tensor's dimensions and type declare."""
    count: int = math.prod(tensor.dims)
    return (count * element_bits(tensor.data_type) + 7) // 8


def external_data(tensor: onnx.TensorProto, folder: Path) -> ExternalData:
    """Where a checked tensor's elements lie."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    return ExternalData(
        folder / fields["location"], int(fields.get("offset") or 0), byte_count(tensor)
    )


def _check_embedded(tensor: onnx.TensorProto, what: str) -> None:
    count = math.prod(tensor.dims)
    lengths = {name: len(getattr(tensor, name)) for name in _ALL_FIELDS}
    given = {name: length for name, length in lengths.items() if length}
    own = _FIELDS.get(tensor.data_type, "int32_data")
    shape = f"{what}, {type_name(tensor.data_type)} of {tuple(tensor.dims)},"
    if tensor.HasField("raw_data") and (not given or tensor.raw_data):
        if given or tensor.data_type == TensorProto.STRING:
            raise Damage(f"{what} is stored in two ways, or in one that its type has not.")
        expected, found = byte_count(tensor), len(tensor.raw_data)
        if found != expected:
            raise Damage(f"{shape} takes {expected} bytes; {found} are stored.")
        return
    if set(given) - {own}:
        raise Damage(f"{shape} is stored as {next(iter(set(given) - {own}))}.")
    bits = element_bits(tensor.data_type)
    if tensor.data_type in _PAIRS:
        expected = 2 * count
    elif own == "int32_data" and 0 < bits < 8:
        expected = (count * bits + 7) // 8
    else:
        expected = count
    if lengths[own] != expected:
        raise Damage(f"{shape} takes {expected} numbers; {lengths[own]} are stored.")


def _check_external(
    tensor: onnx.TensorProto, what: str, folder: Path, sizes: dict[str, int]
) -> None:
    if tensor.data_type == TensorProto.STRING:
        raise Damage(f"{what} holds texts, which cannot lie in another file.")
    stored = any(len(getattr(tensor, name)) for name in _ALL_FIELDS) or bool(tensor.raw_data)
    if stored:
        raise Damage(f"{what} is stored in the file and outside of it.")
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    if location not in sizes:
        sizes[location] = _size_of(location, what, folder)
    numbers = []
    for key in ("offset", "length"):
        text = fields.get(key) or "0"
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise Damage(f"{what} has the {key} '{text[:40]}' in '{location}'.")
        numbers.append(int(text))
    offset, length = numbers
    expected = byte_count(tensor)
    if fields.get("length") and length != expected:
        raise Damage(
            f"{what}, {type_name(tensor.data_type)} of {tuple(tensor.dims)}, takes {expected} "
            f"bytes; {length} are declared in '{location}'."
        )
    if offset + expected > sizes[location]:
        raise Damage(
            f"{what} takes the bytes {offset} to {offset + expected} of '{location}', which has "
            f"{sizes[location]}.",
            f"Copy '{location}' again, whole.",
        )


def _size_of(location: str, what: str, folder: Path) -> int:
    """The size of a file that lies in the folder, behind links too."""
    is_inside = location and "\0" not in location and not Path(location).is_absolute()
    try:
        if is_inside:
            base = os.path.realpath(folder)
            path = os.path.realpath(os.path.join(base, location))
            is_inside = os.path.commonpath([base, path]) == base and path != base
        if not is_inside:
            raise Damage(
                f"{what} lies in '{location[:200]}', which is not a file beside the graph.",
                "External data is read from the graph's own folder only: move it there.",
            )
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Damage(
            f"{what} lies in '{location[:200]}', which cannot be read: {reason}.",
            f"Copy '{location[:200]}' beside the graph.",
        ) from None
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        raise Damage(
            f"{what} lies in '{location}', which is not a file that can be read.",
            f"Copy '{location}' beside the graph.",
        )
    return status.st_size


def check_sparse(tensors: Iterable[tuple[onnx.SparseTensorProto, onnx.NodeProto | None]]) -> None:
    """Checks that a sparse tensor has a place for each value, inside its dimensions.

    Raises:
        Damage: One is otherwise.
    """
    for tensor, node in tensors:
        what = f"The sparse tensor '{tensor.values.name}'"
        if node is not None:
            what = f"A sparse tensor of {name_of(node)}"
        count = len(tensor.values.dims) == 1 and tensor.values.dims[0]
        rank = len(tensor.dims)
        shapes = ([count], [count, rank])
        if (
            count is False
            or any(dim < 1 for dim in tensor.dims)
            or not rank
            or tensor.indices.data_type != TensorProto.INT64
            or list(tensor.indices.dims) not in shapes
        ):
            raise Damage(f"{what} has no place for each of its values.")
