"""Several batches in flight: the same results, in the same order, as one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import Clock
from tests.support.hanging import HUNG_S
from tests.support.measured import NumpyModel, Samples, agreement, lined_up, make_samples
from tests.support.slow_model import SlowModel, SlowSession
from trtqat.data.batches import Batch
from trtqat.errors import DataError, InferenceError
from trtqat.evaluation.accuracy import measure_accuracy
from trtqat.evaluation.batch_runner import BatchRunner
from trtqat.evaluation.running import in_order, run_models
from trtqat.evaluation.sessions import open_sessions
from trtqat.evaluation.throughput import measure_throughput
from trtqat.evaluation.timing import LatencyOptions
from trtqat.runtime.protocol import Session
from trtqat.tensors import Array, Arrays, TensorSpec


def only(outputs: Mapping[str, Array]) -> Array:
    (array,) = outputs.values()
    return array


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4))
def test_results_are_in_order_whatever_is_in_flight(
    count: int, batch: int, lanes: int, low: int
) -> None:
    x, labels = make_samples(count)
    model = SlowModel(low=low)
    batch = max(batch, low)
    found = list(run_models([model], Samples(x, labels), batch_size=batch, in_flight=lanes))
    assert [each.start for each in found] == list(range(0, count, batch))
    np.testing.assert_array_equal(np.concatenate([only(each.outputs[0]) for each in found]), x * 2)
    given_labels = [each.batch.labels for each in found]
    np.testing.assert_array_equal(np.concatenate(given_labels), labels)  # type: ignore[arg-type]
    assert model.open == []
    assert model.most_running <= lanes


def test_batches_overlap() -> None:
    x, _ = make_samples(80)
    model = SlowModel(meeting=3)
    list(run_models([model], Samples(x, None), batch_size=4, in_flight=3))
    assert model.most_running == 3


def test_a_model_that_opens_fewer_sessions() -> None:
    x, _ = make_samples(41)
    limited, free = SlowModel(most_sessions=2, meeting=2), SlowModel()
    found = list(run_models([free, limited], Samples(x, None), batch_size=4, in_flight=4))
    assert len(found) == 11
    assert limited.most_running == 2
    assert limited.open == free.open == []
    assert [len(open_sessions([model], 4, 3)[0]) for model in (limited, free)] == [2, 3]


def test_all_models_have_as_many_queries_in_flight() -> None:
    generous, limited = SlowModel(), SlowModel(most_sessions=2)
    opened = open_sessions([generous, limited], 4, 6)
    assert [len(each) for each in opened] == [2, 2]
    assert generous.open == [4, 4]


def test_a_second_model_that_opens_none() -> None:
    first = SlowModel()
    with pytest.raises(InferenceError, match="No further"):
        open_sessions([first, SlowModel(most_sessions=0)], 4, 6)
    assert first.open == []


def test_a_scalar_output_stays_whole() -> None:
    class Scalar(SlowSession):
        def run(self, inputs: Arrays) -> dict[str, Array]:
            return {"rows": np.asarray(len(inputs["x"])), **super().run(inputs)}

    model = SlowModel()
    model.session = lambda batch_size: Scalar(model, batch_size)  # type: ignore[method-assign]
    x, _ = make_samples(3)
    assert BatchRunner(model).run({"x": x}, 3)["rows"] == 3


def test_not_even_one_session() -> None:
    x, _ = make_samples(8)
    with pytest.raises(InferenceError, match="No further"):
        list(run_models([SlowModel(most_sessions=0)], Samples(x, None), batch_size=4))
    with pytest.raises(InferenceError, match="No further"):
        open_sessions([SlowModel(most_sessions=0)], 4, 2)


def test_a_cpu_gets_one_at_a_time() -> None:
    x, _ = make_samples(40)
    model = SlowModel()
    model.device = "cpu"
    list(run_models([model, SlowModel()], Samples(x, None), batch_size=4, in_flight=4))
    assert model.most_running == 1
    assert len(open_sessions([model], 4, 3)[0]) == 1


def test_an_error_ends_it_and_closes_everything() -> None:
    class Broken(Samples):
        def batch(self, start: int, stop: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if start == 12:
                raise InferenceError("Batch 12.")
            return super().batch(start, stop)

    x, _ = make_samples(80)
    model = SlowModel()
    found = run_models([model], Broken(x, None), batch_size=4, in_flight=3)
    assert [next(found).start for _ in range(3)] == [0, 4, 8]
    with pytest.raises(InferenceError, match="Batch 12"):
        next(found)
    assert model.open == []


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(lambda _, item: item, items(), 3)
    assert [next(results) for _ in range(2)] == [0, 1]
    assert len(taken) < 10


def test_another_size_is_another_session() -> None:
    model = SlowModel()
    runner = BatchRunner(model)
    x, _ = make_samples(8)
    for size in (4, 4, 2):
        assert len(runner.outputs_by_image({"x": x[:size]}, size)["y"]) == size
        assert model.open == [size]
    runner.close()
    assert model.open == []


class PacedModel(SlowModel):
    """Takes a millisecond for a query; queries that are in flight at once all wait for each other.

    So they are on threads of their own, however the host shares them out.
    """

    def __init__(self, clock: Clock, in_flight: int) -> None:
        super().__init__()
        self.clock, self.step = clock, threading.Barrier(in_flight, timeout=HUNG_S)

    def session(self, batch_size: int) -> Session:
        self.open.append(batch_size)
        return PacedSession(self, batch_size)


class PacedSession(SlowSession):
    def __init__(self, model: PacedModel, size: int) -> None:
        super().__init__(model, size)
        self._clock, self._step = model.clock, model.step

    def run(self, inputs: Arrays) -> dict[str, Array]:
        with self._model.lock:
            self._model.running += 1
            self._model.queries += 1
            self._model.most_running = max(self._model.most_running, self._model.running)
        self._step.wait()
        self._clock.sleep(0.001)
        with self._model.lock:
            self._model.running -= 1
        # Nobody begins the next query before all have ended this one.
        self._step.wait()
        return {"y": inputs["x"] * 2}


def test_throughput_counts_what_is_in_flight(clock: Clock) -> None:
    x, _ = make_samples(4)
    one, four = PacedModel(clock, 1), PacedModel(clock, 4)
    lanes = [*open_sessions([one], 4, 1), *open_sessions([four], 4, 4)]
    looks: list[None] = []
    alone, together = measure_throughput(
        lanes, {"x": x}, LatencyOptions(10, 0.4), between=lambda: looks.append(None)
    )
    assert (alone.in_flight, together.in_flight) == (1, 4)
    assert alone.turns == together.turns == 8
    assert len(looks) == 16
    assert (one.most_running, four.most_running) == (1, 4)
    # A query of 4 images takes 1 ms, and a little for the clock.
    assert alone.images_per_second == pytest.approx(4000, rel=0.01)
    assert together.images_per_second == pytest.approx(16000, rel=0.01)
    assert together.queries == 4 * alone.queries
    assert alone.interval.low <= alone.images_per_second <= alone.interval.high
    assert alone.queries < one.queries  # the warm-up does not count


def test_throughput_of_a_model_slower_than_a_turn() -> None:
    x, _ = make_samples(4)
    (found,) = measure_throughput(
        open_sessions([SlowModel()], 4, 2), {"x": x}, LatencyOptions(0, 0)
    )
    assert found.queries == 2 * 4 * found.turns


@pytest.mark.parametrize("lowest", [1, 5])
@pytest.mark.parametrize(
    ("function", "shape", "declared"),
    [
        # Three tokens of each image at once: (3N, 7).
        (lambda x: np.repeat(x, 3, axis=0), (3, 7), (-1, 7)),
        # (T, N, 7): the batch is the second dimension, also where there are as many tokens.
        (lambda x: np.stack([x, x, x]), (3, 7), (3, -1, 7)),
        (lambda x: np.stack([x] * 5), (5, 7), (5, -1, 7)),
        (lambda x: np.stack([x, x]), (2, 7), (2, -1, 7)),
        # One number for the whole batch, which is no image's.
        (lambda x: np.float32(x.shape[1]), (), ()),
    ],
)
def test_a_row_for_each_image_whatever_leads(
    function: Callable[[Array], Array],
    shape: tuple[int, ...],
    declared: tuple[int, ...],
    lowest: int,
) -> None:
    x, _ = make_samples(12)
    seen: list[Array] = []
    outputs = (TensorSpec("logits", declared),)
    model = NumpyModel(function, batch_range=(lowest, 8), outputs=outputs)
    for answers in run_models([model], Samples(x, None), batch_size=5):
        seen.append(only(answers.outputs[0]))
        assert only(answers.outputs[0]).shape == (len(answers.batch.inputs["x"]), *shape)
    found = np.concatenate(seen)
    assert len(found) == 12
    if len(shape) == 2:
        for token in range(shape[0]):
            np.testing.assert_array_equal(found[:, token], x)
    result = measure_accuracy(lined_up(model, model), Samples(x, None), batch_size=5)
    with_itself = agreement(result)
    assert with_itself is not None
    assert with_itself.count == 12
    assert with_itself.worst == 0


class StackedModel(SlowModel):
    """Says the same in each of several steps; like PyTorch, it declares no output."""

    def __init__(self, steps: int = 5) -> None:
        super().__init__()
        self.steps = steps

    def session(self, batch_size: int) -> Session:
        return StackedSession(self, batch_size)


class StackedSession(SlowSession):
    def __init__(self, model: StackedModel, size: int) -> None:
        super().__init__(model, size)
        self._steps = model.steps

    def run(self, inputs: Arrays) -> dict[str, Array]:
        return {"y": np.stack([super().run(inputs)["y"]] * self._steps)}

    def close(self) -> None:
        pass


def test_a_model_that_declares_nothing_is_read_like_the_one_beside_it() -> None:
    x, _ = make_samples(13)
    declared = NumpyModel(
        lambda x: np.stack([x * 2] * 5), outputs=(TensorSpec("logits", (5, -1, 7)),)
    )
    for answers in run_models([StackedModel(), declared], Samples(x, None), batch_size=5):
        one, two = map(only, answers.outputs)
        assert one.shape == (len(answers.batch.inputs["x"]), 5, 7)
        np.testing.assert_array_equal(one, two)


def test_the_last_batch_is_read_like_the_first() -> None:
    x, _ = make_samples(10)
    # Two steps, and two images in the last batch.
    for answers in run_models([StackedModel(steps=2)], Samples(x, None), batch_size=4):
        for image, output in zip(answers.batch.inputs["x"], only(answers.outputs[0]), strict=True):
            np.testing.assert_array_equal(output, [2 * image, 2 * image])


def test_an_open_dimension_of_a_fixed_batch_is_not_the_batch() -> None:
    """Nor where PyTorch, which declares nothing, is read like the model beside it."""
    x, _ = make_samples(12)

    def stacked(x: Array) -> Array:
        return np.stack([x * 2] * 8, axis=1)

    fixed = NumpyModel(stacked, batch_range=(4, 4), outputs=(TensorSpec("logits", (4, -1, 7)),))
    beside = EightTimes()
    for answers in run_models([fixed, beside], Samples(x, None), batch_size=4):
        for output in map(only, answers.outputs):
            np.testing.assert_array_equal(output, stacked(answers.batch.inputs["x"]))


class EightTimes(SlowModel):
    """Says the same eight times of each image: (N, 8, 7)."""

    def session(self, batch_size: int) -> Session:
        return EightTimesSession(self, batch_size)


class EightTimesSession(SlowSession):
    def run(self, inputs: Arrays) -> dict[str, Array]:
        return {"y": np.stack([super().run(inputs)["y"]] * 8, axis=1)}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("declared", [(4, 7), (1, 7)])
def test_a_fixed_batch_beside_a_model_that_declares_nothing(declared: tuple[int, ...]) -> None:
    x, _ = make_samples(8)
    low = declared[0]
    fixed = NumpyModel(
        lambda x: x * 2,
        batch_range=(low, 4),
        outputs=(TensorSpec("logits", declared),),
    )
    for answers in run_models([fixed, SlowModel()], Samples(x, None), batch_size=4):
        one, two = map(only, answers.outputs)
        assert one.shape == (4, 7)
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("labelled", [(0, 4), (4, 8)])
@pytest.mark.parametrize("lanes", [1, 3])
def test_labels_in_some_batches_alone(labelled: tuple[int, int], lanes: int) -> None:
    x, labels = make_samples(12)

    class Some(Samples):
        def batch(self, start: int, stop: int) -> Batch:
            found = super().batch(start, stop)
            return found if labelled[0] <= start < labelled[1] else Batch(found.inputs)

    model = SlowModel()
    with pytest.raises(DataError, match=r"samples gave only some of the samples 0 to 11 a label"):
        list(run_models([model], Some(x, labels), batch_size=4, in_flight=lanes))
    assert model.open == []
