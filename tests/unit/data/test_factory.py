from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trtqat.data.dataset import open_dataset
from trtqat.data.shapes import specs_from_data
from trtqat.errors import DataError, UsageError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("x", (-1, 2))
MASK = TensorSpec("mask", (-1, 1), "int64")

HEADER = "import numpy as np\nfrom types import SimpleNamespace\n"


def write(directory: Path, body: str) -> str:
    path = directory / "data.py"
    path.write_text(HEADER + body)
    return f"{path}:make"


def test_indexable_samples(tmp_path: Path) -> None:
    spec = write(
        tmp_path, "def make():\n    return [(np.array([i, -i], np.float64), i) for i in range(5)]\n"
    )
    dataset = open_dataset(spec, [INPUT])
    assert len(dataset) == 5
    assert dataset.name == spec
    batch = dataset.batch(2, 5)
    np.testing.assert_array_equal(batch.inputs["x"], [[2, -2], [3, -3], [4, -4]])
    assert batch.inputs["x"].dtype == np.float32
    assert isinstance(batch.labels, np.ndarray)
    assert batch.labels.tolist() == [2, 3, 4]


def test_several_inputs_without_labels(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "def make():\n"
        "    return [({'mask': np.array([i]), 'x': np.zeros(2)}, None) for i in range(3)]\n",
    )
    batch = open_dataset(spec, [INPUT, MASK], limit=2).batch(0, 2)
    assert batch.labels is None
    np.testing.assert_array_equal(batch.inputs["mask"], [[0], [1]])


def test_an_object_with_batches(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "from trtqat.data.dataset import Batch\n"
        "class Mine:\n"
        "    name = 'mine'\n"
        "    def __len__(self):\n        return 7\n"
        "    def batch(self, start, stop):\n"
        "        index = np.arange(start, stop)\n"
        "        return Batch({'x': np.stack([index, index], 1) * 0.5}, index)\n"
        "make = Mine\n",
    )
    batch = open_dataset(spec, [INPUT]).batch(5, 7)
    np.testing.assert_array_equal(batch.inputs["x"], [[2.5, 2.5], [3, 3]])
    assert isinstance(batch.labels, np.ndarray)
    assert batch.labels.tolist() == [5, 6]


@pytest.mark.parametrize("by", ["batch", "sample"])
def test_memory_that_is_used_again(tmp_path: Path, by: str) -> None:
    """A reader that writes each batch, or each sample, into the same arrays."""
    spec = write(
        tmp_path,
        "from trtqat.data.dataset import Batch\n"
        "class Mine:\n"
        "    x, boxes = np.zeros((8, 2), np.float32), np.zeros((8, 1, 4))\n"
        "    def __len__(self):\n        return 8\n"
        "    def write(self, at, index):\n"
        "        self.x[at], self.boxes[at] = index, [0, 0, index, index]\n"
        "        return {'boxes': self.boxes[at], 'classes': np.array([0])}\n"
        f"    def {'batch' if by == 'batch' else 'unused'}(self, start, stop):\n"
        "        labels = [self.write(at, at + start) for at in range(stop - start)]\n"
        "        return Batch({'x': self.x[: stop - start]}, tuple(labels))\n"
        "    def __getitem__(self, index):\n"
        "        label = self.write(0, index)\n"
        "        return self.x[0], label\n"
        "make = Mine\n",
    )
    dataset = open_dataset(spec, [INPUT])
    batches = [dataset.batch(start, start + 4) for start in (0, 4)]
    found = np.concatenate([each.inputs["x"] for each in batches])
    assert found[:, 0].tolist() == list(range(8))
    ends = [each["boxes"][0, 2] for batch in batches for each in batch.labels or ()]
    assert ends == list(range(8))


