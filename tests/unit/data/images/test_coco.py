from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.coco_files import HEIGHT, WIDTH, entry, write_coco
from tests.support.image_files import drawn, write_image
from trtqat.data.dataset import files_of, open_dataset
from trtqat.data.images.coco import CocoDetection
from trtqat.data.images.coco_file import CocoImage
from trtqat.data.images.coco_masks import class_map
from trtqat.data.images.placing import Placement
from trtqat.data.shapes import specs_from_data
from trtqat.errors import DataError, MissingError, UsageError
from trtqat.tensors import TensorSpec

INPUT = TensorSpec("x", (-1, 3, HEIGHT, WIDTH), "uint8")
OPEN = TensorSpec("x", (-1, 3, -1, -1), "uint8")


def labels_of(folder: Path, options: str = "", spec: TensorSpec = INPUT) -> Any:
    dataset = open_dataset(f"coco:{folder}{options}", [spec])
    return dataset.batch(0, len(dataset)).labels


def test_images_by_id_with_their_objects(tmp_path: Path) -> None:
    boxes: list[list[float]] = [[1, 2, 3, 4], [0.5, 0, 8, 8.25]]
    write_coco(tmp_path, [entry(10, 7, boxes[0]), entry(8, 3, [0, 0, 1, 1], iscrowd=1)])
    annotated = json.loads((tmp_path / "annotations/instances_val.json").read_text())
    annotated["annotations"].append(entry(10, 3, boxes[1]))
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(annotated))
    dataset = open_dataset(f"coco:{tmp_path}", [INPUT])
    assert isinstance(dataset, CocoDetection)
    assert (len(dataset), dataset.name) == (3, f"coco:{tmp_path}")
    assert dataset.categories == ((3, "car"), (7, "tree"))
    batch = dataset.batch(0, 3)
    # 8, 9 and 10, which were written last to first.
    for index, pixels in enumerate(batch.inputs["x"]):
        np.testing.assert_array_equal(pixels, drawn(2 - index, HEIGHT, WIDTH).transpose(2, 0, 1))
    labels: Any = batch.labels
    assert [each["image_id"].item() for each in labels] == [8, 9, 10]
    assert labels[0]["crowd"].tolist() == [1]
    assert (labels[1]["boxes"].shape, labels[1]["classes"].shape) == ((0, 4), (0,))
    assert labels[2]["boxes"].tolist() == [[1, 2, 4, 6], [0.5, 0, 8.5, 8.25]]
    assert labels[2]["classes"].tolist() == [1, 0]
    assert labels[2]["crowd"].tolist() == [0, 0]
    dtypes = {name: array.dtype for name, array in labels[2].items()}
    assert dtypes == {
        **dict.fromkeys(("boxes", "area"), "float64"),
        **dict.fromkeys(("classes", "crowd", "image_id"), "int64"),
    }


@pytest.mark.parametrize(
    ("options", "boxes", "areas"),
    [
        ("", [[8, 2, 16, 6], [24, 20, 32, 24]], [20, 32]),
        (",resize=48x32", [[8, 4, 16, 12], [24, 40, 32, 48]], [40, 64]),
        # The shorter side twice as long.
        (",resize=48", [[16, 4, 32, 12], [48, 40, 64, 48]], [80, 128]),
        # By 4 on each side: one box is cut by half, and one is gone.
        (",crop=16x24", [[4, 0, 12, 2]], [10]),
        # By half, with 4 rows above.
        (",letterbox=20x16", [[4, 5, 8, 7], [12, 14, 16, 16]], [5, 8]),
    ],
)
def test_boxes_go_where_the_pixels_go(
    tmp_path: Path, options: str, boxes: Any, areas: list[float]
) -> None:
    # Of the second one the file says no area, so its box has it.
    objects = [entry(10, 3, [8, 2, 8, 4], area=20), entry(10, 7, [24, 20, 8, 4])]
    write_coco(tmp_path, objects, count=1)
    (label,) = labels_of(tmp_path, options, OPEN)
    np.testing.assert_allclose(label["boxes"], boxes)
    np.testing.assert_allclose(label["area"], areas)
    assert len(label["classes"]) == len(boxes)


