"""The images of a folder, and their classes."""

from __future__ import annotations

import csv
import functools
import io
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import DataError
from trtqat.files import check_input, read_input, why_unreadable

_LOG = logging.getLogger(__name__)

# The names that torchvision's ImageFolder takes for images.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LABELS = "labels.csv"
_HEADER = ("file", "label")
_NAMES = f"Names of images end in {', '.join(EXTENSIONS)}"
_REMEDY = "Its first line is file,label; each other one names a file and its class, as cat.jpg,3."


@dataclass(frozen=True)
class Listing:
    """Images in their order.

    Attributes:
        files: Their files.
        labels: Class of each, shape ``(N,)``; None if nothing tells them.
        classes: Names of the classes; empty if they are numbers alone.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()

    def only(self, indices: Sequence[int]) -> Listing:
        """Some of the images."""
        labels = None if self.labels is None else self.labels[list(indices)]
        return Listing(tuple(self.files[index] for index in indices), labels, self.classes)


def list_images(directory: str | Path) -> Listing:
    """Finds the images of a folder, in the order of torchvision's ImageFolder.

    Args:
        directory: With ``labels.csv``; or with a folder for each class, whose numbers are in the
            order of their names; or with images that have no classes.

    Raises:
        UsageError: No directory can have such a name.
        DataError: The directory is missing, it or one of its classes has no image, or its
            ``labels.csv`` is damaged.
    """
    check_input(directory)
    folder = Path(directory)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise DataError(
            f"The directory '{folder}' {what}.",
            f"Give a folder with one folder of images for each class, or with {LABELS}.",
        )
    if (folder / LABELS).is_file():
        return _of_table(folder / LABELS)
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    loose = sorted(each.name for each in folder.iterdir() if _is_image(each.name))
    if not classes:
        if not loose:
            raise DataError(f"'{folder}' holds no image.", f"{_NAMES}.")
        return Listing(tuple(folder / name for name in loose))
    if loose:
        _LOG.warning(
            "'%s': %d images beside the folders of the classes are not read, as '%s'.",
            *(folder, len(loose), loose[0]),
        )
    return _by_class(folder, classes)


def files_of_images(directory: str | Path) -> list[Path]:
    """The files that the images of a folder are in, and the one that lists them.

    Args:
        directory: As for ``list_images``.

    Raises:
        DataError: As ``list_images``.
    """
    table = Path(directory) / LABELS
    files = list(list_images(directory).files)
    return [table, *files] if table.is_file() else files


def _by_class(folder: Path, classes: Sequence[str]) -> Listing:
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        found = list(_images_under(folder / name))
        if not found:
            others = next(iter(_files_under(folder / name)), None)
            but = "" if others is None else f" but others as '{others.name}'"
            raise DataError(
                f"'{name}' in '{folder}' would be the class {number}, and holds no image{but}.",
                f"{_NAMES}. Remove the folder if it is no class, or name images and classes in "
                f"{LABELS}.",
            )
        files += found
        labels += [number] * len(found)
    return Listing(tuple(files), np.array(labels, np.int64), tuple(classes))


def _images_under(folder: Path) -> Iterator[Path]:
    """The images of a folder and of those in it, in ImageFolder's order."""
    yield from (each for each in _files_under(folder) if _is_image(each.name))


def _files_under(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, in ImageFolder's order."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [each for each in folders if not _leads_back(Path(root) / each)]
        found.append((root, names))
    for root, names in sorted(found):
        yield from (Path(root) / name for name in sorted(names))


def _leads_back(folder: Path) -> bool:
    """Whether a link leads to a folder that it stands in, and so there again and again."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    above = folder.parent.absolute()
    return any(target == each.resolve() for each in (above, *above.parents))


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _of_table(path: Path) -> Listing:
    """What ``labels.csv`` lists, in its order.

    Raises:
        DataError: It is no such table, or names what is not there.
    """
    try:
        # With or without the mark that spreadsheets put first.
        text = read_input(path).decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is no text in UTF-8.", "Save it as UTF-8.") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    files: dict[Path, int] = {}
    named: set[Path] = set()
    resolved = functools.cache(Path.resolve)
    try:
        file_at, label_at = _columns(path, next(rows, []))
        for row in rows:
            if row:
                file, label = _entry(path, rows.line_num, row, file_at, label_at)
                # One file by two ways, as sub/../a.png; a link to an image is one of its own.
                place = resolved(file.parent) / file.name
                if place in named:
                    raise _wrong(path, rows.line_num, f"names '{row[file_at]}' again")
                named.add(place)
                files[file] = label
    except csv.Error as error:
        raise _wrong(path, rows.line_num, f"is no line of a table ({error})") from error
    if not files:
        raise DataError(f"'{path}' names no image.", _REMEDY)
    return Listing(tuple(files), np.array(list(files.values()), np.int64))


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int]:
    """Where file and label stand in a row.

    Raises:
        DataError: The header does not say so.
    """
    names = [name.strip() for name in header]
    if all(name in names for name in _HEADER):
        return names.index(_HEADER[0]), names.index(_HEADER[1])
    line = ",".join(header)
    separator = next((each for each in (";", "\t") if each in line), None)
    if separator is not None:
        shown = "tabs" if separator == "\t" else f"'{separator}'"
        raise DataError(f"'{path}' separates its columns by {shown}.", "Separate them by commas.")
    raise DataError(f"The first line of '{path}' is '{line[:80]}'.", _REMEDY)


def _entry(
    path: Path, line: int, row: Sequence[str], file_at: int, label_at: int
) -> tuple[Path, int]:
    """File and class of a row.

    Raises:
        DataError: It has no such file or class.
    """
    if len(row) <= max(file_at, label_at):
        raise _wrong(path, line, f"has {len(row)} columns")
    name, label = row[file_at].strip(), row[label_at].strip()
    file = path.parent / name
    if not name or not file.is_file():
        raise _wrong(path, line, f"names '{name}', which is no file in '{path.parent}'")
    if not (label.isascii() and label.isdecimal() and int(label) < 2**63):
        raise _wrong(
            path, line, f"gives '{name}' the class '{label}', which is no number from 0 on"
        )
    return file, int(label)


def _wrong(path: Path, line: int, what: str) -> DataError:
    return DataError(f"Line {line} of '{path}' {what}.", _REMEDY)
