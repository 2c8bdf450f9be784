"""Every image once through several models: several batches in flight, results in order.

A session is one query at a time; several queries in flight are several sessions, each on a thread
of its own. Copies, launches and waiting release Python's lock, so that the next batch is read and
copied to the GPU while the one before computes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TypeVar

from trtqat.data.batches import Batch, Dataset, some_labels
from trtqat.evaluation.batch_runner import BatchRunner, declared_outputs
from trtqat.evaluation.sessions import open_sessions
from trtqat.io_names import IoNames
from trtqat.runtime.protocol import Model
from trtqat.tensors import Array, Arrays

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answers:
    """One batch, and what every model made of it.

    Attributes:
        start: Number of its first image.
        batch: Inputs and labels.
        outputs: Every output of every model, ``(N, …)``, under the names and in the order of
            ``names_of``.
        shapes: The first model's, as they were computed, the batch as ``DYNAMIC``.
    """

    start: int
    batch: Batch
    outputs: tuple[dict[str, Array], ...]
    shapes: Mapping[str, tuple[int, ...]]


def run_models(
    models: Sequence[Model], dataset: Dataset, *, batch_size: int, in_flight: int = 1
) -> Iterator[Answers]:
    """Runs a dataset through models, batch by batch, in order.

    An engine's results are those of one batch at a time, bit for bit, and so are a PyTorch model's
    that a CUDA graph captures. Another one runs on the threads of the queries, and cuDNN keeps the
    algorithms that it benchmarks per thread, so its sums may be rounded otherwise.

    The last batch is as small as it is; a model that does not take so small a one gets its rows
    repeated, and the results of the repetition are dropped.

    Args:
        models: Each sees every batch; their outputs are those of the first one, by name.
        dataset: Images; it is read by one thread at a time.
        batch_size: Of all batches but the last.
        in_flight: Batches at once; fewer where a model does not open so many sessions. One at a
            time unless all models gain by several: a CPU is busy with one.

    Raises:
        DataError: The dataset cannot be read, or only a part of it has labels; or the outputs of a
            model do not belong to those of the first one.
        InferenceError: A runtime failed.
    """
    names = names_of(models)
    whole = range(0, len(dataset) - batch_size + 1, batch_size)
    rest = len(whole) * batch_size
    opened = open_sessions(models, batch_size, min(in_flight, len(whole)))
    # A dataset that fills no batch has one lane, which opens its sessions when it runs.
    lent = next((declared_outputs(model) for model in models if declared_outputs(model)), ())
    lanes = [
        [BatchRunner(*each, batch_size, lent=lent) for each in zip(models, sessions, strict=True)]
        for sessions in zip(*opened, strict=True)
    ] or [[BatchRunner(model, lent=lent) for model in models]]
    reader = _Reader(dataset)

    def answer(lane: int, start: int) -> Answers:
        stop = min(start + batch_size, len(dataset))
        batch = reader.batch(start, stop)
        outputs: list[dict[str, Array]] = []
        expected = names
        for each in lanes[lane]:
            outputs.append(each.outputs_by_image(batch.inputs, stop - start, expected))
            expected = expected or IoNames((), tuple(outputs[0]), model=models[0].name)
        return Answers(start, batch, tuple(outputs), lanes[lane][0].shapes)

    try:
        yield from in_order(answer, whole, len(lanes))
        if rest < len(dataset):
            # Other sizes are other sessions: not beside those of the others.
            for lane in lanes[1:]:
                _close(lane)
            yield answer(0, rest)
    finally:
        for lane in lanes:
            _close(lane)


def names_of(models: Sequence[Model]) -> IoNames | None:
    """The names under which outputs are compared: the first model's that tells its own.

    Args:
        models: The one that is measured first.
    """
    for model in models:
        if model.outputs:
            declared = tuple(spec.name for spec in model.outputs)
            return replace(model.io or IoNames((), declared), model=model.name)
    return None


def run_all(
    models: Sequence[Model], dataset: Dataset, batch_size: int
) -> Generator[tuple[Arrays, list[dict[str, Array]]], None, None]:
    """Yields the inputs and all outputs of all models, one batch at a time.

    Args:
        models: Each sees every batch.
        dataset: Images.
        batch_size: Of all batches but the last, which is as small as it is.

    Raises:
        InferenceError: A runtime failed.
    """
    runners = [BatchRunner(model) for model in models]
    try:
        for start in range(0, len(dataset), batch_size):
            stop = min(start + batch_size, len(dataset))
            inputs = dataset.batch(start, stop).inputs
            yield inputs, [each.run(inputs, stop - start) for each in runners]
    finally:
        for each in runners:
            each.close()


def in_order(
    work: Callable[[int, Item], Result], items: Iterable[Item], lanes: int
) -> Iterator[Result]:
    """Does several pieces of work at once, and yields their results in the order of the items.

    Args:
        work: Gets the number of a lane, which no other call has at that time, and an item.
        items: Taken a few at a time.
        lanes: How many at once; one works without threads.
    """
    if lanes <= 1:
        yield from (work(0, item) for item in items)
        return
    free: SimpleQueue[int] = SimpleQueue()
    for lane in range(lanes):
        free.put(lane)

    def on_a_lane(item: Item) -> Result:
        lane = free.get()
        try:
            return work(lane, item)
        finally:
            free.put(lane)

    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(lanes) as pool:
        try:
            for item in items:
                pending.append(pool.submit(on_a_lane, item))
                # One more than there are lanes: none waits for the caller.
                if len(pending) > lanes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()


class _Reader:
    """Reads batches from one thread at a time."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._lock = threading.Lock()
        self._has_labels: bool | None = None

    def batch(self, start: int, stop: int) -> Batch:
        """As the dataset's.

        Raises:
            DataError: It has labels, and one that was read before had none, or the reverse.
        """
        with self._lock:
            batch = self._dataset.batch(start, stop)
            has_labels = batch.labels is not None
            if self._has_labels not in (None, has_labels):
                raise some_labels(self._dataset.name, 0, len(self._dataset))
            self._has_labels = has_labels
        return batch


def _close(lane: Sequence[BatchRunner]) -> None:
    for each in lane:
        each.close()
