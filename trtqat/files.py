"""Writing and hashing files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
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
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | None]) -> None:
    """Writes files that belong together: all of them or, where one cannot be written, none.

    They are written beside their destinations and renamed in their order, while no other
    ``write_together`` renames in that directory.

    Args:
        files: Content by destination, all in one directory; None removes the file.

    Raises:
        UsageError: The directory does not exist, is read-only, or the disk is full.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            check_writable(path)
            if data is not None:
                unique = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
                temporary[path] = path.with_name(unique)
                _write(temporary[path], data)
        # One rename is atomic as it is; and whoever holds the lock may write one file.
        together = len(files) > 1
        with locked(path.parent) if together else contextlib.nullcontext():
            for path in files:
                if path in temporary:
                    temporary[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Free some space, or choose another place.",
        ) from error
    finally:
        for each in temporary.values():
            with contextlib.suppress(OSError):
                each.unlink()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes, and threads, out of the same block for the same directory.

    The lock is on the directory itself, so no file is left behind, and it ends with its process.
    Where there are no such locks (Windows, some network file systems) it holds nothing.
    """
    try:
        import fcntl

        handle = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
