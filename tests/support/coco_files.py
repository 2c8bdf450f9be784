"""Small data sets in COCO's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.image_files import drawn, write_image

HEIGHT, WIDTH = 24, 32


def entry(image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    """An object; its segmentation is the box unless another one is given."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    around = [left, top, right, top, right, bottom, left, bottom]
    own = {"image_id": image, "category_id": category, "bbox": box, "segmentation": [around]}
    return {**own, "iscrowd": 0, **more}


def write_coco(
    folder: Path,
    annotations: list[dict[str, Any]],
    *,
    count: int = 3,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """Writes images 10, 9, … and a file that names them; returns it.

    Args:
        folder: Where ``annotations`` and ``val`` are made.
        annotations: Objects.
        count: Images.
        changed: Lists instead of those that the file would have.
    """
    images = []
    for index in range(count):
        name = f"{index}.png"
        write_image(folder / "val" / name, drawn(index, HEIGHT, WIDTH))
        images.append({"id": 10 - index, "file_name": name, "height": HEIGHT, "width": WIDTH})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "tree"}, {"id": 3, "name": "car"}],
        **(changed or {}),
    }
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
