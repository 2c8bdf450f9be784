from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.measured import (
    NumpyModel,
    NumpySession,
    Samples,
    agreement,
    agreement_before,
    lined_up,
    make_samples,
)
from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.accuracy import measure_accuracy
from trtqat.evaluation.counts import Accuracy, Agreement, OutputAgreement
from trtqat.tensors import Array, Arrays


@given(st.integers(1, 40), st.integers(1, 16), st.integers(1, 16), st.integers(0, 3))
def test_every_image_once_whatever_the_batch(count: int, batch: int, low: int, seed: int) -> None:
    x, labels = make_samples(count, seed)
    order = np.argsort(-x, axis=1)
    top1 = int((order[:, 0] == labels).sum())
    top5 = int((order[:, :5] == labels[:, None]).any(axis=1).sum())
    data: Dataset = (samples := Samples(x, labels))
    seen: list[tuple[int, int]] = []
    batch = max(batch, low)
    model, baseline = NumpyModel(batch_range=(low, batch)), NumpyModel(lambda x: x * 2)
    result = measure_accuracy(
        lined_up(model, baseline), data, batch_size=batch, progress=lambda *done: seen.append(done)
    )
    assert result.baseline is not None
    assert result.subject.accuracy == result.baseline.accuracy == Accuracy(top1, top5, count)
    found = agreement(result)
    assert found is not None
    assert (found.same_top1, found.count) == (count, count)
    assert samples.asked == list(range(count))
    assert seen[-1] == (count, count)
    assert not model.is_open
    assert not baseline.is_open


def test_padded_rows_are_dropped() -> None:
    x = np.eye(7, dtype=np.float32)[:6]
    model = NumpyModel(batch_range=(4, 4))
    result = measure_accuracy(lined_up(model), Samples(x, np.arange(6)), batch_size=4)
    assert model.sessions == [4]
    assert result.subject.accuracy == Accuracy(6, 6, 6)
    assert (result.baseline, agreement(result)) == (None, None)


def test_texts_are_no_scores_and_at_no_distance() -> None:
    def as_text(x: Array) -> Array:
        return x.astype(str).astype(object)

    x, labels = make_samples(8)
    alone = measure_accuracy(lined_up(NumpyModel(as_text)), Samples(x, None), batch_size=4)
    assert alone.subject.predictions.classes == ()
    with pytest.raises(DataError, match=r"\(4, 7\) of object instead of \(N, classes\)"):
        measure_accuracy(lined_up(NumpyModel(as_text)), Samples(x, labels), batch_size=4)
    both = lined_up(NumpyModel(as_text), NumpyModel(as_text))
    with pytest.raises(DataError, match="'logits' of 'numpy' holds texts") as raised:
        measure_accuracy(both, Samples(x, None), batch_size=4)
    assert "evaluate the model alone" in raised.value.remedy


def test_a_wrong_row_in_the_middle_of_a_batch_shows() -> None:
    def wrong_at_1(x: Array) -> Array:
        sign: Array = np.ones((len(x), 1), x.dtype)
        sign[1:2] = -1
        return np.asarray(x * sign)

    x, _ = make_samples(8)
    result = measure_accuracy(
        lined_up(NumpyModel(wrong_at_1), NumpyModel()), Samples(x, None), batch_size=4
    )
    signal, noise = (x.astype(float) ** 2).sum(), 4 * (x[[1, 5]].astype(float) ** 2).sum()
    found = agreement(result)
    assert found is not None
    assert (found.same_top1, found.count) == (6, 8)
    assert found.sqnr_db == pytest.approx(10 * math.log10(signal / noise))
    assert found.worst == 2 * float(abs(x[[1, 5]]).max())
    assert result.subject.accuracy is None


@pytest.mark.parametrize(("classes", "top5"), [(2, None), (5, None), (6, 10)])
def test_top5_needs_more_than_five_classes(classes: int, top5: int | None) -> None:
    x = np.tile(np.arange(classes, dtype=np.float32), (10, 1))
    model = NumpyModel()
    data = Samples(x, np.full(10, classes - 1))
    assert measure_accuracy(lined_up(model), data, batch_size=3).subject.accuracy == Accuracy(
        10, top5, 10
    )
    data = Samples(x, np.zeros(10, np.int64))
    expected = Accuracy(0, None if top5 is None else 0, 10)
    assert measure_accuracy(lined_up(model), data, batch_size=3).subject.accuracy == expected


def test_percent() -> None:
    assert Accuracy(1, None, 8).top1_percent == 12.5


@pytest.mark.parametrize("label", [7, 1000])
def test_label_out_of_range(label: int) -> None:
    x, labels = make_samples(4)
    labels[2] = label
    model = NumpyModel()
    with pytest.raises(DataError, match=rf"label {label}, but 'numpy' has 7 classes"):
        measure_accuracy(lined_up(model), Samples(x, labels), batch_size=4)
    assert not model.is_open


