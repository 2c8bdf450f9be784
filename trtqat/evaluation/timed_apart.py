"""Models that are timed in processes of their own, in turns.

What else a process has opened may slow each launch in it (``runtime/README.md``). So each model on
a GPU has a process that opens its sessions before the first query, and does nothing else; while
one is timed, the others wait.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from trtqat.apart import Child, ChildError, call_apart
from trtqat.errors import InferenceError, TrtqatError
from trtqat.evaluation.sessions import open_in_turns
from trtqat.evaluation.timed import Timed, TimedSessions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.evaluation.trtexec import Like, TrtexecTiming, measure_like_trtexec
from trtqat.runtime.protocol import Model, Session
from trtqat.runtime.rtx import Compilation
from trtqat.tensors import Arrays

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine

_LOG = logging.getLogger(__name__)


def opens_apart(model: Model) -> bool:
    """Whether a process of its own may time a model: on a GPU, and not in memory alone."""
    return model.device == "cuda" and model.reopen is not None


class TimingPlaces:
    """Where models are timed: those on a GPU that can be opened again, apart; others here.

    An engine gets a new process for each batch size. A PyTorch model keeps its own, as it takes
    long to load; its sessions were never seen to slow each other.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        """Starts nothing yet.

        Args:
            models: Open here; whoever opened them closes them.
        """
        self._models = models
        self._apart: dict[int, _Apart] = {}
        # By index: what another process did not open is not tried again.
        self._refused: set[int] = set()
        self._compilations: list[dict[int, Compilation]] = [{} for _ in models]
        self._overlaps = all(model.runs_concurrently for model in models)

    def __enter__(self) -> TimingPlaces:
        return self

    def __exit__(self, *_: object) -> None:
        for index in list(self._apart):
            self._end(index)

    @property
    def compilations(self) -> list[tuple[Compilation, ...]]:
        """How long kernels of each model took to compile apart; here, an engine tells itself."""
        return [tuple(each.values()) for each in self._compilations]

    @contextlib.contextmanager
    def open(
        self, inputs: Arrays, batch_size: int, wanted: int, *, own_streams: bool = False
    ) -> Iterator[list[Timed]]:
        """Opens sessions of all models, and closes them behind.

        Args:
            inputs: Of the batch size.
            batch_size: Within their ranges.
            wanted: At most so many queries in flight; as many of each model.
            own_streams: Whether the kernels of each session run on a stream of its own.

        Raises:
            InferenceError: A model does not even open one session, or its process ended.
        """
        with contextlib.ExitStack() as stack:
            self._start(stack)
            openers = [
                self._opener(index, model, batch_size, own_streams=own_streams)
                for index, model in enumerate(self._models)
            ]
            opened = open_in_turns(openers, wanted if self._overlaps else min(wanted, 1))
            for sessions in opened:
                for session in sessions:
                    stack.callback(session.close)
            timed: list[Timed] = []
            for index, sessions in enumerate(opened):
                if index in self._apart:
                    apart = self._apart[index].ready(len(sessions), inputs)
                    self._compilations[index].update(apart.compilations)
                    timed.append(apart)
                else:
                    here = TimedSessions(sessions, inputs)  # type: ignore[arg-type]
                    stack.callback(here.close)
                    timed.append(here)
            yield timed

    def _start(self, stack: contextlib.ExitStack) -> None:
        """Starts the processes that are to be new, and ends those of engines with the stack."""
        new = [
            index
            for index, model in enumerate(self._models)
            if opens_apart(model) and index not in self._apart and index not in self._refused
        ]
        # All at once, as each takes seconds.
        for index in new:
            model = self._models[index]
            assert model.reopen is not None
            self._apart[index] = _Apart(model.name, model.reopen)
            if model.engine is not None:
                stack.callback(self._end, index)
        for what in (_Apart.begin, _Apart.wait):
            for index in new:
                if index in self._apart:
                    self._try(index, what)

    def _try(self, index: int, what: Callable[[_Apart], None]) -> None:
        """Takes a model that another process does not open back into this one."""
        try:
            what(self._apart[index])
        except (TrtqatError, ChildError) as error:
            self._end(index)
            self._refused.add(index)
            _LOG.warning(
                "'%s' is timed in this process, where other models may slow it a little, as it "
                "does not open in another one. %s",
                self._models[index].name,
                error,
            )

    def _end(self, index: int) -> None:
        if index in self._apart:
            self._apart.pop(index).end()

    def _opener(
        self, index: int, model: Model, batch_size: int, *, own_streams: bool
    ) -> Callable[[], Session | _Opened]:
        if index in self._apart:
            return partial(self._apart[index].open, batch_size, own_streams)
        return partial(model.session_on_own_stream if own_streams else model.session, batch_size)