@pytest.mark.parametrize("options", ["", ",resize=31x45", ",resize=20,crop=12", ",letterbox=40x40"])
def test_a_bright_rectangle_is_in_its_box(tmp_path: Path, options: str) -> None:
    write_coco(tmp_path, [entry(10, 3, [8, 6, 16, 12])], count=1)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[6:18, 8:24] = 255
    write_image(tmp_path / "val" / "0.png", pixels)
    fill = ",fill=0" if "letterbox" in options else ""
    dataset = open_dataset(f"coco:{tmp_path}{options}{fill}", [OPEN])
    batch = dataset.batch(0, 1)
    labels: Any = batch.labels
    found = np.argwhere(batch.inputs["x"][0, 0] > 127)
    left, top, right, bottom = labels[0]["boxes"][0]
    np.testing.assert_allclose([top, left], found.min(axis=0), atol=1)
    np.testing.assert_allclose([bottom, right], found.max(axis=0) + 1, atol=1)


def test_the_class_of_each_pixel(tmp_path: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 20, 5, HEIGHT * 12 - 5]}
    write_coco(
        tmp_path,
        [
            # The smaller one is on top, whatever the order.
            entry(10, 7, [4, 4, 2, 3]),
            entry(10, 3, [2, 2, 10, 8]),
            entry(10, 3, [0, 0, 1, 5], iscrowd=1, segmentation=runs),
        ],
        count=2,
    )
    found = labels_of(tmp_path, ",masks")
    wanted = np.zeros((2, HEIGHT, WIDTH), np.int64)
    wanted[1, 2:10, 2:12] = 1
    wanted[1, 4:7, 4:6] = 2
    wanted[1, :5, 20] = 255
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.int64
    larger = labels_of(tmp_path, ",masks,resize=48x64", OPEN)
    assert larger.shape == (2, 48, 64)
    np.testing.assert_array_equal(larger[1, :, 40] == 255, np.arange(48) < 10)