def test_outputs_that_are_no_logits() -> None:
    x, labels = make_samples(4)
    flat = NumpyModel(lambda x: x[:, 0])
    with pytest.raises(DataError, match=r"shape \(4,\) instead of \(N, classes\)"):
        measure_accuracy(lined_up(flat), Samples(x, labels), batch_size=4)
    result = measure_accuracy(lined_up(flat, flat_twin()), Samples(x, None), batch_size=4)
    same = OutputAgreement("logits", (-1,), math.inf, 0.0)
    found = agreement(result)
    assert found == Agreement(None, 4, math.inf, 0.0, outputs=(same,))


def test_one_number_is_no_prediction() -> None:
    # As of a regression: the largest of one number is always the same.
    x, _ = make_samples(4)
    column, negative = NumpyModel(lambda x: x[:, :1]), NumpyModel(lambda x: -x[:, :1])
    result = measure_accuracy(lined_up(column, negative), Samples(x, None), batch_size=4)
    found = agreement(result)
    assert found is not None
    assert found.same_top1 is None
    with pytest.raises(DataError, match=r"shape \(4, 1\) instead of \(N, classes\)"):
        measure_accuracy(lined_up(column), Samples(x, np.zeros(4, np.int64)), batch_size=4)


def test_class_numbers_are_no_scores() -> None:
    # As of a recognizer that returns a class for each place: the largest number is no prediction.
    x, labels = make_samples(4)
    ranks = NumpyModel(lambda x: x.argsort(axis=1))
    others = NumpyModel(lambda x: (-x).argsort(axis=1))
    found = agreement(measure_accuracy(lined_up(ranks, others), Samples(x, None), batch_size=4))
    assert found is not None
    assert found.same_top1 is None
    with pytest.raises(DataError, match=r"shape \(4, 7\) of int64 instead of \(N, classes\)"):
        measure_accuracy(lined_up(ranks), Samples(x, labels), batch_size=4)


def flat_twin() -> NumpyModel:
    return NumpyModel(lambda x: x[:, 0])


def test_baseline_of_another_model() -> None:
    x, _ = make_samples(4)
    with pytest.raises(DataError, match=r"\(4, 7\) for output 'logits', where .* \(4,\)") as raised:
        measure_accuracy(lined_up(NumpyModel(), flat_twin()), Samples(x, None), batch_size=4)
    # As of a detector that returns what it has found, and no more.
    assert "where the size of an output depends on the data" in raised.value.remedy


def test_outputs_not_known_before_it_runs() -> None:
    class First(NumpySession):
        def run(self, inputs: Arrays) -> dict[str, Array]:
            return {"a": inputs["x"], "b": np.zeros(3)}

    model = NumpyModel(outputs=())
    x, labels = make_samples(4)
    model.session = lambda batch_size: First(model, batch_size)  # type: ignore[method-assign]
    result = measure_accuracy(lined_up(model), Samples(x, labels), batch_size=4)
    assert result.subject.accuracy is not None
    assert result.subject.accuracy.top1 == int((x.argmax(axis=1) == labels).sum())


def test_nan_is_never_right_and_never_the_same() -> None:
    x = np.eye(7, dtype=np.float32)[:4]
    spoiled = NumpyModel(lambda rows: np.full_like(rows, np.nan))
    data = Samples(x, np.zeros(4, np.int64))
    result = measure_accuracy(lined_up(spoiled, NumpyModel()), data, batch_size=4)
    assert result.subject.accuracy == Accuracy(0, 0, 4)
    found = agreement(result)
    assert found is not None
    assert found.same_top1 == 0
    assert found.worst is not None
    assert math.isnan(found.worst)


def test_masked_outputs_agree() -> None:
    def masked(rows: Array) -> Array:
        return np.where(rows > 0, rows, -np.inf).astype(np.float32)

    x, _ = make_samples(4)
    data = Samples(x, None)
    both = lined_up(NumpyModel(masked), NumpyModel(masked))
    found = agreement(measure_accuracy(both, data, batch_size=4))
    same = OutputAgreement("logits", (-1, 7), math.inf, 0.0)
    assert found == Agreement(4, 4, math.inf, 0.0, outputs=(same,))
    # An infinity in one alone is no agreement.
    one = lined_up(NumpyModel(masked), NumpyModel())
    found = agreement(measure_accuracy(one, data, batch_size=4))
    assert found is not None
    assert found.sqnr_db is not None
    assert math.isnan(found.sqnr_db)


def test_negative_label_is_refused() -> None:
    data = Samples(np.zeros((2, 7), np.float32), np.array([0, -1]))
    with pytest.raises(DataError, match="label -1"):
        measure_accuracy(lined_up(NumpyModel()), data, batch_size=2)


