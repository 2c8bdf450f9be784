"""The functions that the page of the room shows are data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trtqat.data
from trtqat.data.dataset import open_dataset
from trtqat.tensors import TensorSpec

PAGE = Path(trtqat.data.__file__).with_name("README.md")
EXAMPLES = dict(
    re.findall(
        r"```python\n# file\.py:(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
)
SHAPES = {"classes": (3, 32, 32), "regions": (3, 32, 32), "boxes": (3, 64, 64)}


def test_every_kind_is_shown() -> None:
    assert set(EXAMPLES) == set(SHAPES)


def made(name: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES[name], "file.py", "exec"), names)
    return names[name]()


def test_classes(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(EXAMPLES["classes"])
    spec = TensorSpec("images", (-1, 3, 32, 32))
    dataset = open_dataset(f"{tmp_path / 'file.py'}:classes", [spec])
    assert len(dataset) == 100
    batch: Any = dataset.batch(95, 100)
    assert batch.inputs["images"].shape == (5, 3, 32, 32)
    assert batch.labels.tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("name", ["regions", "boxes"])
def test_inputs_of_batches(name: str) -> None:
    dataset = made(name)
    assert len(dataset) == 100
    batch = dataset.batch(95, 100)
    assert {each: array.shape for each, array in batch.inputs.items()} == {
        "images": (5, *SHAPES[name])
    }


def test_labels_of_regions() -> None:
    labels = made("regions").batch(3, 5).labels
    assert labels.shape == (2, 32, 32)
    assert labels.dtype.kind == "i"


def test_labels_of_boxes() -> None:
    batch = made("boxes").batch(3, 5)
    assert len(batch.labels) == 2
    for image, label in zip(batch.inputs["images"], batch.labels, strict=True):
        assert label["classes"].shape == (len(label["boxes"]),)
        ((left, top, right, bottom),) = label["boxes"].astype(int)
        inside = np.zeros((64, 64), bool)
        inside[top:bottom, left:right] = True
        np.testing.assert_array_equal(image[0] == 1, inside)
