"""Running a plan of TensorRT for RTX: what is compiled when, kept where, and timed apart.

The library is a stand-in. That the names which the code uses are the library's is for
tests/unit/building/test_recorded_names.py, and what it does with them for an RTX card: tests/gpu.
"""

from __future__ import annotations

import os
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.rtx_card import CONTEXT_S, QUERY_S, SHAPE_S, Card, damage
from trtqat.errors import InferenceError, UsageError
from trtqat.host.tensorrt_log import Messages
from trtqat.runtime import deserialized
from trtqat.runtime import engine as engine_module
from trtqat.runtime.engine import Engine
from trtqat.runtime.opening import open as open_model
from trtqat.runtime.rtx import Compilation
from trtqat.runtime.session import EngineSession

X = np.arange(12, dtype=np.float32).reshape(4, 3)
COMPILED_S = CONTEXT_S + SHAPE_S


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "m.engine"


def compile_once(plan: Path, **options: object) -> Compilation:
    """What the first session of batch 4 of an engine of its own takes."""
    with Engine(plan, **options) as engine:  # type: ignore[arg-type]
        engine.session(4).close()
        (found,) = engine.compilations
    return found


def test_compiling_is_timed_apart(card: Card, plan: Path) -> None:
    with Engine(plan) as engine, engine.session(4) as session:
        (found,) = engine.compilations
        assert (found.batch_size, found.from_cache) == (4, False)
        assert found.seconds == pytest.approx(COMPILED_S + 2 * QUERY_S, abs=1e-3)
        session.load({"x": X})
        assert session.compute_times_ms(3) == pytest.approx([1e3 * QUERY_S] * 3, abs=0.1)
        np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
        # Another query in flight finds the kernels there, and is not what a start takes.
        engine.session(4).close()
        assert engine.compilations == (found,)
        engine.session(2).close()
        known, other = list(engine.compilations)
        assert (known, other.batch_size) == (found, 2)
        assert other.seconds == pytest.approx(SHAPE_S + 2 * QUERY_S, abs=1e-3)


def test_kernels_are_kept_beside_the_plan(card: Card, plan: Path) -> None:
    first = compile_once(plan)
    assert plan.with_name("m.engine.runtime-cache").is_file()
    assert [path.name for path in plan.parent.iterdir()] == ["m.engine.runtime-cache"]
    again = compile_once(plan)
    assert (first.from_cache, again.from_cache) == (False, True)
    assert again.seconds == pytest.approx(2 * QUERY_S, abs=1e-3)
    assert first.seconds > COMPILED_S


def test_they_are_kept_before_the_engine_is_closed(card: Card, plan: Path) -> None:
    """A process may be killed."""
    engine = Engine(plan)
    with closing(engine.session(4)):
        assert plan.with_name("m.engine.runtime-cache").is_file()
    engine.close()


def test_a_cache_that_has_all_is_not_written_again(card: Card, plan: Path) -> None:
    compile_once(plan)
    cache = plan.with_name("m.engine.runtime-cache")
    os.utime(cache, (1, 1))
    compile_once(plan)
    assert cache.stat().st_mtime == 1


