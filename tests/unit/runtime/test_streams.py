"""Queries in flight on shared streams: right whatever order the GPU takes, and one compute stream.

The GPU is a simulation of what CUDA promises of streams and events, and of nothing else.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.cuda_streams import Context, Device, Stream, open_session
from tests.support.hanging import HUNG_S
from trtqat.errors import InferenceError, UsageError
from trtqat.host.tensorrt_log import Messages
from trtqat.runtime.session import EngineSession
from trtqat.runtime.streams import shared_streams
from trtqat.tensors import Array

# Streams are kept by the number of their device: each test has a device of its own.
NUMBERS = itertools.count(5000)
SHARES_PATCHES = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def device() -> Device:
    return Device(next(NUMBERS))


def numbers(query: int) -> Array:
    return np.arange(4, dtype=np.float32) + 10 * query


def answer(session: EngineSession, query: int) -> bool:
    return np.array_equal(session.run({"x": numbers(query)})["y"], numbers(query) ** 2)


@SHARES_PATCHES
@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 30))
def test_results_in_flight_are_those_of_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    depth: int,
    cuda_graph: bool,
    own_stream: bool,
    queries: int,
) -> None:
    """Buffers are filled for the next query while the GPU still works on the one before."""
    device, random = Device(next(NUMBERS), seed), Random(seed)
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                open_session(monkeypatch, device, cuda_graph=cuda_graph, own_stream=own_stream)
            )
            for _ in range(depth)
        ]
        pending: deque[tuple[EngineSession, int]] = deque()
        done = []

        def collect() -> None:
            session, query = pending.popleft()
            # Before the answer is taken: only the copy to the GPU must be over.
            session.inputs["x"][...] = -1
            np.testing.assert_array_equal(session.collect()["y"], numbers(query) ** 2)
            done.append(query)

        for query in range(queries):
            session = sessions[query % depth]
            if session.is_pending or (pending and random.random() < 0.2):
                collect()
            while session.is_pending:
                collect()
            session.inputs["x"][...] = numbers(query)
            session.submit()
            pending.append((session, query))
            for _ in range(random.randrange(4)):
                device.advance()
        while pending:
            collect()
    assert done == list(range(queries))


def test_what_is_handed_out_is_no_longer_read(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view from before the query does not wait: that it would be read shows the test can fail."""
    with (
        open_session(monkeypatch, device) as session,
        open_session(monkeypatch, device) as other,
    ):
        kept = session.inputs["x"]
        for anew, expected in ((False, 81), (True, 4)):
            other.submit()
            session.inputs["x"][...] = 2
            session.submit()
            (session.inputs["x"] if anew else kept)[...] = 9
            assert session.collect()["y"].tolist() == [expected] * 4
            other.collect()


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_all_kernels_run_on_one_stream(
    device: Device, monkeypatch: pytest.MonkeyPatch, cuda_graph: bool
) -> None:
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(open_session(monkeypatch, device, cuda_graph=cuda_graph))
            for _ in range(3)
        ]
        for session in sessions:
            session.load({"x": numbers(1)})
            session.enqueue()
        with ThreadPoolExecutor(3) as pool:
            right = list(pool.map(lambda at: answer(sessions[at % 3], at), range(3)))
        assert all(right)
        for session in sessions:
            session.submit()
    # Sessions that come later, after all others were closed.
    with open_session(monkeypatch, device, cuda_graph=cuda_graph) as session:
        assert answer(session, 3)
    compute = {shared_streams(device).compute.handle}
    assert device.streams_of("kernel") == compute
    # Copies of queries that were not alone.
    assert device.streams_of("to device") > compute
    assert device.streams_of("to host") > compute
    assert device.streams_of("to device") & device.streams_of("to host") == compute