def test_a_batch_position_that_is_always_wrong() -> None:
    def wrong_at_2(x: Array) -> Array:
        found: Array = x + 0.01
        if len(found) > 2:
            found[2] = x[0]  # another image's result
        return found

    x, _ = make_samples(34)
    data = Samples(x, None)
    contenders = lined_up(NumpyModel(wrong_at_2), NumpyModel())
    found = agreement(measure_accuracy(contenders, data, batch_size=8))
    assert found is not None
    assert found.wrong_positions == (2,)
    # Noise that is the same everywhere is none, and neither is a batch of one.
    for function, size in ((lambda x: x + 0.9, 8), (wrong_at_2, 1)):
        contenders = lined_up(NumpyModel(function), NumpyModel())
        found = agreement(measure_accuracy(contenders, data, batch_size=size))
        assert found is not None
        assert found.wrong_positions == ()


def test_nan_at_one_position() -> None:
    def spoiled(x: Array) -> Array:
        found = x.copy()
        found[-1] = np.nan
        return np.asarray(found)

    x, _ = make_samples(16)
    result = measure_accuracy(
        lined_up(NumpyModel(spoiled), NumpyModel()), Samples(x, None), batch_size=8
    )
    found = agreement(result)
    assert found is not None
    assert found.wrong_positions == (7,)


@pytest.mark.parametrize("count", [8, 32])
def test_one_image_that_rounds_to_another_order_makes_no_position_wrong(count: int) -> None:
    """As where TopK gives the indices of two equal scores in another order."""
    x, _ = make_samples(count)

    def reordered(given: Array) -> Array:
        return np.where((given == x[5]).all(axis=1, keepdims=True), given[:, ::-1], given)

    contenders = lined_up(NumpyModel(reordered), NumpyModel())
    found = agreement(measure_accuracy(contenders, Samples(x, None), batch_size=8))
    assert found is not None
    assert found.worst
    assert found.wrong_positions == ()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_image_without_numbers_makes_no_position_wrong(value: float) -> None:
    """A broken image: the baseline passes it on, and the model's quantizer swallows it."""
    x, labels = make_samples(40)
    x[3, 2] = value
    model = NumpyModel(lambda x: np.nan_to_num(x, nan=0.0, posinf=9.0))
    result = measure_accuracy(lined_up(model, NumpyModel()), Samples(x, labels), batch_size=8)
    found = agreement(result)
    assert found is not None
    assert math.isnan(found.sqnr_db or 0.0)
    assert found.wrong_positions == ()


def test_steps_are_compared_with_the_one_before_and_others_with_the_baseline() -> None:
    x = np.eye(7, dtype=np.float32)[:6] + 0.1
    first, second = x[0], x[1]

    def lose(*rows: Array) -> Callable[[Array], Array]:
        def function(x: Array) -> Array:
            wrong = np.zeros(len(x), bool)
            for row in rows:
                wrong |= (x == row).all(axis=1)
            return np.asarray(np.where(wrong[:, None], np.roll(x, 1, axis=1), x))

        return function

    baseline, step, model = (NumpyModel(lose(*rows)) for rows in ((), (first,), (first, second)))
    other = NumpyModel(lose(second))
    baseline.name, step.name, model.name, other.name = "base", "step", "model", "other"
    result = measure_accuracy(
        lined_up(model, baseline, steps=[step], rivals=[other]),
        Samples(x, np.arange(6)),
        batch_size=4,
    )
    assert [each.name for each in result.way] == ["base", "step", "model"]
    assert [each.accuracy.top1 for each in result.way if each.accuracy] == [6, 5, 4]
    assert result.way[0].to_step_before is None
    before = [each.to_step_before for each in result.way if each.to_step_before]
    assert [each.against for each in before] == ["base", "step"]
    assert [each.agreement.same_top1 for each in before] == [5, 5]
    assert [(each.paired.lost, each.paired.gained) for each in before if each.paired] == [
        (1, 0),
        (1, 0),
    ]
    found = agreement(result)
    assert found is not None
    assert found.same_top1 == 4
    (rival,) = result.rivals
    assert rival.to_baseline is not None
    assert (rival.to_baseline.against, rival.to_baseline.agreement.same_top1) == ("base", 5)
    # Nobody else is compared.
    assert rival.to_step_before is None
    assert [each.to_baseline for each in (*result.steps, result.baseline) if each] == [None, None]


def test_steps_without_a_baseline() -> None:
    x, labels = make_samples(8)
    step, model = NumpyModel(), NumpyModel()
    contenders = lined_up(model, steps=[step])
    result = measure_accuracy(contenders, Samples(x, labels), batch_size=4)
    assert [agreement_before(each) is None for each in result.way] == [True, False]
    assert agreement(result) is None
