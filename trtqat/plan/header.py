"""What a plan file tells without TensorRT: that it is one, that it is whole, and its version.

The header was read off plans of TensorRT 8.6 (a file of 16,118,660 bytes begins with
``66 74 72 74 | 00 00 00 00 | 01 00 00 00 | 00 00 00 00 | 84 f3 f5 00 00 00 00 00 |
08 06 00 0c``); NVIDIA documents tag and version for 10 and later.

    0   4  ``ftrt``; ``vtrt`` in a plan of TensorRT for RTX
    4   4  serialization version
    8   4  1 for a plain plan, 2 for a version-compatible one; always 2 in one of TensorRT for RTX
    16  8  size of the whole file, little endian
    24  4  major, minor, patch and build of the library that wrote it

TensorRT for RTX has one for itself behind it:

    28  4  ``vtrt``
    32  8  a bit for each kind of GPU that the plan is for: 7.5, 8.0, 8.6, 8.9, 12.0, 12.1, and what
           is newer than 12.0

It was read off plans of 1.7.1.116, one for each compute capability, and some for two and more. A
plan without named targets has ``7e`` there, all but the first; an H100 refused one with "Supported
compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trtqat.errors import PlanError
from trtqat.files import is_onnx, open_input, read_input, why_unreadable
from trtqat.plan.targets import targets_of_mask

Library = Literal["tensorrt", "rtx"]
# Which TensorRT a graph is for, as ``--for`` names it.
Target = Literal["8.6", "10", "11", "rtx"]
LIBRARY_NAMES: dict[Library, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}

_RTX_TAG = b"vtrt"
_LIBRARIES: dict[bytes, Library] = {b"ftrt": "tensorrt", _RTX_TAG: "rtx"}
_HEADER_BYTES = 28
_VERSION_COMPATIBLE = 2


@dataclass(frozen=True)
class PlanHeader:
    """The first bytes of a plan.

    Attributes:
        version: Of the library that wrote it, as ``(8, 6, 0)``.
        is_version_compatible: Whether a newer TensorRT may run it.
        size_bytes: Size of the whole plan as the header has it.
        library: Which one that was: TensorRT, or TensorRT for RTX.
        targets: Compute capabilities that a plan of TensorRT for RTX is for, as in a manifest;
            empty of one of TensorRT, or if they are not known.
    """

    version: tuple[int, int, int]
    is_version_compatible: bool
    size_bytes: int
    library: Library = "tensorrt"
    targets: tuple[str, ...] = ()

    @property
    def built_by(self) -> str:
        """The library and its version, as ``"TensorRT 8.6.0"``."""
        return f"{LIBRARY_NAMES[self.library]} {'.'.join(map(str, self.version))}"


def library_of(path: Path) -> Library:
    """Whose plan a file is, by its first bytes.

    Args:
        path: The file; where it tells nothing, ``"tensorrt"``: whoever loads it says more.
    """
    try:
        with open_input(path) as file:
            return _LIBRARIES.get(file.read(4), "tensorrt")
    except OSError:
        return "tensorrt"


def read_plan(path: Path) -> tuple[bytes, PlanHeader]:
    """Reads a plan file and checks its header against its size.

    Raises:
        PlanError: There is no such file, it is not a plan, or it is truncated.
    """
    try:
        plan = read_input(path)
    except OSError as error:
        raise PlanError(
            f"The plan '{path}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    return plan, parse_header(plan, str(path))


def parse_header(plan: bytes, name: str) -> PlanHeader:
    """Reads the header of a plan.

    Args:
        plan: The whole file.
        name: For messages.

    Raises:
        PlanError: It is not a plan, or its size is not the one in the header.
    """
    library = _LIBRARIES.get(plan[:4])
    if library is None:
        looks_like_onnx = is_onnx(name)
        raise PlanError(
            f"'{name}' is not a TensorRT plan"
            + (" but looks like an ONNX file." if looks_like_onnx else "."),
            "Make one with: trtqat build model.onnx -o model.engine",
        )
    size = int.from_bytes(plan[16:24], "little")
    if len(plan) < _HEADER_BYTES or (size and size != len(plan)):
        raise PlanError(
            f"The plan '{name}' is damaged: it has {len(plan):,} bytes, its header says {size:,}.",
            "Copy it again from the build host.",
        )
    return PlanHeader(
        (plan[24], plan[25], plan[26]),
        library == "tensorrt" and int.from_bytes(plan[8:12], "little") == _VERSION_COMPATIBLE,
        size,
        library,
        _targets(plan) if library == "rtx" else (),
    )


def _targets(plan: bytes) -> tuple[str, ...]:
    if plan[28:32] != _RTX_TAG:
        return ()
    return targets_of_mask(int.from_bytes(plan[32:40], "little"))