@pytest.mark.parametrize("fault", ["a changed byte", "nothing in it", "another card's"])
def test_a_refused_cache_is_replaced(
    fault: str, card: Card, plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compile_once(plan)
    cache = plan.with_name("m.engine.runtime-cache")
    good = cache.read_bytes()
    if fault == "a changed byte":
        damage(cache)
    else:
        cache.write_bytes(b"" if fault == "nothing in it" else b"kernels of another card\n")
    caplog.clear()
    found = compile_once(plan)
    assert (found.from_cache, found.seconds > COMPILED_S) == (False, True)
    assert cache.read_bytes() == good
    (note,) = [each for each in caplog.messages if "runtime cache" in each]
    assert "is damaged, or of another GPU, driver or release" in note
    assert "it is replaced" in note


def test_a_cache_that_cannot_be_read_or_written_is_a_note(
    card: Card, plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan.with_name("m.engine.runtime-cache").mkdir()
    assert not compile_once(plan).from_cache
    assert any("cannot be read" in each for each in caplog.messages)
    caplog.clear()
    assert not compile_once(plan, runtime_cache=plan.parent / "none" / "c").from_cache
    (note,) = [each for each in caplog.messages if "not kept" in each]
    assert "does not exist" in note
    assert "the next start compiles them again" in note


def test_no_cache_and_a_named_one(card: Card, plan: Path, tmp_path: Path) -> None:
    compile_once(plan, runtime_cache="none")
    assert list(tmp_path.iterdir()) == []
    named = tmp_path / "kernels"
    assert not compile_once(plan, runtime_cache=named).from_cache
    assert compile_once(plan, runtime_cache=str(named)).from_cache
    assert list(tmp_path.iterdir()) == [named]


@pytest.mark.parametrize("name", ["m.onnx", "other.engine"])
def test_a_model_is_not_taken_for_a_cache(name: str, card: Card, plan: Path) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is no runtime cache"):
        Engine(plan, runtime_cache=name)


def test_what_nobody_signed_is_not_read_where_a_signature_is_asked_for(
    card: Card, plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compile_once(plan)
    cache = plan.with_name("m.engine.runtime-cache")
    os.utime(cache, (1, 1))
    caplog.clear()
    found = compile_once(plan, trust="public.pem")
    assert not found.from_cache
    assert cache.stat().st_mtime == 1
    (note,) = [each for each in caplog.messages if "runtime cache" in each]
    assert "compiled code that nobody has signed" in note
    assert "--runtime-cache" in note
    # The user's own word counts.
    assert compile_once(plan, trust="public.pem", runtime_cache=cache).from_cache
    # Where none lies there is nothing to say, and none is left for others.
    cache.unlink()
    caplog.clear()
    compile_once(plan, trust="public.pem")
    assert not any("runtime cache" in each for each in caplog.messages)
    assert not cache.exists()


def test_the_library_replays_the_graph(card: Card, plan: Path) -> None:
    with Engine(plan) as engine, engine.session(4) as session:
        assert session.has_cuda_graph
        assert session.mode == "CUDA graph of TensorRT for RTX"
        assert set(card.queries) == {"WHOLE_GRAPH_CAPTURE"}
        # The graph is captured by the second query; neither of the two is timed.
        assert len(card.queries) == 2
    card.queries.clear()
    with Engine(plan, cuda_graph=False) as engine, engine.session(4) as session:
        assert not session.has_cuda_graph
        assert session.mode == "plain enqueue"
        assert card.queries == ["DISABLED"]


@pytest.mark.parametrize("where", ["context", "enqueue"])
def test_a_graph_that_fails_is_a_note(
    where: str, card: Card, plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card.refuses_graphs = where
    with Engine(plan) as engine, engine.session(4) as session:
        assert session.mode == "plain enqueue"
        np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
        assert len(engine.compilations) == 1
    assert any("No CUDA graph for 'm.engine'" in each for each in caplog.messages)


def test_a_session_whose_graph_fails_is_gone_before_the_next_one(
    card: Card, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at once may not fit into the memory of the GPU."""
    made: list[weakref.ref[EngineSession]] = []
    contexts: list[weakref.ref[Any]] = []
    living: list[int] = []

    class Watched(EngineSession):
        def __init__(self, **arguments: Any) -> None:
            made.append(weakref.ref(self))
            super().__init__(**arguments)

    def create(config: Any) -> Any:
        living.append(sum(each() is not None for each in (*made, *contexts)))
        context = Card.create_execution_context(card, config)
        contexts.append(weakref.ref(context))
        # The card has a list of its own.
        card.contexts.clear()
        return context

    monkeypatch.setattr(engine_module, "EngineSession", Watched)
    monkeypatch.setattr(card, "create_execution_context", create)
    card.refuses_graphs = "enqueue"
    with Engine(plan) as engine, engine.session(4) as session:
        assert (len(made), living) == (2, [0, 0])
        np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)


def test_an_enqueue_that_fails_without_a_graph_is_an_error(
    card: Card, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.rtx_card.Context.execute_async_v3", lambda *_: False)
    with Engine(plan) as engine, pytest.raises(InferenceError, match="could not enqueue"):
        engine.session(4)


def test_the_reason_is_of_what_failed(
    card: Card, plan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine has one log for all its sessions, and for the second try of one without a graph."""
    messages = Messages()
    monkeypatch.setattr(deserialized, "make_logger", lambda trt: (None, messages))
    reasons = ["the graph is refused.", "no memory.", ""]

    def create(config: Any) -> None:
        reason = reasons.pop(0)
        if reason:
            messages.errors += [reason, "what follows from it."]

    with Engine(plan) as engine:
        engine.session(4).close()
        messages.errors.append("an earlier session's.")
        monkeypatch.setattr(card, "create_execution_context", create)
        with pytest.raises(InferenceError, match=r"no execution context for 'm\.engine': no mem"):
            engine.session(4)
        assert "for 'm.engine': the graph is refused. Free" in caplog.text
        with pytest.raises(InferenceError, match=r"'m\.engine': TensorRT gave no reason\."):
            engine.session(4, cuda_graph=False)


def test_it_says_that_nobody_has_run_such_plans(
    card: Card, plan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Engine(plan).close()
    (note,) = caplog.messages
    assert "'" + str(plan) + "' is a plan of TensorRT for RTX" in note
    assert "built and inspected, not run" in note


def test_a_tensorrt_plan_has_no_kernels_to_keep(card: Card, plan: Path) -> None:
    del card.trt.IRuntimeCache
    with pytest.raises(UsageError, match="--runtime-cache is for plans of TensorRT for RTX"):
        Engine(plan, runtime_cache="kernels")


def test_a_graph_has_none_either(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--runtime-cache is for engines"):
        open_model(tmp_path / "m.onnx", runtime_cache="none")
    with pytest.raises(UsageError, match="runtime_cache of open"):
        open_model(tmp_path / "m.engine", runtime_cache=3)  # type: ignore[arg-type]
