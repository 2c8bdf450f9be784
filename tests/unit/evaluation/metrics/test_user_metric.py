"""Metrics that a user writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.named import as_metrics, parse_metric
from trtqat.tensors import Array

OUTPUTS = {"y": np.arange(6.0).reshape(3, 2), "z": np.array([[1.0], [2], [4]])}
LABELS = np.array([0, 1, 1])
TEXT = """
from dataclasses import dataclass

import numpy as np

from trtqat.evaluation.metrics.metric import Metric, PerSample, SumMetric


class Largest(Metric):
    # No function of sums: the largest z of the samples that were drawn.
    resamples = 30
    unit = ""

    @property
    def name(self):
        return "largest"

    def per_sample(self, outputs, labels):
        return PerSample(outputs["z"], np.ones(len(labels), int))

    def values(self, found, weights):
        return np.where(weights > 0, found.rows[:, 0], -np.inf).max(axis=1)


class Torn(Largest):
    def per_sample(self, outputs, labels):
        return PerSample(outputs["z"][:1], np.ones(1, int))


class Loud(Largest):
    def values(self, found, weights):
        raise ZeroDivisionError


class Flat(SumMetric):
    name = "flat"

    def statistics(self, outputs, labels):
        return labels

    def value(self, sums):
        return sums


def mean_of_z(outputs, labels):
    return outputs["z"][:, 0]


mean_of_z.unit = "dB"
mean_of_z.higher_is_better = False


def second(outputs, labels):
    return outputs["y"]


def weighted(outputs, labels):
    return np.stack([outputs["z"][:, 0] * labels, labels], axis=1)


class Deviation:
    unit = "m"

    def statistics(self, outputs, labels):
        z = outputs["z"][:, 0]
        return np.stack([z, z**2, np.ones(len(z))], axis=1)

    def value(self, sums):
        return (sums[1] / sums[2] - (sums[0] / sums[2]) ** 2) ** 0.5


class NoValue:
    def statistics(self, outputs, labels):
        return labels


class Demanding:
    def __init__(self, size):
        pass


class Fails(Deviation):
    def value(self, sums):
        return sums[7]


def wrong_unit(outputs, labels):
    return labels


wrong_unit.higher_is_better = "no"


def top1(outputs, labels):
    return labels


def alone(outputs, labels):
    return 0.5


def nothing(outputs, labels):
    pass


def three(outputs, labels):
    return np.ones((len(labels), 3))


def short(outputs, labels):
    return [1.0]


def words(outputs, labels):
    return ["a"] * len(labels)


def fails(outputs, labels):
    return outputs["other"]


def writes(outputs, labels):
    outputs["z"] *= 0
    outputs["new"] = outputs.pop("y")
    labels[0]["boxes"] += 7
    return np.ones(len(labels))


class Writes(Largest):
    def per_sample(self, outputs, labels):
        writes(outputs, labels)
        return super().per_sample(outputs, labels)


def writing_decoder(outputs):
    outputs["z"] *= 0
    return ["a", "b", "c"]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("user") / "mine.py"
    path.write_text(TEXT)
    return path


def value_of(metric: Metric, weights: Array | None = None) -> float:
    kept = metric.per_sample(OUTPUTS, LABELS)
    weights = np.ones(3) if weights is None else weights
    return float(metric.values(kept, weights[None])[0])


def test_a_function_gives_numbers_or_fractions(file: Path) -> None:
    mean = parse_metric(f"{file}:mean_of_z")
    assert value_of(mean) == pytest.approx(7 / 3)
    assert (mean.label, mean.spec, mean.unit) == ("mean_of_z", "mine.py:mean_of_z", "dB")
    assert not mean.higher_is_better
    weighted = parse_metric(f"{file}:weighted")
    assert value_of(weighted) == pytest.approx(3)
    assert value_of(weighted, np.array([5.0, 2, 0])) == pytest.approx(2)
    assert (weighted.unit, weighted.higher_is_better) == ("", True)


def test_a_class_makes_its_value_of_sums(file: Path) -> None:
    metric = parse_metric(f"{file}:Deviation")
    assert value_of(metric) == pytest.approx(np.std([1, 2, 4]))
    assert value_of(metric, np.array([2.0, 0, 1])) == pytest.approx(np.std([1, 1, 4]))
    assert (metric.label, metric.unit) == ("Deviation", "m")


def test_a_class_may_be_a_metric_itself(file: Path) -> None:
    metric = parse_metric(f"{file}:Largest")
    assert value_of(metric) == 4
    assert value_of(metric, np.array([3.0, 1, 0])) == 2
    assert (metric.label, metric.spec, metric.unit) == ("Largest", "mine.py:Largest", "")
    (found,) = resample(metric, [metric.per_sample(OUTPUTS, LABELS)])
    assert len(found.values) == 30
    assert set(found.values) <= {1, 2, 4}


