"""The folder of a search, beside its output: the log, and the graphs and engines of its tries.

It is kept while the search runs, so that an interrupted one goes on, and removed with it. What is
not of a search is never removed: a folder that holds it is refused. One search at a time has it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.search.speed.tune_log import TuneLog, read_log, write_log

LOG, _LOCK = "log.json", "lock"
# The names that searches write, and what a killed one leaves of files that were half written.
_OURS = re.compile(
    r"lock|\.?(log\.json|timing\.cache|(int8|float-\d+-[0-9a-f]{12})(-repaired)?\.).*"
)


@contextlib.contextmanager
def opened_folder(folder: Path, key: str) -> Iterator[TuneLog]:
    """Makes a search's folder, or takes the one that an interrupted search has left.

    What another search has left (of another graph, host or options) is removed: its engines have
    the same names. A second search is kept out until this one ends, however it does.

    Args:
        folder: Its parent is there.
        key: Of this search.

    Yields:
        The log to go on from.

    Raises:
        UsageError: Something else is there, another search uses it, or it cannot be written.
    """
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(exist_ok=True)
            foreign = sorted(each.name for each in folder.iterdir() if not is_ours(each))
            if foreign:
                raise UsageError(
                    f"'{folder}' is where the search keeps its engines, and '{foreign[0]}' in it "
                    "is none of them.",
                    "Move it away, or give another name with -o.",
                )
            held.enter_context(_held_alone(folder))
            log = read_log(folder / LOG, key)
            if not log.tries:
                _remove(folder)
        except OSError as error:
            raise UsageError(
                f"'{folder}', where the search keeps its engines, cannot be used: "
                f"{error.strerror or error}.",
                "Move it away, or give another name with -o.",
            ) from error
        # From here on the folder's engines are known to be of this search.
        write_log(folder / LOG, log)
        yield log


@contextlib.contextmanager
def _held_alone(folder: Path) -> Iterator[None]:
    """A lock that ends with its process.

    It holds nothing where there are no such locks (Windows, some network file systems).
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    # Not on the folder itself, as ``files.locked``: that is what writing into it holds.
    handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"Another search writes into '{folder}'.",
                    "Wait until it has ended, or give another name with -o.",
                ) from None
        yield
    finally:
        os.close(handle)


def remove_folder(folder: Path) -> None:
    """Removes what a search has written, and the folder if nothing else is in it."""
    _remove(folder)
    (folder / _LOCK).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _remove(folder: Path) -> None:
    for each in _files(folder):
        each.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    return iter([each for each in folder.iterdir() if is_ours(each) and each.name != _LOCK])


def is_ours(path: Path) -> bool:
    """Whether a search has written a file."""
    return _OURS.fullmatch(path.name) is not None and path.is_file()