def winds(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    """Whether a ray to the left of a point crosses a polygon an odd number of times."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 <= y) != (y2 <= y):
            crossings += x1 + (y - y1) * ((x2 - x1) / (y2 - y1)) <= x
    return crossings % 2 == 1


CORNER = st.tuples(st.floats(-3, 15, width=16), st.floats(-3, 12, width=16))


@given(corners=st.lists(CORNER, min_size=3, max_size=7))
def test_an_object_has_the_pixels_whose_middle_it_holds(
    corners: list[tuple[float, float]],
) -> None:
    polygon = [each for corner in corners for each in corner]
    image = CocoImage(Path("x.png"), 1, None, [(0, 0, 1, 1)], [4], [False], [[polygon]])
    found = class_map(image, Placement((12, 9), (12, 9), (12, 9), 0, 0))
    wanted = [[5 * winds(x + 0.5, y + 0.5, corners) for x in range(12)] for y in range(9)]
    np.testing.assert_array_equal(found, wanted)


def test_other_names(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [])
    path.rename(tmp_path / "mine.json")
    (tmp_path / "val").rename(tmp_path / "pictures")
    assert len(labels_of(tmp_path, ",annotations=mine.json,images=pictures")) == 3
    # The only file, and not a folder that is called after it.
    with pytest.raises(DataError, match=r"names '0\.png', which is no file"):
        labels_of(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "images")
    assert len(labels_of(tmp_path)) == 3


def test_files_and_shapes(tmp_path: Path) -> None:
    write_coco(tmp_path, [])
    names = [each.name for each in files_of(f"coco:{tmp_path},crop=8")]
    assert names == ["instances_val.json", "2.png", "1.png", "0.png"]
    (found,) = specs_from_data(f"coco:{tmp_path},resize=12", {"x": True})
    assert found.shape == (-1, 3, 12, 16)


def test_several_files_of_annotations(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [])
    (tmp_path / "annotations" / "captions_val.json").write_text("{}")
    assert len(labels_of(tmp_path)) == 3
    (tmp_path / "annotations" / "instances_train.json").write_text(path.read_text())
    with pytest.raises(DataError, match="several files of annotations") as raised:
        labels_of(tmp_path)
    assert "annotations=annotations/" in raised.value.remedy


def test_broken_images_are_left_out(tmp_path: Path) -> None:
    write_coco(tmp_path, [entry(8, 3, [0, 0, 1, 1])])
    (tmp_path / "val" / "1.png").write_bytes(b"nothing")
    dataset = open_dataset(f"coco:{tmp_path},skip-broken", [INPUT])
    assert dataset.name.endswith("(1 broken left out)")
    labels: Any = dataset.batch(0, 2).labels
    assert [each["image_id"].item() for each in labels] == [8, 10]


def test_the_shape_is_that_of_the_first_whole_image(tmp_path: Path) -> None:
    write_coco(tmp_path, [])
    shape = specs_from_data(f"coco:{tmp_path}", {"x": True})
    (tmp_path / "val" / "2.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be decoded"):
        specs_from_data(f"coco:{tmp_path}", {"x": True})
    assert specs_from_data(f"coco:{tmp_path},skip-broken", {"x": True}) == shape
    for path in (tmp_path / "val").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="has no image that can be decoded"):
        specs_from_data(f"coco:{tmp_path},skip-broken", {"x": True})


def test_reading_into_arrays_that_are_there(tmp_path: Path) -> None:
    write_coco(tmp_path, [])
    dataset = open_dataset(f"coco:{tmp_path}", [INPUT])
    assert isinstance(dataset, CocoDetection)
    array = np.zeros((2, 3, HEIGHT, WIDTH), np.uint8)
    batch = dataset.read_into(1, 3, {"x": array})
    assert np.shares_memory(batch.inputs["x"], array)
    np.testing.assert_array_equal(array[1], drawn(0, HEIGHT, WIDTH).transpose(2, 0, 1))
    labels: Any = batch.labels
    assert len(labels) == 2


def test_an_image_of_another_size_than_its_annotations(tmp_path: Path) -> None:
    write_coco(tmp_path, [])
    write_image(tmp_path / "val" / "0.png", drawn(0, WIDTH, HEIGHT), orientation=6)
    with pytest.raises(DataError, match="has 24x32 pixels, but its annotations are for 32x24"):
        labels_of(tmp_path, ",crop=8", OPEN)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": []}, "lists no image"),
        ({"images": None}, "has no list 'images'"),
        ({"annotations": {}}, "has no list 'annotations'"),
        ({"images": [1]}, "Entry 0 of 'images' .* is no object"),
        ({"images": [{"id": 1}]}, "has no id or no file_name"),
        ({"images": [{"id": True, "file_name": "0.png"}]}, "has no id or no file_name"),
        ({"images": [{"id": 1, "file_name": "0.png"}] * 2}, "Entry 1 .* has the id 1 again"),
        ({"images": [{"id": 1, "file_name": "x.png"}]}, "names 'x.png', which is no file"),
        ({"categories": [{"id": "car"}]}, "Entry 0 of 'categories' .* no id of its own"),
        ({"categories": [{"id": 1}, {"id": 1}]}, "Entry 1 of 'categories'"),
        ({"annotations": [entry(77, 3, [0, 0, 1, 1])]}, "image_id 77, which is the id of no image"),
        (
            {"annotations": [entry(10, 4, [0, 0, 1, 1])]},
            "category_id 4, .* of no category",
        ),
        ({"annotations": [{**entry(10, 3, [0, 0, 1, 1]), "image_id": [1]}]}, "has the image_id"),
        ({"annotations": [entry(10, 3, [0, 0, -1, 1])]}, "width and height, neither below 0"),
        ({"annotations": [{**entry(10, 3, [0] * 4), "bbox": "0123"}]}, "has the bbox '0123'"),
        ({"annotations": [{"image_id": 10, "category_id": 3}]}, "has no bbox: it is left, top"),
        ({"annotations": [{**entry(10, 3, [0] * 4), "bbox": [0, 0, 1, "1"]}]}, "has the bbox"),
        ({"annotations": [{**entry(10, 3, [0] * 4), "bbox": [0, 0, 1, 1e99]}]}, "has the bbox"),
        ({"annotations": [entry(10, 3, [0, 0, 1, 1], area=-1)]}, "has the area -1"),
        ({"annotations": [entry(10, 3, [0, 0, 1, 1], area="2")]}, "has the area '2'"),
    ],
)
def test_what_is_no_file_of_annotations(tmp_path: Path, changed: Any, message: str) -> None:
    write_coco(tmp_path, [], changed=changed)
    with pytest.raises(DataError, match=message) as raised:
        labels_of(tmp_path)
    assert raised.value.remedy


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"[]", b"1"])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    write_coco(tmp_path, []).write_bytes(content)
    with pytest.raises(DataError, match=r"is no JSON|has no list 'images'"):
        labels_of(tmp_path)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [[0, 0, 1]],
        [[0, 0, 1, 1, "2", 2]],
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2], "counts": [4]},
        {"counts": [4]},
    ],
)
def test_masks_that_are_none(tmp_path: Path, segmentation: Any) -> None:
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=segmentation)])
    assert len(labels_of(tmp_path)) == 3
    with pytest.raises(DataError, match="no segmentation that can be drawn"):
        labels_of(tmp_path, ",masks")


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    runs = {"size": [2, 2], "counts": [1, 3]}
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=runs)])
    with pytest.raises(DataError, match=r"A mask of .* is of 2x2, the image of 24x32"):
        labels_of(tmp_path, ",masks")


def test_packed_masks_need_pycocotools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {"size": [HEIGHT, WIDTH], "counts": "0l0"}
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=packed)])
    for name in ("pycocotools", "pycocotools.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match=r"needs pycocotools\.mask") as raised:
        labels_of(tmp_path, ",masks")
    assert ".[coco]" in raised.value.remedy


def test_packed_masks_that_are_damaged(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    packed = {"size": [HEIGHT, WIDTH], "counts": "bad"}
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=packed)])
    with pytest.raises(DataError, match=r"packed run lengths of a mask of '.*' are none"):
        labels_of(tmp_path, ",masks")


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ("0192", "cover 13 pixels of 24x32"),
        ("", "cover 0 pixels of 24x32"),
        ("zzzz", "are damaged"),
        ("0l", "are damaged"),
        ("0O", "are damaged"),
    ],
)
def test_packed_masks_that_do_not_cover_the_image(tmp_path: Path, counts: str, why: str) -> None:
    pytest.importorskip("pycocotools")
    packed = {"size": [HEIGHT, WIDTH], "counts": counts}
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=packed)])
    with pytest.raises(DataError, match=rf"run lengths of a mask of '.*' are none: they {why}"):
        labels_of(tmp_path, ",masks")


# pycocotools makes arrays in a way that NumPy 2 takes with a warning.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_packed_masks_are_drawn(tmp_path: Path, share: float) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = (np.random.default_rng(0).random((HEIGHT, WIDTH)) < share).astype(np.uint8)
    packed = coco.encode(np.asfortranarray(mask))
    packed["counts"] = packed["counts"].decode()
    write_coco(tmp_path, [entry(10, 3, [0, 0, 1, 1], segmentation=packed)], count=1)
    np.testing.assert_array_equal(labels_of(tmp_path, ",masks")[0], mask)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        labels_of(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no file of annotations"):
        labels_of(tmp_path)
    write_coco(tmp_path, [])
    with pytest.raises(DataError, match="does not exist"):
        labels_of(tmp_path, ",images=nowhere")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        labels_of(tmp_path, ",annotations=nowhere.json")
    with pytest.raises(UsageError, match="no option"):
        labels_of(tmp_path, ",mask")
