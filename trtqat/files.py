"""Writing and hashing files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from trtqat.errors import UsageError


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file beside its destination and renames it, so that it is whole or not there.

    Args:
        path: Destination; an existing file is replaced.
        data: Its content.

    Raises:
        UsageError: The directory does not exist, is read-only, or the disk is full.
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Free some space, or choose another place.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(path: Path) -> None:
    """Finds out early whether ``path`` can be written, before hours of work are lost.

    Raises:
        UsageError: Its directory does not exist or is read-only, or it is a directory itself.
    """
    if path.is_dir():
        raise UsageError(f"'{path}' is a directory.", "Give the name of the file to write.")
    if not path.parent.is_dir():
        raise UsageError(
            f"The directory '{path.parent}' does not exist.", "Make it, or choose another place."
        )
    if not os.access(path.parent, os.W_OK):
        raise UsageError(
            f"The directory '{path.parent}' is read-only.", "Choose another place to write to."
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
