"""COCO's mean average precision: by its definition, and as pycocotools computes it."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.detection_cases import OVERLAPS, as_outputs, make_case, naive_map
from trtqat.errors import DataError
from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.detection import MeanAveragePrecision
from trtqat.evaluation.metrics.detections import Detections
from trtqat.evaluation.metrics.matching import AREAS
from trtqat.evaluation.metrics.metric import PerSample, joined
from trtqat.evaluation.metrics.named import parse_metric
from trtqat.evaluation.metrics.packing import pack_samples, unpack_samples

RECORDED = Path(__file__).parents[3] / "data" / "coco_map.json"


def value_of(found: PerSample, metric: MeanAveragePrecision | None = None) -> float:
    metric = metric or MeanAveragePrecision()
    return float(metric.values(found, np.ones((1, len(found))))[0])


@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([None, 50, 75]))
def test_it_is_that_of_the_definition(seed: int, images: int, overlap: int | None) -> None:
    found, labels = make_case(seed, images)
    metric = MeanAveragePrecision(overlap=overlap)
    kept = metric.per_sample(as_outputs(found), labels)
    overlaps = OVERLAPS if overlap is None else [overlap / 100]
    expected = naive_map(found, labels, overlaps)
    assert value_of(kept, metric) == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_a_weight_is_how_often_an_image_is_there(seed: int, images: int) -> None:
    # Of equal scores those of one image stand together here, and those of one copy there.
    found, labels = make_case(seed, images, with_crowds=True, ties=False)
    times = np.random.default_rng(seed).integers(0, 4, images)
    if not times.any():
        times[0] = 1
    metric = MeanAveragePrecision()
    kept = metric.per_sample(as_outputs(found), labels)
    drawn = [index for index, count in enumerate(times) for _ in range(count)]
    again = metric.per_sample(
        as_outputs([found[index] for index in drawn]), tuple(labels[index] for index in drawn)
    )
    weighted = metric.values(kept, times[None].astype(float))[0]
    assert weighted == pytest.approx(value_of(again), nan_ok=True)
    # And batch by batch, as it is written into a report and read again.
    parts = [metric.per_sample(as_outputs(found[i : i + 1]), labels[i : i + 1]) for i in drawn]
    read = unpack_samples(pack_samples(joined(parts)))
    assert value_of(read) == pytest.approx(value_of(again), nan_ok=True)


@pytest.mark.parametrize("case", json.loads(RECORDED.read_text()), ids=lambda case: case["seed"])
def test_it_is_what_pycocotools_found(case: dict[str, Any]) -> None:
    more = {name: case[name] for name in ("scale", "with_areas") if name in case}
    found, labels = make_case(case["seed"], case["images"], with_crowds=case["with_crowds"], **more)
    for name in ("map", "map50", "map75"):
        metric = parse_metric(name)
        assert isinstance(metric, MeanAveragePrecision)
        kept = metric.per_sample(as_outputs(found), labels)
        assert value_of(kept, metric) == pytest.approx(case[name], abs=1e-9)
    if more:
        kept = MeanAveragePrecision().per_sample(as_outputs(found), labels)
        wanted = {name: case[name] for name in AREAS}
        assert MeanAveragePrecision().parts(kept) == pytest.approx(wanted, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 8), st.booleans(), st.booleans())
def test_areas_are_those_of_pycocotools(
    seed: int, images: int, with_crowds: bool, with_areas: bool
) -> None:
    pytest.importorskip("pycocotools", reason="the cases that it recorded are compared always")
    found, labels = make_case(seed, images, with_crowds=with_crowds, scale=4, with_areas=with_areas)
    metric = MeanAveragePrecision()
    kept = metric.per_sample(as_outputs(found), labels)
    expected = by_pycocotools(found, labels)
    wanted = {name: expected[name] for name in AREAS if not math.isnan(expected[name])}
    assert metric.parts(kept) == pytest.approx(wanted, abs=1e-9)
    assert value_of(kept) == pytest.approx(expected["map"], abs=1e-9, nan_ok=True)
    # A record has the value alone.
    record = unpack_samples(pack_samples(metric.recorded(kept)))
    assert value_of(record) == pytest.approx(expected["map"], abs=1e-9, nan_ok=True)
    assert metric.parts(record) == {}


def test_a_box_on_the_border_is_of_both_areas() -> None:
    box = np.array([[0.0, 0, 32, 32]])
    found = Detections(box, np.array([0.9]), np.array([0]))
    metric = MeanAveragePrecision()
    label = {"boxes": box, "classes": np.array([0])}
    kept = metric.per_sample(as_outputs([found]), (label,))
    assert metric.parts(kept) == pytest.approx({"small": 100, "medium": 100})
    # What the label says of the object counts, and not its box.
    kept = metric.per_sample(as_outputs([found]), ({**label, "area": np.array([9217.0])},))
    assert metric.parts(kept) == pytest.approx({"large": 100})


@given(st.integers(0, 10**6), st.integers(1, 8), st.booleans())
def test_it_is_that_of_pycocotools(seed: int, images: int, with_crowds: bool) -> None:
    pytest.importorskip("pycocotools", reason="the cases that it recorded are compared always")
    found, labels = make_case(seed, images, with_crowds=with_crowds)
    kept = MeanAveragePrecision().per_sample(as_outputs(found), labels)
    expected = by_pycocotools(found, labels)["map"]
    assert value_of(kept) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def by_pycocotools(found: list[Detections], labels: tuple[dict[str, Any], ...]) -> dict[str, float]:
    """Its averages in percent, all and by area; NaN where no image has a box."""
    coco_type = importlib.import_module("pycocotools.coco").COCO
    evaluation_type = importlib.import_module("pycocotools.cocoeval").COCOeval

    def corner(box: Any) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    truth: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image, (each, label) in enumerate(zip(found, labels, strict=True), start=1):
        crowds = label.get("crowd", np.zeros(len(label["classes"]), int))
        sides = label["boxes"][:, 2:] - label["boxes"][:, :2]
        areas = label.get("area", sides.prod(axis=1))
        every = zip(label["boxes"], label["classes"], crowds, areas, strict=True)
        for box, name, crowd, area in every:
            xywh = corner(box)
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image,
                    "category_id": int(name) + 1,
                    "bbox": xywh,
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
        for box, score, name in zip(each.boxes, each.scores, each.classes, strict=True):
            answers.append(
                {
                    "image_id": image,
                    "category_id": int(name) + 1,
                    "bbox": corner(box),
                    "score": float(score),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_type()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(found) + 1)],
            "categories": [{"id": number} for number in range(1, 10)],
            "annotations": truth,
        }
        coco.createIndex()
        # It makes no result of nothing.
        results = coco.loadRes(answers) if answers else coco_type()
        evaluation = evaluation_type(coco, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # By threshold, recall, class, area and number of detections.
    by_area = evaluation.eval["precision"][..., 2]
    precision = by_area[..., 0]
    parts = {"map": precision, "map50": precision[:1], "map75": precision[5:6]}
    parts.update({name: by_area[..., place] for place, name in enumerate(AREAS, start=1)})
    return {
        name: 100 * float(part[part > -1].mean()) if (part > -1).any() else float("nan")
        for name, part in parts.items()
    }


def test_models_are_paired_by_image() -> None:
    found, labels = make_case(3, 40, ties=False)
    metric = MeanAveragePrecision()
    worse = [Detections(each.boxes + 1, each.scores, each.classes) for each in found]
    one, other = resample(
        metric, [metric.per_sample(as_outputs(each), labels) for each in (worse, found)]
    )
    drawn = np.random.default_rng(0)
    chosen = drawn.integers(0, 40, 40)
    again = metric.per_sample(
        as_outputs([found[index] for index in sorted(chosen)]),
        tuple(labels[index] for index in sorted(chosen)),
    )
    assert len(other.values) == metric.resamples == 200
    assert other.values[0] == pytest.approx(value_of(again))
    apart = one.less(other)
    assert apart.low < apart.value == one.value - other.value < 0
    assert one.estimate().high - one.estimate().low > apart.high - apart.low


def test_the_interval_holds_the_map_of_many_images() -> None:
    found, labels = make_case(1, 3000, ties=False)
    metric = MeanAveragePrecision(overlap=75)
    all_of_them = metric.per_sample(as_outputs(found), labels)
    truth = value_of(all_of_them, metric)
    ends = np.cumsum(all_of_them.lengths)
    held = plain = 0
    for first in range(0, 2400, 60):
        some = slice(first, first + 60)
        rows = all_of_them.rows[ends[first] - all_of_them.lengths[first] : ends[first + 59]]
        (each,) = resample(metric, [PerSample(rows, all_of_them.lengths[some])])
        estimate = each.estimate()
        held += estimate.low <= truth <= estimate.high
        low, high = np.percentile(each.values, [2.5, 97.5])
        plain += low <= truth <= high
    assert held / 40 >= 0.85 > plain / 40


def test_no_interval_leaves_what_a_map_may_be() -> None:
    box, count = np.array([[0.0, 0, 20, 20]]), 12
    labels = tuple({"boxes": box, "classes": np.array([0])} for _ in range(count))

    def missed(images: int) -> PerSample:
        boxes = np.tile(box, (count, 1, 1))
        boxes[:images] += 100
        scores = np.linspace(0.9, 0.1, count)[:, None]
        outputs = {"boxes": boxes, "scores": scores, "classes": np.zeros((count, 1), int)}
        return metric.per_sample(outputs, labels)

    metric = MeanAveragePrecision()
    good, poor = resample(metric, [missed(1), missed(11)])
    # Reflected at the value, the percentiles would end above 100 % and below 0.
    assert good.estimate().low < good.value < good.estimate().high == 100
    assert 0 == poor.estimate().low < poor.value < poor.estimate().high
    assert -100 == poor.less(good).low < poor.less(good).high < 0


def test_forms_of_outputs() -> None:
    found, labels = make_case(5, 30)
    usual = as_outputs(found)
    boxes, scores, classes, counts = (
        usual[name]
        for name in ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    )
    is_there = np.arange(boxes.shape[1]) < counts
    expected = value_of(MeanAveragePrecision().per_sample(usual, labels))
    assert 0 < expected < 100
    nan_scores = np.where(is_there, scores, np.nan)
    by_class = np.where(np.arange(3) == classes[..., None], nan_scores[..., None], -9.0)
    by_class[~is_there] = np.nan
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    one = np.concatenate([boxes, nan_scores[..., None], classes[..., None]], axis=2)
    by_size = {"labels": classes, "s": nan_scores, "b": np.concatenate([middle, size], axis=2)}
    of_640 = np.concatenate([boxes[..., :2], size], axis=2) / (640, 480, 640, 480)
    forms: list[tuple[str, dict[str, Any]]] = [
        ("map", {"scores": by_class, "boxes": boxes}),
        ("map", {"anything": one}),
        ("map@dets", {"x": boxes, "dets": one}),
        ("map:boxes=b,scores=s,form=cxcywh", by_size),
        ("map:form=xywh,scale=640x480", {**usual, "detection_boxes": of_640}),
    ]
    for name, outputs in forms:
        metric = parse_metric(name)
        assert float(metric.values(metric.per_sample(outputs, labels), np.ones((1, 30)))[0]) == (
            pytest.approx(expected)
        )


def test_the_surer_of_two_boxes_stays() -> None:
    boxes = np.array([[[0, 0, 10, 10], [0, 1, 10, 11], [0, 1, 10, 11], [50, 50, 60, 60]]], "f4")
    outputs = {
        "boxes": boxes,
        "scores": np.array([[0.5, 0.9, 0.8, 0.4]]),
        "classes": np.array([[0, 0, 1, 0]]),
    }
    labels = ({"boxes": boxes[0, [1, 3, 2]].astype(float), "classes": np.array([0, 0, 1])},)
    kept = parse_metric("map50:nms=0.6").per_sample(outputs, labels)
    # Without the second box of class 0 every detection is right.
    assert kept.rows[kept.rows[:, 0] == 1][:, 3].tolist() == [1, 1, 1]
    kept = parse_metric("map50").per_sample(outputs, labels)
    assert sorted(kept.rows[kept.rows[:, 0] == 1][:, 3].tolist()) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "outputs", "message"),
    [
        ("map", {"y": np.ones((20, 3))}, r"no boxes and scores among the outputs 'y' \(20, 3\)"),
        ("map:scores=s", {"y": np.ones((20, 3))}, "finds no output 's' among"),
        ("map", {"boxes": np.ones((20, 3, 5)), "scores": np.ones((20, 3))}, r"no boxes \(N, K, 4"),
        ("map", {"boxes": np.ones((20, 3, 4)), "scores": np.ones((20, 3))}, "no a class for each"),
        ("map", {"boxes": np.ones((20, 3, 4)), "scores": np.ones((20, 4))}, "no scores for boxes"),
        ("map@z", {"y": np.ones((20, 3, 6))}, "map@z reads an output 'z'"),
        (
            "map",
            {
                "boxes": np.ones((20, 3, 4)),
                "scores": np.ones((20, 3)),
                "labels": np.full((20, 3), "cat"),
            },
            "no numbers in 'labels' among",
        ),
        (
            "map:boxes=y,counts=n",
            {"y": np.ones((20, 3, 4)), "scores": np.ones((20, 3, 2)), "n": np.ones((20, 3))},
            "no count of detections for each image",
        ),
        (
            "map:counts=n",
            {"n": np.ones((20, 3)), "boxes": np.ones((20, 3, 6))},
            "no count of detections for each image",
        ),
    ],
)
def test_outputs_that_are_no_detections(name: str, outputs: dict[str, Any], message: str) -> None:
    _, labels = make_case(7, 20)
    with pytest.raises(DataError, match=message) as caught:
        parse_metric(name).per_sample(outputs, labels)
    assert caught.value.remedy


def test_labels_that_are_no_boxes() -> None:
    detected, boxes = make_case(7, 2)
    outputs, no_classes = as_outputs(detected), {"boxes": np.zeros((0, 4))}
    no_boxes: list[tuple[Any, str]] = [
        (np.zeros(2, int), "int64"),
        ((no_classes, no_classes), "dicts with 'boxes'"),
        ((boxes[0], no_classes), "dicts with 'boxes'"),
    ]
    for labels, message in no_boxes:
        with pytest.raises(DataError, match=f"map reads dicts .* but the labels are {message}"):
            MeanAveragePrecision().per_sample(outputs, labels)