def test_a_function_in_python() -> None:
    def last(outputs: Any, labels: Any) -> Any:
        return outputs["z"][:, -1]

    (metric,) = as_metrics([last])
    assert value_of(metric) == pytest.approx(7 / 3)
    assert (metric.label, metric.spec) == ("last", "last")
    with pytest.raises(UsageError, match="last is asked for twice"):
        as_metrics([last, "top1", last])
    last.__name__ = "top5"
    with pytest.raises(UsageError, match="top5 is what trtqat counts itself"):
        as_metrics([last])
    with pytest.raises(UsageError, match="5 is no metric"):
        as_metrics([5])  # type: ignore[list-item]


def test_two_lambdas_are_no_metric_twice() -> None:
    first, second = (lambda outputs, labels, i=i: outputs["z"][:, i] for i in range(2))
    with pytest.raises(UsageError, match="Two functions are called <lambda>") as raised:
        as_metrics([first, second])
    assert "set its __name__" in raised.value.remedy
    second.__name__ = "second"
    assert [each.label for each in as_metrics([first, second])] == ["<lambda>", "second"]
    with pytest.raises(UsageError, match="<lambda> is asked for twice"):
        as_metrics([first, first])


def test_two_objects_without_a_hash_are_no_metric_twice() -> None:
    @dataclass
    class Share:
        of: int

        def __call__(self, outputs: Any, labels: Any) -> list[float]:
            return [float(each == self.of) for each in labels]

    with pytest.raises(UsageError, match="Two functions are called Share"):
        as_metrics([Share(1), Share(2)])
    with pytest.raises(UsageError, match="Share is asked for twice"):
        as_metrics([Share(1), Share(1)])


def test_two_functions_of_one_name_are_no_metric_twice(tmp_path: Path) -> None:
    text = "def miou(outputs, labels):\n    return [1.0] * len(labels)\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(text)
    first, second = (f"{tmp_path / name}.py:miou" for name in ("a", "b"))
    for given, named in (((first, second), f"'{first}' and '{second}'"), (("miou", first), "miou")):
        with pytest.raises(
            UsageError, match=f"{re.escape(named)}.* are both called miou"
        ) as raised:
            as_metrics(given)
        assert raised.value.remedy == "Rename one of the functions."
    with pytest.raises(UsageError, match="miou is asked for twice"):
        as_metrics([first, first])


@pytest.mark.parametrize("name", ["writes", "Writes", "cer:decode=writing_decoder"])
def test_what_a_function_writes_into_others_do_not_read(file: Path, name: str) -> None:
    outputs = {name: array.copy() for name, array in OUTPUTS.items()}
    is_text = name.startswith("cer")
    pointer = f"cer:decode={file}:writing_decoder" if is_text else f"{file}:{name}"
    labels = ("a", "b", "c") if is_text else tuple({"boxes": np.ones((2, 4))} for _ in range(3))
    parse_metric(pointer).per_sample(outputs, labels)
    assert list(outputs) == ["y", "z"]
    for key, array in OUTPUTS.items():
        np.testing.assert_array_equal(outputs[key], array)
    assert all(isinstance(each, str) or (each["boxes"] == 1).all() for each in labels)


@pytest.mark.parametrize("name", ["mean_of_z", "Largest", "second"])
def test_what_is_kept_is_no_part_of_the_outputs(file: Path, name: str) -> None:
    outputs = {name: array.copy() for name, array in OUTPUTS.items()}
    metric = parse_metric(f"{file}:{name}")
    kept = metric.per_sample(outputs, LABELS)
    before = kept.rows.copy()
    for array in outputs.values():
        array[:] = -1
    np.testing.assert_array_equal(kept.rows, before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alone", r"alone returned float64 of shape \(\) for 3 samples"),
        ("nothing", "nothing returned nothing for 3 samples"),
        ("three", r"three returned the shape \(3, 3\) for 3 samples"),
        ("short", r"short returned the shape \(1,\) for 3 samples"),
        ("words", "words returned <U1 of shape"),
        ("fails", "fails raised KeyError when it measured a batch"),
        ("Fails", "Fails raised IndexError when it was asked for its value"),
        ("Torn", "Torn returned a PerSample for 3 samples"),
        ("Loud", "Loud raised ZeroDivisionError without a message when it was asked"),
        ("Flat", r"statistics of flat have the shape \(3,\) for 3 samples"),
    ],
)
def test_what_a_function_may_not_return(file: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        value_of(parse_metric(f"{file}:{name}"))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoValue", "NoValue is no metric: it has no method statistics or no method value"),
        ("Demanding", "Demanding raised TypeError when it was made"),
        ("wrong_unit", "higher_is_better 'no'"),
        ("missing", "There is no 'missing'"),
        ("top1", "'mine.py:top1' is a metric of yours, but top1 is what trtqat counts"),
    ],
)
def test_what_is_no_metric(file: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_metric(f"{file}:{name}")
    assert caught.value.remedy
