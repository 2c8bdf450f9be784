"""Values of every built-in metric but map, against loops that cannot be wrong."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.metric import Metric, joined
from trtqat.evaluation.metrics.named import parse_metric
from trtqat.evaluation.metrics.segmentation import MeanIou
from trtqat.evaluation.metrics.text import CharacterErrorRate, edit_distance
from trtqat.tensors import Array


def value_of(metric: Metric, *batches: tuple[Array, Any]) -> float:
    found = joined(metric.per_sample({"y": output}, labels) for output, labels in batches)
    return float(metric.values(found, np.ones((1, len(found))))[0])


@given(st.integers(1, 6), st.integers(0, 20), st.integers(1, 20))
def test_topk_counts_labels_among_the_largest(k: int, seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    # Few values, so that some are equal.
    logits, labels = random.integers(0, 4, (count, 7)).astype("f4"), random.integers(0, 7, count)
    right = 0
    for row, label in zip(logits, labels, strict=True):
        right += label in sorted(range(7), key=lambda at: (-row[at], at))[:k]
    found = value_of(parse_metric(f"top{k}"), (logits, labels))
    assert found == pytest.approx(100 * right / count)


def naive_miou(predicted: Array, labels: Array, classes: int, ignore: int | None) -> float:
    shared, union = [0] * classes, [0] * classes
    for one, other in zip(predicted.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if other == ignore:
            continue
        for name in range(classes):
            shared[name] += one == name == other
            union[name] += name in (one, other)
    each = [a / b for a, b in zip(shared, union, strict=True) if b]
    return 100 * sum(each) / len(each) if each else math.nan


@given(
    st.integers(2, 5),
    st.integers(0, 30),
    st.sampled_from([None, 255, 0]),
    st.sampled_from(["numbers", "logits", "channel", "floats"]),
)
def test_miou_is_that_of_a_loop_over_pixels(
    classes: int, seed: int, ignore: int | None, form: str
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(4, classes, 3, 5)).astype("f4")
    labels = random.integers(0, classes, (4, 3, 5)).astype(np.uint8)
    if ignore == 255:
        labels[random.random(labels.shape) < 0.3] = 255
    numbers = logits.argmax(axis=1)
    forms = {"numbers": numbers.astype("i4"), "logits": logits, "channel": numbers[:, None]}
    output = {**forms, "floats": numbers[:, None].astype("f4")}[form]
    metric = MeanIou(classes=None if form == "logits" else classes, ignore=ignore)
    expected = naive_miou(numbers, labels, classes, ignore)
    batches = [(output[:3], labels[:3]), (output[3:], labels[3:])]
    assert value_of(metric, *batches) == pytest.approx(expected, nan_ok=True)
    masks = [(each, mask[:, None]) for each, mask in batches]
    assert value_of(metric, *masks) == pytest.approx(expected, nan_ok=True)


def test_miou_of_a_single_logit_goes_by_its_sign() -> None:
    logits = np.array([[[[-1.0, 2.0, 0.5, -3.0]]]])
    labels = np.array([[[0, 1, 0, 0]]])
    assert value_of(MeanIou(), (logits, labels)) == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


def test_nan_is_the_wrong_class() -> None:
    logits = np.zeros((1, 2, 1, 4))
    logits[0, 0, 0, 2:] = np.nan
    found = value_of(MeanIou(), (logits, np.zeros((1, 1, 4), int)))
    assert found == pytest.approx(50)


@functools.cache
def naive_distance(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        naive_distance(one[1:], other) + 1,
        naive_distance(one, other[1:]) + 1,
        naive_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


TEXT = st.text("abcä", max_size=7)


@given(TEXT, TEXT)
def test_edit_distance_is_that_of_the_definition(one: str, other: str) -> None:
    assert edit_distance(one, other) == naive_distance(one, other)


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cer") / "abc.txt"
    # A line separator of Unicode is a character here.
    path.write_text("a\nb\nä\n\u2028\n \n", encoding="utf-8")
    return path


def test_cer_passes_over_the_mark_that_editors_put_first(tmp_path: Path) -> None:
    (tmp_path / "abc.txt").write_text("a\nb\n", encoding="utf-8-sig")
    metric = parse_metric(f"cer:characters={tmp_path / 'abc.txt'}")
    assert value_of(metric, (np.array([[1, 0, 2]]), ("ab",))) == 0


@pytest.mark.parametrize("blank", [0, -1, 2])
def test_cer_of_a_recognizer_with_blanks(characters: Path, blank: int) -> None:
    alphabet = ["a", "b", "ä", "\u2028", " "]
    alphabet.insert(blank if blank >= 0 else 5, "")
    rows = [["a", "a", "", "a", "b", ""], ["", "ä", " ", "\u2028", "\u2028", ""]]
    classes = np.array([[alphabet.index(each) for each in row] for row in rows])
    logits = np.eye(6)[classes].astype("f4")
    metric = parse_metric(f"cer:characters={characters},blank={blank}")
    for output in (classes, logits):
        assert value_of(metric, (output, ("aab", "ä \u2028"))) == 0
        # One replaced, one deleted, of eight.
        assert value_of(metric, (output, ("aaa", "ä \u2028ab"))) == pytest.approx(100 * 3 / 8)
    logits[1] = np.nan
    numbers = classes.astype("f4")
    numbers[1] = np.nan
    for output in (logits, numbers):
        assert value_of(metric, (output, ("aab", "ä \u2028"))) == pytest.approx(100 * 3 / 6)


@given(st.integers(0, 20), st.sampled_from(["mse", "psnr", "psnr:range=255"]))
def test_squares(seed: int, name: str) -> None:
    random = np.random.default_rng(seed)
    output, labels = random.normal(size=(2, 5, 1, 2, 3))
    mse = float(np.mean((output - labels) ** 2))
    peak = 255 if "255" in name else 1
    expected = mse if name == "mse" else 10 * math.log10(peak**2 / mse)
    labels = labels[:, 0]
    found = value_of(parse_metric(name), (output[:2], labels[:2]), (output[2:], labels[2:]))
    assert found == pytest.approx(expected)


FLOATS = np.zeros((2, 3, 4, 4), "f4")


@pytest.mark.parametrize(
    ("name", "output", "labels", "message"),
    [
        (
            "top1",
            FLOATS,
            np.zeros(2, int),
            r"top1 reads logits .* 'y' has the shape \(2, 3, 4",
        ),
        ("top1", FLOATS[:, :, 0, 0], np.zeros(2), r"top1 reads class numbers, .* float64 of shape"),
        ("top5", FLOATS[:, :, 0, 0], np.zeros(2, int), "top5 of 3 classes is 100 %"),
        ("top1", FLOATS[:, :, 0, 0], np.full(2, 3), "label 3, but the output 'y' has 3 classes"),
        ("top1@z", FLOATS, np.zeros(2, int), "top1@z reads an output 'z', and the model has 'y'"),
        ("miou", FLOATS, np.zeros(2, int), r"miou reads masks .* int64 of shape \(N,\)"),
        ("miou", FLOATS[:, 0, 0, 0], np.zeros((2, 4, 5), int), r"but the output 'y' has \(2,\)"),
        ("miou", FLOATS, np.zeros((2, 4, 5), int), r"masks of the data .* \(2, 4, 5\), but"),
        ("miou", FLOATS, np.full((2, 4, 4), 7), "masks hold 7, but there are 3 classes.*ignore=7"),
        (
            "miou@y:classes=8,ignore=9",
            FLOATS[:, 0],
            np.full((2, 4, 4), 8),
            "hold 8, but there are 8 classes.*Write 9 into them",
        ),
        (
            "miou@y:classes=8",
            FLOATS[:, 0],
            np.full((2, 4, 4), 8),
            "say so: miou@y:classes=8,ignore=8",
        ),
        ("miou@y", FLOATS[:, 0], np.zeros((2, 4, 4), int), "as in miou@y:classes=5"),
        ("miou:classes=4", FLOATS, np.zeros((2, 4, 4), int), "counts 4 classes, but .* of 3"),
        ("miou", FLOATS[:, 0], np.zeros((2, 4, 4), int), "classes there are is not known.*miou:"),
        ("mse", FLOATS, np.zeros((2, 3, 4)), r"labels have the shape \(2, 3, 4\), but"),
        ("mse", FLOATS, FLOATS + np.nan, "labels hold nan, so there is no mse"),
        ("psnr@y", FLOATS, FLOATS - np.inf, "labels hold -inf, so there is no psnr@y"),
        ("psnr", FLOATS, ("a", "b"), "psnr reads arrays of numbers, but the labels are texts"),
        ("mse@y", FLOATS.astype(str), FLOATS, "mse@y reads numbers, but the output 'y' holds text"),
        ("cer", FLOATS, np.zeros(2, int), "cer reads texts"),
        ("cer", FLOATS, ("a", "b"), r"reads \(N, T, classes\) or \(N, T\)"),
        ("cer", FLOATS[..., 0], ("a", "b"), r"'y' has the shape .* the blank makes 6 classes"),
        ("cer", np.full((2, 5), 6), ("a", "b"), "'y' holds the class 6, but there are 6"),
    ],
)
def test_outputs_and_labels_that_do_not_fit(
    name: str, output: Array, labels: Any, message: str, characters: Path
) -> None:
    metric = CharacterErrorRate(characters=characters) if name == "cer" else parse_metric(name)
    with pytest.raises(DataError, match=message) as caught:
        metric.per_sample({"y": output}, labels)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy", "no metric 'accuracy'"),
        ("top", "'top' does not say how many"),
        ("topk", "no metric 'topk'.*top5"),
        ("top0", "K of topK is 0"),
        ("miou5", "no metric 'miou5'"),
        ("miou:class=5", "miou has no option 'class'.*classes, ignore"),
        ("miou:classes=many", "option classes of the metric miou is 'many'"),
        ("miou:classes=1", "classes of miou is 1"),
        ("miou:", "no metric 'miou:'"),
        ("miou:ignore", "option ignore of the metric miou has no value"),
        ("top1:k=3", "top1 has no option 'k'.*as in top1@output"),
        ("mse:range=1", "mse has no option 'range'.*It has none"),
        ("psnr:range=0", "range of psnr is 0"),
        ("cer", "has to know which character"),
        ("cer:characters=nowhere.txt", "'nowhere.txt' cannot be read"),
        ("cer:decode=nowhere.py:f", "'nowhere.py' does not exist"),
        ("map:form=cxcy", "form of map is 'cxcy'"),
        ("map:scale=0", "scale of map"),
        ("map:scale=640x", "option scale of the metric map is '640x'"),
        ("map:nms=2", "nms of map is 2"),
        ("map0", "'map0' is no metric"),
        ("nowhere.py:f", "'nowhere.py' does not exist"),
    ],
)
def test_names_of_no_metric(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_metric(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "label", "spec"),
    [
        ("top5", "top5", "top5"),
        ("top1@aux", "top1@aux", "top1@aux"),
        ("miou@mask:0:ignore=255,classes=3", "miou@mask:0", "miou@mask:0:classes=3,ignore=255"),
        ("map50:scale=640x480,nms=0.5", "map50", "map50:scale=640x480,nms=0.5"),
        ("psnr:range=255", "psnr", "psnr:range=255.0"),
    ],
)
def test_names(text: str, label: str, spec: str) -> None:
    metric = parse_metric(text)
    assert (metric.label, metric.spec) == (label, spec)
    assert parse_metric(metric.spec) == metric


def test_a_spec_tells_nothing_of_this_host(characters: Path) -> None:
    assert parse_metric(f"cer:characters={characters}").spec == "cer:characters=abc.txt"