def test_a_query_that_is_alone_needs_no_event_between_streams(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(monkeypatch, device) as session:
        device.trace.clear()
        assert answer(session, 1)
        assert {handle for _, handle in device.trace} == {session.streams.compute.handle}
        assert device.streams_of("wait") == set()


class NotedLock:
    """A lock of one thread."""

    def __init__(self) -> None:
        self.depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


def test_nothing_comes_into_a_shared_stream_while_somebody_else_captures(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, too: it is allocated and freed in the stream's order."""
    streams, lock = shared_streams(device), NotedLock()
    monkeypatch.setattr(streams, "lock", lock)
    found: list[tuple[str, bool]] = []
    enqueue = Stream.enqueue

    def noted(stream: Stream, kind: str, *work: Callable[[], Any]) -> None:
        found.append((kind, lock.depth > 0))
        enqueue(stream, kind, *work)

    monkeypatch.setattr(Stream, "enqueue", noted)
    for cuda_graph in (True, False):
        with (
            open_session(monkeypatch, device, cuda_graph=cuda_graph) as session,
            open_session(monkeypatch, device, cuda_graph=cuda_graph) as other,
        ):
            session.load({"x": numbers(1)})
            session.enqueue()
            other.submit()
            assert answer(session, 2)
            other.collect()
    assert {"allocate", "kernel", "upload", "record", "wait", "free"} <= {kind for kind, _ in found}
    assert [kind for kind, is_locked in found if not is_locked] == []


def test_a_capture_that_becomes_invalid_is_a_note(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device.breaks_captures = True
    with open_session(monkeypatch, device) as session:
        assert "No CUDA graph for 'm.engine' (the capture is invalid): plain enqueue" in caplog.text
        assert session.mode == "plain enqueue"
        assert answer(session, 1)
    # Those that were made for captures.
    assert all(stream.is_closed for stream in device.streams[3:])


def test_a_stream_of_its_own_ends_with_its_session(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        open_session(monkeypatch, device) as shared,
        open_session(monkeypatch, device, own_stream=True) as own,
    ):
        assert answer(own, 1)
        assert answer(shared, 2)
        assert own.streams.compute.handle != shared.streams.compute.handle
    assert own.streams.compute.is_closed
    assert not shared.streams.compute.is_closed


@SHARES_PATCHES
@given(st.permutations(range(4)), st.sets(st.integers(0, 3)), st.integers(0, 2**32))
def test_closed_in_any_order(
    monkeypatch: pytest.MonkeyPatch, order: list[int], pending: set[int], seed: int
) -> None:
    device = Device(next(NUMBERS), seed)
    sessions = [open_session(monkeypatch, device) for _ in range(4)]
    for index in pending:
        sessions[index].submit()
    for place, index in enumerate(order):
        sessions[index].close()
        sessions[index].close()
        with pytest.raises(UsageError, match="closed"):
            _ = sessions[index].inputs
        for rest in order[place + 1 :]:
            if rest not in pending:
                assert answer(sessions[rest], place)
    assert shared_streams(device).traffic.in_flight == 0


def test_threads_give_what_one_gives(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(monkeypatch, device)) for _ in range(4)]
        meeting = threading.Barrier(4, timeout=HUNG_S)

        def ask(lane: int) -> bool:
            meeting.wait()
            return all(answer(sessions[lane], lane * 100 + query) for query in range(50))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask, range(4)))
        assert shared_streams(device).traffic.in_flight == 0


def test_an_enqueue_that_fails_is_not_in_flight(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        open_session(monkeypatch, device, cuda_graph=False) as broken,
        open_session(monkeypatch, device, cuda_graph=False) as other,
    ):
        broken.context.refuses = True
        for waiting in (False, True):
            if waiting:
                other.submit()
            with pytest.raises(InferenceError, match=r"could not enqueue 'm\.engine'"):
                broken.run({"x": numbers(1)})
            assert not broken.is_pending
            assert shared_streams(device).traffic.in_flight == waiting
            # Nothing reads any more what a caller fills now.
            shared = shared_streams(device)
            assert not shared.to_device.work
            assert waiting or not any(kind == "to device" for kind, _, _ in shared.compute.work)
        other.collect()
        assert answer(other, 2)
        broken.context.refuses = False
        assert answer(broken, 3)


def test_an_enqueue_fails_for_what_is_logged_there(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = Messages(errors=["an earlier session's capture failed."])
    with open_session(monkeypatch, device, cuda_graph=False, messages=messages) as session:
        session.context.refuses = True
        messages.errors.append("another session's shape was refused.")
        with pytest.raises(InferenceError, match=r"'m\.engine': TensorRT gave no reason\."):
            session.submit()
        execute = session.context.execute_async_v3

        def log_and_refuse(address: int) -> bool:
            messages.errors += ["1:", "cuBLAS failed.", "The enqueue failed."]
            return bool(execute(address))

        monkeypatch.setattr(session, "_execute", log_and_refuse)
        with pytest.raises(InferenceError, match=r"'m\.engine': cuBLAS failed\."):
            session.submit()


def test_a_context_that_was_not_set_up_says_why_at_its_first_enqueue(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = Messages(errors=["an earlier session's capture failed."])

    def log(context: Context, name: str, shape: tuple[int, ...]) -> bool:
        messages.errors.append("no memory for the context.")
        return True

    monkeypatch.setattr(Context, "set_input_shape", log)
    monkeypatch.setattr(Context, "get_tensor_shape", lambda context, name: (4,))
    monkeypatch.setattr(Context, "execute_async_v3", lambda context, handle: False)
    with pytest.raises(InferenceError, match=r"'m\.engine': no memory for the context\."):
        open_session(monkeypatch, device, messages=messages)


def test_one_query_at_a_time(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_session(monkeypatch, device) as session:
        with pytest.raises(UsageError, match=r"No query of 'm\.engine' is in flight"):
            session.collect()
        session.submit()
        for call in (
            session.submit,
            session.run,
            session.enqueue,
            lambda: session.load({"x": numbers(1)}),
            lambda: session.compute_times_ms(1),
            lambda: session.transfer_times_ms(1),
        ):
            with pytest.raises(UsageError, match="in flight"):
                call()
        session.collect()
        assert answer(session, 1)


@given(st.lists(st.booleans(), max_size=60))
def test_only_a_query_that_is_alone_copies_on_the_compute_stream(submits: list[bool]) -> None:
    device = Device(next(NUMBERS))
    streams, in_flight = shared_streams(device), 0
    for submit in submits:
        with streams.lock:
            route = streams.route()
            assert (route.to_device is streams.compute) == (in_flight == 0)
            assert (route.to_host is streams.compute) == (in_flight == 0)
            assert route.compute is streams.compute
            if submit:
                streams.traffic.submitted()
                in_flight += 1
        if not submit and in_flight:
            streams.traffic.ended()
            in_flight -= 1
        assert streams.traffic.in_flight == in_flight
