"""What a GPU reaches at most, as measured on it: arithmetic and memory traffic."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.files import read_input, why_unreadable, write_atomically
from trtqat.typed_json import parse_json, read_as


@dataclass(frozen=True)
class Ceilings:
    """Measured on one GPU.

    Attributes:
        gpu: Its name.
        int8_ops_per_s: Of a large INT8 matrix product; a multiply-accumulate is two operations.
        fp16_ops_per_s: Of a large FP16 matrix product, counted in the same way.
        bytes_per_s: Read and written by a large copy on the GPU.
        measured_with: Library and version.
    """

    gpu: str
    int8_ops_per_s: float
    fp16_ops_per_s: float
    bytes_per_s: float
    measured_with: str

    def write(self, path: Path) -> None:
        """Writes them to a file, for hosts without PyTorch.

        Raises:
            UsageError: The file cannot be written.
        """
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def read_ceilings(path: Path, *, gpu: str | None) -> Ceilings:
    """Reads what ``Ceilings.write`` wrote.

    Args:
        path: The file.
        gpu: Name of the GPU that they are wanted for; None if nothing tells it.

    Raises:
        UsageError: It is no such file, or they are another GPU's.
    """
    try:
        found = read_as(Ceilings, parse_json(read_input(path, most_bytes=2**20)))
        rates = (found.int8_ops_per_s, found.fp16_ops_per_s, found.bytes_per_s)
        if not all(rate >= 1 for rate in rates):
            raise ValueError("a rate is below 1 a second")
    except (OSError, ValueError) as error:
        why = why_unreadable(error) if isinstance(error, OSError) else error
        raise UsageError(
            f"'{path}' holds no ceilings of a GPU: {why}.",
            "Give a file that trtqat inspect --roofline wrote on that GPU; on it, one that is not "
            "there yet is written.",
        ) from error
    if gpu is not None and found.gpu != gpu:
        raise UsageError(
            f"The ceilings in '{path}' were measured on {found.gpu}, and this is {gpu}.",
            "Give a file of this GPU, or one that is not there yet.",
        )
    return found
