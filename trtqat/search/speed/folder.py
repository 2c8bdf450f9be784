"""The folder of a search, beside its output: the log, and the graphs and engines of its tries.

It is kept while the search runs, so that an interrupted one goes on, and removed with it. What is
not of a search is never removed: a folder that holds it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.search.speed.tune_log import TuneLog, read_log, write_log

LOG = "log.json"
# The names that searches write, and what a killed one leaves of files that were half written.
_OURS = re.compile(r"\.?(log\.json|timing\.cache|(int8|float-\d+-[0-9a-f]{12})(-repaired)?\.).*")


def open_folder(folder: Path, key: str) -> TuneLog:
    """Makes a search's folder, or takes the one that an interrupted search has left.

    What another search has left (of another graph, host or options) is removed: its engines have
    the same names.

    Args:
        folder: Its parent is there.
        key: Of this search.

    Returns:
        The log to go on from.

    Raises:
        UsageError: Something else is there, or the folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        foreign = sorted(each.name for each in folder.iterdir() if not is_ours(each))
        if foreign:
            raise UsageError(
                f"'{folder}' is where the search keeps its engines, and '{foreign[0]}' in it is "
                "none of them.",
                "Move it away, or give another name with -o.",
            )
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
    return log


def remove_folder(folder: Path) -> None:
    """Removes what a search has written, and the folder if nothing else is in it."""
    _remove(folder)
    if not any(folder.iterdir()):
        folder.rmdir()


def _remove(folder: Path) -> None:
    for each in _files(folder):
        each.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    return iter([each for each in folder.iterdir() if is_ours(each)])


def is_ours(path: Path) -> bool:
    """Whether a search has written a file."""
    return _OURS.fullmatch(path.name) is not None and path.is_file()
