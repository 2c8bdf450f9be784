"""Finding images that cannot be decoded, before anything is measured on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trtqat.data.images.ahead import in_threads
from trtqat.data.images.decoding import why_broken
from trtqat.errors import DataError

_LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
# So many are named, and the others counted.
_NAMED = 20


def find_whole(
    name: str, files: Sequence[Path], limit: int | None, progress: Progress | None
) -> tuple[list[int], str]:
    """The images that can be decoded; the others are named in a warning.

    Args:
        name: The data, for messages.
        files: All images.
        limit: So many are enough; None looks at all.
        progress: Called with images looked at and their number.

    Returns:
        Indices of those that can be decoded, and what is to be said of the others behind the name
        of the data: nothing if there are none.

    Raises:
        DataError: None can be decoded.
    """
    _LOG.info("Looking for broken images among the %d of '%s'.", len(files), name)
    whole: list[int] = []
    broken: list[str] = []
    for index, why in enumerate(in_threads(why_broken, files)):
        if why is None:
            whole.append(index)
        else:
            broken.append(f"'{files[index]}' ({why})")
        if progress:
            progress(index + 1, len(files))
        if len(whole) == limit:
            break
    if broken:
        others = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        _LOG.warning(
            "'%s': %d of %d images are broken and left out: %s%s.",
            *(name, len(broken), len(broken) + len(whole), ", ".join(broken[:_NAMED]), others),
        )
    if not whole:
        raise _none_whole(name)
    return whole, f" ({len(broken)} broken left out)" if broken else ""


def first_whole(name: str, files: Iterable[Path]) -> Path:
    """The first image that can be decoded; no more are looked at.

    Args:
        name: The data, for messages.
        files: Images.

    Raises:
        DataError: None can be decoded.
    """
    for file in files:
        if why_broken(file) is None:
            return file
    raise _none_whole(name)


def _none_whole(name: str) -> DataError:
    return DataError(f"'{name}' has no image that can be decoded.", "Copy them again.")
