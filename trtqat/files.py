"""Reading, writing and hashing files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from trtqat.errors import UsageError, first_line

_LONGEST_NAME = 200
# Windows has the one, POSIX the other.
_READING = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def open_input(path: Path | str) -> BinaryIO:
    """Opens a file to read it: a regular one, as a pipe may never end and a device never does.

    Raises:
        OSError: It is not there, cannot be read, or is something else than a file, which its
            ``strerror`` says.
    """
    try:
        # Looking first: to open a device may do something. Not waiting for a pipe's writer.
        _check_regular(os.stat(path).st_mode, path)
        handle = os.open(path, os.O_RDONLY | _READING)
    except ValueError as error:
        raise OSError(errno.EINVAL, "Its name holds a null character", str(path)) from error
    try:
        _check_regular(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_input(path: Path | str, *, most_bytes: int | None = None) -> bytes:
    """Reads a whole file, if it is a regular one.

    Args:
        path: The file.
        most_bytes: What no sensible file of its kind exceeds.

    Raises:
        OSError: As ``open_input``, or it is larger.
    """
    with open_input(path) as file:
        if most_bytes is not None and os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, f"It is larger than {most_bytes:,} bytes", str(path))
        return file.read()


def is_file(path: Path | str) -> bool:
    """Whether there is such a regular file; False for a name that no file can have."""
    return os.path.isfile(path)


def check_input(path: Path | str) -> None:
    """Finds out early whether a name that a user gave can be one of a file or a directory.

    What is not there passes: the name may mean something else, and who reads it says more.

    Raises:
        UsageError: It is a pipe, a socket or a device, or no file can have such a name.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISDIR(mode):
            _check_regular(mode, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = why_unreadable(error) if isinstance(error, OSError) else first_line(error)
        name = str(path) if len(str(path)) <= _LONGEST_NAME else f"{str(path)[:_LONGEST_NAME]}…"
        raise UsageError(f"'{name}' cannot be read: {why}.", "Give the name of a file.") from error


def why_unreadable(error: OSError) -> str:
    """The end of a sentence: why a file cannot be read."""
    return (error.strerror or first_line(error)).rstrip(".")


def _check_regular(mode: int, path: Path | str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((word for is_kind, word in kinds if is_kind(mode)), "a device")
        raise OSError(errno.EINVAL, f"It is {kind}, not a file", str(path))


def check_not_overwritten(output: Path, read: Iterable[Path | str | None]) -> None:
    """Refuses to write over what is read, and to read what is no file or directory.

    Args:
        output: What is to be written.
        read: Names that a user gave; empty ones are passed over.

    Raises:
        UsageError: A name leads to the output, or no file can have it.
    """
    for each in read:
        if not each:
            continue
        check_input(each)
        if os.path.realpath(each) == os.path.realpath(output):
            raise UsageError(
                f"The output '{output}' would overwrite an input, '{each}'.",
                "Choose another name.",
            )


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file beside its destination and renames it, so that it is whole or not there.

    Args:
        path: Destination; an existing file is replaced, that which a link leads to. To a device, a
            pipe, or what a process has open (``/dev/stdout``) it is appended.
        data: Its content.

    Raises:
        UsageError: The directory does not exist, is read-only, or the disk is full.
    """
    write_together({_destination(path): data})


def write_together(
    files: Mapping[Path, bytes | Iterable[bytes | memoryview] | None],
    *,
    only_if: Callable[[], bool] = lambda: True,
) -> bool:
    """Writes files that belong together: all of them or, where one cannot be written, none.

    They are written beside their destinations and renamed in their order, while no other
    ``write_together`` renames in that directory.

    Args:
        files: Content by destination, whole or in blocks, all in one directory; None removes the
            file. A link is replaced: it would lead one away from the others.
        only_if: Asked when all is ready, while no other one renames there; False leaves what is
            there as it is.

    Returns:
        Whether they were written.

    Raises:
        UsageError: The directory does not exist, is read-only, or the disk is full.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            check_writable(path)
            if data is None:
                continue
            if _is_special(path):
                with path.open("ab") as file:
                    file.writelines(_blocks(data))
                continue
            # The start of the name, as the whole one may be as long as names can be.
            unique = f".{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}"
            temporary[path] = path.with_name(unique)
            _write(temporary[path], data)
        # One rename is atomic as it is; and whoever holds the lock may write one file.
        together = len(files) > 1
        with locked(path.parent) if together else contextlib.nullcontext():
            if not only_if():
                return False
            for path, data in files.items():
                if path in temporary:
                    temporary[path].replace(path)
                elif data is None:
                    path.unlink(missing_ok=True)
            return True
    except OSError as error:
        raise _cannot_be_written(path, error) from error
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


def _blocks(data: bytes | Iterable[bytes | memoryview]) -> Iterable[bytes | memoryview]:
    return [data] if isinstance(data, bytes) else data


def _write(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    with path.open("wb") as file:
        file.writelines(_blocks(data))
        file.flush()
        os.fsync(file.fileno())


def check_writable(path: Path) -> None:
    """Finds out early whether ``path`` can be written, before hours of work are lost.

    Raises:
        UsageError: Its directory does not exist or is read-only, its name is too long, or it is a
            directory itself.
    """
    try:
        if _is_special(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        target = _destination(path)
        if target.is_dir():
            raise UsageError(f"'{path}' is a directory.", "Give the name of the file to write.")
        directory = target.parent
        if not directory.is_dir():
            raise UsageError(
                f"The directory '{directory}' does not exist.", "Make it, or choose another place."
            )
        if not os.access(directory, os.W_OK):
            raise UsageError(
                f"The directory '{directory}' is read-only.", "Choose another place to write to."
            )
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    except ValueError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: its name holds a null character.",
            "Choose another name.",
        ) from error


def _is_special(path: Path) -> bool:
    """Whether it is a device, a pipe, or a name for what a process has open.

    What is renamed to such a name takes its place.
    """
    folder = os.path.realpath(path.parent)
    if folder == "/dev" or folder.startswith("/proc/"):
        return path.exists()
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def _destination(path: Path) -> Path:
    """Where a file of that name is: behind a link, unless that leads to what is special."""
    is_link = os.path.islink(path) and not _is_special(path)
    return Path(os.path.realpath(path)) if is_link else path


def _cannot_be_written(path: Path, error: OSError) -> UsageError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return UsageError(
        f"'{path}' cannot be written: {error.strerror or error}.",
        "Free some space, or choose another place." if is_full else "Choose another place.",
    )


def is_onnx(path: Path | str) -> bool:
    """Whether a file is an ONNX graph, by its name."""
    return str(path).lower().endswith(".onnx")


def weights_beside(path: Path) -> Path:
    """Where the weights of a graph lie that is larger than an ONNX file can be."""
    return path.with_name(f"{path.name}.data")


# What a plan of TensorRT begins with, and one of TensorRT for RTX.
PLAN_TAGS = (b"ftrt", b"vtrt")


def is_plan(path: Path) -> bool:
    """Whether a file is an engine.

    By its first bytes, or by its name, so that a damaged plan is refused as a plan.

    Args:
        path: The file; it need not be there.
    """
    if path.suffix in (".engine", ".plan", ".trt"):
        return True
    try:
        with open_input(path) as file:
            return file.read(4) in PLAN_TAGS
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: As ``open_input``.
    """
    digest = hashlib.sha256()
    with open_input(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