def test_texts_of_numpy_stay_texts(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "def make():\n    return [(np.zeros(2), text) for text in np.array(['a', 'bc'])]\n",
    )
    assert open_dataset(spec, [INPUT]).batch(0, 2).labels == ("a", "bc")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make():\n    raise ValueError('no disk')\n", "make raised ValueError.*no disk"),
        ("def make(x):\n    pass\n", "make raised TypeError"),
        ("def make():\n    return 3\n", "returned a int"),
        ("def make():\n    return (x for x in [])\n", "returned a generator"),
        ("def make():\n    return []\n", "no sample"),
        ("def make():\n    return [np.zeros(2)]\n", r"Sample 0 of .* not \(inputs, label\)"),
        ("def make():\n    return [(np.zeros(3), 0)]\n", r"shape \(3,\), but input 'x'"),
        ("def make():\n    return [(np.zeros(2, int), 0)]\n", "int64, but input 'x'"),
        ("def make():\n    return [({'y': np.zeros(2)}, 0)]\n", "input 'x', only 'y'"),
        ("def make():\n    return {'a': 1}\n", "raised KeyError when it gave samples 0 to 0"),
    ],
)
def test_errors_name_file_and_function(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(write(tmp_path, body), [INPUT])
    assert "data.py:make" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make():\n    pass\n", "returned nothing"),
        ("def make():\n    return []\n", "returned no sample"),
        ("def make():\n    return (x for x in [])\n", "returned a generator"),
        (
            "class Loader:\n    dataset = []\n    def __len__(self):\n        return 1\n"
            "make = Loader\n",
            "returned an? Loader.*Return its dataset alone",
        ),
        ("def make():\n    return [np.zeros((3, 2))]\n", r"Sample 0 of .* not \(inputs, label\)"),
        ("def make():\n    return [{'x': np.zeros(2)}]\n", r"Sample 0 of .* not \(inputs, label\)"),
    ],
)
def test_the_same_is_said_where_the_data_tells_the_shapes(
    tmp_path: Path, body: str, message: str
) -> None:
    spec = write(tmp_path, body)
    for read in (
        lambda: specs_from_data(spec, {"x": True}),
        lambda: open_dataset(spec, [INPUT]),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read()
        assert "data.py:make" in str(caught.value)


def test_tensors_with_a_gradient_and_in_bfloat16(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "import torch\n"
        "def make():\n"
        "    numbers = torch.full((2,), 1.5)\n"
        "    return [(numbers.bfloat16(), 0), (numbers.requires_grad_(), 1)]\n",
    )
    assert [str(each) for each in specs_from_data(spec, {"x": True})] == [str(INPUT)]
    batch = open_dataset(spec, [INPUT]).batch(0, 2)
    np.testing.assert_array_equal(batch.inputs["x"], np.full((2, 2), 1.5, np.float32))


def test_one_array_for_two_inputs(tmp_path: Path) -> None:
    spec = write(tmp_path, "def make():\n    return [(np.zeros(2), 0)]\n")
    with pytest.raises(DataError, match="one array, but the model has the inputs 'x', 'mask'"):
        open_dataset(spec, [INPUT, MASK])


def test_some_labels_missing(tmp_path: Path) -> None:
    spec = write(tmp_path, "def make():\n    return [(np.zeros(2), 0), (np.zeros(2), None)]\n")
    dataset = open_dataset(spec, [INPUT])
    with pytest.raises(DataError, match="only some of the samples 0 to 1"):
        dataset.batch(0, 2)


def test_a_batch_of_another_length(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        "class Padded:\n"
        "    def __len__(self):\n        return 3\n"
        "    def batch(self, start, stop):\n"
        "        return SimpleNamespace(inputs={'x': np.zeros((2, 2))}, labels=None)\n"
        "make = Padded\n",
    )
    with pytest.raises(DataError, match=r"shape \(2, 2\) .* where 1 samples were asked for"):
        open_dataset(spec, [INPUT])


def test_missing_function(tmp_path: Path) -> None:
    write(tmp_path, "def make():\n    pass\n")
    with pytest.raises(UsageError, match="There is no 'other'"):
        open_dataset(f"{tmp_path / 'data.py'}:other", [INPUT])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("float('nan')", r"holds nan in sample 3 for input 'x' \(1 of 3 samples from 2 on"),
        ("float('-inf')", "holds -inf in sample 3"),
    ],
)
def test_what_is_no_number_is_named(tmp_path: Path, value: str, message: str) -> None:
    spec = write(
        tmp_path,
        f"def make():\n    return [([1.0, {value} if i == 3 else i / 2], i) for i in range(5)]\n",
    )
    dataset = open_dataset(spec, [INPUT])
    assert len(dataset.batch(0, 3)) == 3
    with pytest.raises(DataError, match=message):
        dataset.batch(2, 5)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("2**63", "9223372036854775808 at sample 0, which is no integer of 64 bits"),
        ("2**70", "at sample 0, which is no integer of 64 bits"),
        ("float('nan')", "nan at sample 0"),
        ("{1, 2}", "object of shape"),
    ],
)
def test_labels_of_no_class(tmp_path: Path, label: str, message: str) -> None:
    spec = write(tmp_path, f"def make():\n    return [([1.0, 2.0], {label})] * 3\n")
    with pytest.raises(DataError, match=message):
        open_dataset(spec, [INPUT])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[0, 1, 2, -1]", "-1 at sample 3"),
        ("[0.5, 1.5, 2.5, float('nan')]", "nan at sample 3"),
        ("['a', 'b', 'c', {}]", "a dict at sample 3"),
        ("[{'boxes': [[2, 1, side, 2]], 'classes': [0]} for side in (3, 3, 3, 1)]", "at sample 3"),
    ],
)
def test_a_label_is_named_by_its_sample_not_by_its_place(
    tmp_path: Path, labels: str, message: str
) -> None:
    spec = write(tmp_path, f"def make():\n    return [([1.0, 2.0], each) for each in {labels}]\n")
    dataset = open_dataset(spec, [INPUT])
    with pytest.raises(DataError, match=message):
        dataset.batch(2, 4)
