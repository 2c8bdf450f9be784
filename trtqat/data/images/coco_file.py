"""COCO's annotations, https://cocodataset.org/#format-data, as they are in the file.

``images`` have an ``id`` and a ``file_name``; ``annotations`` an ``image_id``, a ``category_id``, a
``bbox`` (left, top, width, height), ``iscrowd`` and a ``segmentation``; ``categories`` an ``id``
and a ``name``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import DataError
from trtqat.files import check_input, read_input, why_unreadable

_REMEDY = "Give a file of object detection as COCO's instances_val2017.json is."
_BOX = "it is left, top, width and height, neither below 0"
_FOLDERS = ("images", ".")


@dataclass
class CocoImage:
    """One image and what is to be found in it; coordinates are in its pixels, as stored.

    Attributes:
        file: The image.
        image_id: COCO's number of it.
        size: Width and height that the annotations are for; None if they do not say it.
        boxes: Left, top, right and bottom of each object.
        classes: Its class, from 0 on in the order of COCO's categories.
        crowd: Whether it is a crowd, which nothing must find.
        segmentations: As the file has them.
        areas: Of each object, in pixels; where the file has none, that of the box.
    """

    file: Path
    image_id: int
    size: tuple[int, int] | None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    segmentations: list[Any] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Coco:
    """A file of annotations.

    Attributes:
        images: By ascending id, with objects or without.
        categories: Id and name of each class, in the order of the classes.
    """

    images: tuple[CocoImage, ...]
    categories: tuple[tuple[int, str], ...]


def find_coco(
    directory: str | Path, annotations: str | None, images: str | None
) -> tuple[Path, Path]:
    """The file of annotations, and the folder of the images.

    Args:
        directory: Where both are.
        annotations: The file, from there; None takes the only one in ``annotations``, or else in
            ``directory``, if several are there the only ``instances_*.json``.
        images: The folder, from there; None takes what the file is called after, as ``val2017`` of
            ``instances_val2017.json``, or ``images``, or else ``directory``.

    Raises:
        UsageError: No directory can have such a name.
        DataError: They are not there, or there are several.
    """
    check_input(directory)
    folder = Path(directory)
    if not folder.is_dir():
        raise DataError(
            f"The directory '{folder}' does not exist.",
            "Give the folder with COCO's annotations and images.",
        )
    file = folder / annotations if annotations else _only_annotations(folder)
    if images is not None:
        found = folder / images
        if not found.is_dir():
            raise DataError(f"The directory '{found}' does not exist.", "Check images=FOLDER.")
        return file, found
    named = file.stem.rpartition("_")[2]
    return file, next(folder / each for each in (named, *_FOLDERS) if (folder / each).is_dir())


def read_coco(file: Path, images: Path) -> Coco:
    """Reads and checks a file of annotations.

    Args:
        file: JSON.
        images: Where the images are.

    Raises:
        DataError: It is no such file, or names an image that is not there.
    """
    try:
        content = json.loads(read_input(file))
    except OSError as error:
        raise DataError(
            f"'{file}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    # What is no text of JSON, or nested deeper than Python goes.
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{file}' is no JSON.", "Copy it again.") from error
    lists = _lists(file, content)
    numbers, categories = _categories(file, lists["categories"])
    found: dict[int, CocoImage] = {}
    for number, entry in _entries(file, "images", lists["images"]):
        image = _image(file, images, number, entry)
        if image.image_id in found:
            raise _wrong(file, "images", number, f"has the id {image.image_id} again")
        found[image.image_id] = image
    if not found:
        raise DataError(f"'{file}' lists no image.", _REMEDY)
    for number, entry in _entries(file, "annotations", lists["annotations"]):
        _add(file, found, numbers, number, entry)
    return Coco(tuple(found[each] for each in sorted(found)), categories)


def boxes_of(image: CocoImage) -> NDArray[np.float64]:
    """Left, top, right and bottom of each object, ``(K, 4)``."""
    return np.array(image.boxes, np.float64).reshape(-1, 4)


def _only_annotations(folder: Path) -> Path:
    for place in (folder / "annotations", folder):
        found = sorted(place.glob("*.json"))
        instances = [each for each in found if each.name.startswith("instances_")]
        chosen = found if len(found) == 1 else instances
        if len(chosen) == 1:
            return chosen[0]
        if found:
            names = ", ".join(f"'{each.name}'" for each in found[:10])
            raise DataError(
                f"'{place}' has several files of annotations: {names}.",
                f"Say which one: coco:{folder},annotations={found[0].relative_to(folder)}",
            )
    raise DataError(f"'{folder}' has no file of annotations.", "Give annotations=FILE.json.")


def _lists(file: Path, content: object) -> dict[str, Sequence[Any]]:
    lists: dict[str, Sequence[Any]] = {}
    for name in ("images", "annotations", "categories"):
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, list):
            raise DataError(f"'{file}' has no list '{name}'.", _REMEDY)
        lists[name] = value
    return lists


def _entries(
    file: Path, name: str, entries: Sequence[Any]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise _wrong(file, name, number, "is no object")
        yield number, entry


def _categories(
    file: Path, entries: Sequence[Any]
) -> tuple[dict[int, int], tuple[tuple[int, str], ...]]:
    """The class of each category's id, and the categories by class."""
    names: dict[int, str] = {}
    for number, entry in _entries(file, "categories", entries):
        if not _is_integer(entry.get("id")) or entry["id"] in names:
            raise _wrong(file, "categories", number, "has no id of its own")
        names[entry["id"]] = str(entry.get("name", entry["id"]))
    ordered = tuple(sorted(names.items()))
    return {identifier: number for number, (identifier, _) in enumerate(ordered)}, ordered