def like_trtexec_apart(
    engine: Engine, batch_size: int, inputs: Arrays, like: Like, options: LatencyOptions
) -> TrtexecTiming:
    """``measure_like_trtexec`` in a process that does nothing else, where one opens the engine."""
    if not opens_apart(engine):
        return measure_like_trtexec(engine, batch_size, inputs, like, options)
    try:
        found: TrtexecTiming = call_apart(
            _like_trtexec, engine.reopen, batch_size, inputs, like, options
        )
    except (TrtqatError, ChildError) as error:
        _LOG.warning("'%s' is timed like trtexec in this process. %s", engine.name, error)
        return measure_like_trtexec(engine, batch_size, inputs, like, options)
    return found


def _like_trtexec(
    reopen: Callable[[], Engine],
    batch_size: int,
    inputs: Arrays,
    like: Like,
    options: LatencyOptions,
) -> TrtexecTiming:
    with reopen() as engine:
        return measure_like_trtexec(engine, batch_size, inputs, like, options)


class _Apart:
    """A model in a process of its own, as this process sees it."""

    in_flight = 1
    own_process = True
    mode = ""

    def __init__(self, name: str, reopen: Callable[[], Model]) -> None:
        """Starts the process, and does not wait until it has opened the model."""
        self._name, self._reopen = name, reopen
        # Whoever has opened the same model before has told of it.
        self._child = Child(least_level=logging.ERROR)
        self.enqueue_times_ms: Sequence[float] = ()
        self.compilations: dict[int, Compilation] = {}

    def begin(self) -> None:
        """Has the process open the model.

        Raises:
            ChildError: What opens it cannot be sent there.
        """
        self._child.hold(_Held, self._reopen)

    def wait(self) -> None:
        """Waits until the model is open.

        Raises:
            TrtqatError: It does not open.
            ChildError: The process ended.
        """
        self._child.answer()

    def open(self, batch_size: int, own_stream: bool) -> _Opened:
        """Opens one more session there.

        Raises:
            InferenceError: It does not open, or the process ended.
        """
        self._call("open", batch_size, own_stream)
        return _Opened(self)

    def ready(self, in_flight: int, inputs: Arrays) -> _Apart:
        """Sends the inputs, once all sessions are open."""
        self.in_flight = in_flight
        self.mode, compilations = self._call("ready", inputs)
        self.compilations.update({each.batch_size: each for each in compilations})
        return self

    def close_one(self) -> None:
        """Closes the session that was opened last, if the process is still there."""
        with contextlib.suppress(InferenceError):
            self._call("close_one")

    def end(self) -> None:
        """Ends the process, with all that it has opened."""
        self._child.close()

    def load(self) -> None:
        """Puts the inputs where ``compute_times_ms`` finds them."""
        self._call("load")

    def compute_times_ms(self, count: int) -> list[float]:
        """Compute time of each of ``count`` queries, in ms."""
        times: list[float]
        times, self.enqueue_times_ms = self._call("compute", count)
        return times

    def request_times_ms(self, count: int) -> list[float]:
        """Wall clock of each of ``count`` requests, in ms."""
        times: list[float] = self._call("request", count)
        return times

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies to the device and back, in ms."""
        times: tuple[list[float], list[float]] = self._call("transfer", count)
        return times

    def answered_s(self, seconds: float) -> list[list[float]]:
        """Keeps all sessions busy; when they answered, in s."""
        done: list[list[float]] = self._call("answered", seconds)
        return done

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        try:
            return self._child.call(method, *arguments)
        except ChildError as error:
            raise InferenceError(
                f"'{self._name}' was not timed: {error}",
                "Look at standard error, and whether memory was short.",
            ) from error


class _Opened:
    """A session in another process."""

    def __init__(self, apart: _Apart) -> None:
        self._apart = apart

    def close(self) -> None:
        """Closes it; they are closed in the reverse of the order in which they were opened."""
        self._apart.close_one()


class _Held:
    """A model and its sessions, in the process that times it."""

    def __init__(self, reopen: Callable[[], Model]) -> None:
        self._model = reopen()
        self._sessions: list[Session] = []
        self._timed: TimedSessions | None = None

    def open(self, batch_size: int, own_stream: bool) -> None:
        model = self._model
        opener = model.session_on_own_stream if own_stream else model.session
        self._sessions.append(opener(batch_size))

    def ready(self, inputs: Arrays) -> tuple[str, tuple[Compilation, ...]]:
        self._timed = TimedSessions(self._sessions, inputs)
        engine = self._model.engine
        return self._timed.mode, () if engine is None else engine.compilations

    def close_one(self) -> None:
        if self._timed is not None:
            self._timed.close()
            self._timed = None
        self._sessions.pop().close()

    def load(self) -> None:
        self._ready.load()

    def compute(self, count: int) -> tuple[list[float], list[float]]:
        return self._ready.compute_times_ms(count), list(self._ready.enqueue_times_ms)

    def request(self, count: int) -> list[float]:
        return self._ready.request_times_ms(count)

    def transfer(self, count: int) -> tuple[list[float], list[float]]:
        return self._ready.transfer_times_ms(count)

    def answered(self, seconds: float) -> list[list[float]]:
        return self._ready.answered_s(seconds)

    @property
    def _ready(self) -> TimedSessions:
        assert self._timed is not None
        return self._timed
