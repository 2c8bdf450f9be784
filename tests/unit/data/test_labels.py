"""Labels that are no class numbers: masks, images, texts and boxes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.data.dataset import open_dataset
from trtqat.data.labels import as_labels, check_labels, class_numbers, label_bytes
from trtqat.errors import DataError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("x", (-1, 4))
X = np.ones((3, 4), np.float32)
ONES = np.ones((3, 4))


def from_factory(folder: Path, body: str) -> Any:
    path = folder / "data.py"
    path.write_text(f"import numpy as np\n\n{body}")
    return open_dataset(f"{path}:make", [INPUT]).batch(0, 3).labels


def from_npz(folder: Path, **arrays: Any) -> Any:
    np.savez(folder / "d.npz", x=X, **arrays)
    return open_dataset(f"npz:{folder / 'd.npz'}", [INPUT]).batch(0, 3).labels


@pytest.mark.parametrize(
    "labels", [np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.zeros((3, 10), int), X[:, 0]]
)
def test_arrays_of_any_shape(tmp_path: Path, labels: Any) -> None:
    found = from_npz(tmp_path, labels=labels)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == labels.dtype
    body = f"Y = np.array({labels.tolist()}, '{labels.dtype}')\n\n"
    body += "def make():\n    return list(zip(np.ones((3, 4), 'f4'), Y))\n"
    np.testing.assert_array_equal(from_factory(tmp_path, body), labels)


def test_texts(tmp_path: Path) -> None:
    assert from_npz(tmp_path, labels=np.array(["a", "bc", ""])) == ("a", "bc", "")
    body = "def make():\n    return [(np.ones(4), each) for each in ('a', 'bc', '')]\n"
    assert from_factory(tmp_path, body) == ("a", "bc", "")


def test_boxes(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 4], [0, 0, 1, 1]], np.float32)
    classes = np.array([4, 5, 6])
    in_file = from_npz(
        tmp_path,
        labels_boxes=boxes,
        labels_classes=classes,
        labels_counts=[2, 0, 1],
        labels_crowd=[0, 1, 0],
        labels_area=[2, 0.5, 9],
    )
    made = from_factory(
        tmp_path,
        f"""BOXES, CLASSES, CROWD = {boxes.tolist()}, {classes.tolist()}, [0, 1, 0]
AREA = [2, 0.5, 9]


def make():
    parts = [slice(0, 2), slice(2, 2), slice(2, 3)]
    return [
        (
            np.ones(4),
            {{"boxes": BOXES[i], "labels": CLASSES[i], "iscrowd": CROWD[i], "area": AREA[i]}},
        )
        for i in parts
    ]
""",
    )
    for labels in (in_file, made):
        assert [each["boxes"].shape for each in labels] == [(2, 4), (0, 4), (1, 4)]
        np.testing.assert_array_equal(np.concatenate([each["boxes"] for each in labels]), boxes)
        np.testing.assert_array_equal(np.concatenate([each["classes"] for each in labels]), classes)
        assert np.concatenate([each["crowd"] for each in labels]).tolist() == [0, 1, 0]
        assert np.concatenate([each["area"] for each in labels]).tolist() == [2, 0.5, 9]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels_boxes": np.ones((3, 4)), "labels_classes": [1, 2, 3]}, "no 'labels_counts'"),
        ({"labels_boxes": np.ones((3, 4)), "labels_counts": [1, 1, 1]}, "no 'labels_classes'"),
        ({"labels": [1, 2, 3], "labels_counts": [1, 1, 1]}, "both 'labels' and 'labels_counts'"),
        (
            {"labels_boxes": np.ones((3, 4)), "labels_classes": [1, 2], "labels_counts": [3, 0, 0]},
            r"'labels_classes' of .* shape \(2,\), but 'labels_counts' counts 3",
        ),
        (
            {
                "labels_boxes": np.ones((3, 4)),
                "labels_classes": [1, 2, 3],
                "labels_counts": [4, -1, 0],
            },
            "for 3 samples",
        ),
        (
            {
                "labels_boxes": np.ones((3, 5)),
                "labels_classes": [1, 2, 3],
                "labels_counts": [3, 0, 0],
            },
            r"at sample 0 have boxes of shape \(3, 5\)",
        ),
        (
            {
                "labels_boxes": [[5.0, 5, 2, 2]],
                "labels_classes": [1],
                "labels_counts": [0, 1, 0],
            },
            "at sample 1 have the box .* whose end lies before its begin",
        ),
        (
            {"labels_boxes": np.ones((1, 4)), "labels_classes": [0.5], "labels_counts": [0, 1, 0]},
            "classes of float64",
        ),
        (
            {
                "labels_boxes": np.ones((1, 4)),
                "labels_classes": [1],
                "labels_counts": [0, 1, 0],
                "labels_area": [-1.0],
            },
            r"at sample 1 have areas of shape \(1,\) for 1 boxes, or one that is none",
        ),
    ],
)
def test_arrays_of_boxes_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        from_npz(tmp_path, **arrays)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("['a', {}, 'b']", "a dict at sample 1, not a text as the first one"),
        ("['a', 1, 'b']", "a int at sample 1, not a text"),
        ("[np.ones(2), np.ones(3), np.array(['x'])]", "something else than numbers at sample 2"),
        (
            "[{'boxes': []}, {'boxes': [[1, 2, 3]]}, {}]",
            r"at sample 1 have boxes of shape \(1, 3\)",
        ),
    ],
)
def test_objects_that_are_no_labels(tmp_path: Path, labels: str, message: str) -> None:
    body = f"def make():\n    return [(np.ones(4), each) for each in {labels}]\n"
    with pytest.raises(DataError, match=message):
        from_factory(tmp_path, body)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 10), int), r"are int64 of shape \(N, 10\)"),
        (np.zeros(3), r"are float64 of shape \(N,\)"),
        (np.zeros(3, bool), "are bool"),
        (("cat", "dog", "cat"), "are texts"),
        (({"boxes": np.ones((0, 4))},) * 3, "are dicts with 'boxes'"),
    ],
)
def test_what_is_no_class_number(labels: Any, message: str) -> None:
    checked = check_labels("The labels", labels, 3)
    with pytest.raises(DataError, match=f"must be one integer per sample, but {message}"):
        class_numbers("The labels", checked)


OBJECTS = st.lists(
    st.fixed_dictionaries({"a": st.lists(st.integers(0, 9), max_size=3), "b": st.just([1.5])}),
    min_size=1,
    max_size=6,
)
TEXTS = st.lists(st.text("ab", max_size=3), min_size=1, max_size=6)
NUMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@given(st.one_of(OBJECTS, TEXTS, NUMBERS), st.integers(1, 6))
def test_the_hash_of_labels_knows_no_batches(labels: list[Any], size: int) -> None:
    def digest(parts: list[list[Any]]) -> str:
        found = hashlib.sha256()
        for part in parts:
            for piece in label_bytes(check_labels("They", as_labels(part), len(part))):
                found.update(piece)
        return found.hexdigest()

    batches = [labels[at : at + size] for at in range(0, len(labels), size)]
    assert digest([labels]) == digest(batches)
    assert digest([labels]) != digest([labels + labels[-1:]])