def _image(file: Path, folder: Path, number: int, entry: Mapping[str, Any]) -> CocoImage:
    if not _is_integer(entry.get("id")) or not isinstance(entry.get("file_name"), str):
        raise _wrong(file, "images", number, "has no id or no file_name")
    path = folder / entry["file_name"]
    if not path.is_file():
        raise DataError(
            f"'{file}' names '{entry['file_name']}', which is no file in '{folder}'.",
            "Say where the images are, from the data's folder: add ',images=FOLDER'.",
        )
    width, height = entry.get("width"), entry.get("height")
    size = (width, height) if _is_integer(width) and _is_integer(height) else None
    return CocoImage(path, entry["id"], size)


def _add(
    file: Path,
    images: Mapping[int, CocoImage],
    numbers: Mapping[int, int],
    number: int,
    entry: Mapping[str, Any],
) -> None:
    """Adds an object to its image."""
    for name, known in (("image_id", images), ("category_id", numbers)):
        value = entry.get(name)
        if not _is_integer(value) or value not in known:
            lists = name.removesuffix("_id")
            what = f"has the {name} {value!r}, which is the id of no {lists} in the file"
            raise _wrong(file, "annotations", number, what)
    box = entry.get("bbox")
    if not _is_box(box):
        what = "has no bbox" if box is None else f"has the bbox {box!r}"
        raise _wrong(file, "annotations", number, f"{what}: {_BOX}")
    left, top, width, height = map(float, box)
    area = entry.get("area")
    area = width * height if area is None else area
    if not _is_number(area) or not 0 <= area < 2**62:
        raise _wrong(file, "annotations", number, f"has the area {area!r}")
    image = images[entry["image_id"]]
    image.boxes.append((left, top, left + width, top + height))
    image.classes.append(numbers[entry["category_id"]])
    image.crowd.append(bool(entry.get("iscrowd", 0)))
    image.areas.append(float(area))
    image.segmentations.append(entry.get("segmentation"))


def _is_integer(value: Any) -> TypeGuard[int]:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_box(value: Any) -> TypeGuard[list[float]]:  # noqa: ANN401
    """Whether it is left, top, width and height, neither below 0."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(map(_is_length, value))
        and min(value[2:]) >= 0
    )


def _is_length(value: Any) -> bool:  # noqa: ANN401
    return _is_number(value) and abs(value) < 2**31


def _is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong(file: Path, name: str, number: int, what: str) -> DataError:
    return DataError(f"Entry {number} of '{name}' in '{file}' {what}.", _REMEDY)
