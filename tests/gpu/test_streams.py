"""One compute stream: results stay those of one query at a time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.support import models, quiet_process
from tests.support.workloads import RESNET, Artefacts, Build, trtqat
from trtqat.apart import call_apart
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.runtime.engine import Engine
from trtqat.runtime.protocol import Session
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.runtime.session import EngineSession
from trtqat.tensors import Arrays, TensorSpec, random_arrays

QUERIES = 200
SLOWER = 1.01


def test_eval_measures_what_a_process_of_one_session_does(
    resnet: Artefacts, timing_cache: Path
) -> None:
    """Also where it runs accuracy before, builds a rival, and has PyTorch beside the engine."""
    _, plan, _ = resnet
    plan.with_name(f"{plan.stem}.fp16.engine").unlink(missing_ok=True)
    done = trtqat(
        "eval", plan, "--data", "random:64", "--baseline", f"{RESNET}:fp32", "--duration", "0.5",
        "--batch-size", "1,32", "--compare", "fp16,torch-fp16", "--like", "trtexec-11",
        "--json", "-", "--timing-cache", timing_cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is timed in this process" not in done.stderr
    report = json.loads(done.stdout)
    contenders = {each["name"]: each["timings"] for each in report["contenders"]}
    fp16 = plan.with_name(f"{plan.stem}.fp16.engine")
    for each in (plan, fp16):
        for at in contenders[each.name]:
            size, timing = at["batch_size"], at["timing"]
            quiet = call_apart(quiet_process.replay_ms, each, size)
            found = timing["compute"]["median_ms"]
            print(each.name, size, found, quiet)  # noqa: T201
            assert timing["own_process"]
            assert quiet / SLOWER < found < SLOWER * quiet
    of_trtexec = report["trtexec"]["compute"]["median_ms"]
    quiet = call_apart(quiet_process.replay_ms, plan, report["batch_size"])
    assert quiet / SLOWER < of_trtexec < SLOWER * quiet
    throughput = contenders[plan.name][-1]["timing"]["throughput"]
    assert throughput["compute_streams"] in (1, throughput["in_flight"])
    assert throughput["otherwise_per_second"] > 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, build_engine: Build) -> Path:
    example = models.EXAMPLES["residual"]
    graph = tmp_path_factory.mktemp("streams") / "m.onnx"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs))
    build_engine(graph, graph.with_suffix(".engine"), batch=(1, 4, 4))
    return graph.with_suffix(".engine")


@pytest.fixture
def engine(small: Path) -> Iterator[Engine]:
    with Engine(small) as opened:
        yield opened


def query(engine: Engine, number: int) -> dict[str, np.ndarray]:
    return random_arrays([spec.with_batch(4) for spec in engine.inputs], seed=number)


def same(found: Arrays, expected: Arrays) -> bool:
    return all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.fixture
def expected(engine: Engine) -> list[dict[str, np.ndarray]]:
    with engine.session(4) as session:
        return [session.run(query(engine, number)) for number in range(QUERIES)]


def test_threads_give_what_one_gives(engine: Engine, expected: list[dict[str, np.ndarray]]) -> None:
    for own_stream in (False, True):
        with ExitStack() as stack:
            sessions = [
                stack.enter_context(engine.session(4, own_stream=own_stream)) for _ in range(5)
            ]

            def ask(lane: int, sessions: list[EngineSession] = sessions) -> bool:
                return all(
                    same(sessions[lane].run(query(engine, number)), expected[number])
                    for number in range(lane, QUERIES, 5)
                )

            with ThreadPoolExecutor(5) as pool:
                assert all(pool.map(ask, range(5)))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_callers_fill_the_buffers(
    engine: Engine, expected: list[dict[str, np.ndarray]], depth: int, cuda_graph: bool
) -> None:
    """One thread, several queries in flight; the next is written while the GPU computes."""
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(engine.session(4, cuda_graph=cuda_graph)) for _ in range(depth)
        ]
        pending: deque[EngineSession] = deque()
        found = []
        for number in range(QUERIES):
            session = sessions[number % depth]
            for name, buffer in session.inputs.items():
                buffer[...] = query(engine, number)[name]
            if session.is_pending:
                found.append(pending.popleft().collect())
            session.submit()
            pending.append(session)
        found += [session.collect() for session in pending]
    assert len(found) == QUERIES
    for one, other in zip(found, expected, strict=True):
        assert same(one, other)


def test_run_takes_what_was_filled(engine: Engine) -> None:
    with engine.session(4) as session:
        inputs = query(engine, 7)
        copied = session.run(inputs)
        for buffer in session.inputs.values():
            buffer[...] = 0
        assert not same(session.run(), copied)
        for name, buffer in session.inputs.items():
            buffer[...] = inputs[name]
        assert same(session.run(), copied)
        kept = dict(session.inputs)
    # Still memory of this process.
    for buffer in kept.values():
        buffer[...] = 1


def test_an_engine_that_takes_codes_is_filled_with_codes(
    tmp_path: Path, build_engine: Build
) -> None:
    example = models.EXAMPLES["residual"]
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs, quantized_input=True))
    build_engine(graph, plan, batch=(1, 4, 4))
    with Engine(plan) as engine, engine.session(4) as session:
        floats = session.run(query(engine, 1))
        # What the host has quantized is still there.
        assert {buffer.dtype for buffer in session.inputs.values()} == {np.dtype(np.int8)}
        assert same(session.run(), floats)


def test_closed_in_any_order(small: Path) -> None:
    first, second = Engine(small), Engine(small)
    sessions = [first.session(4), second.session(4), first.session(4, own_stream=True)]
    expected = sessions[1].run(query(second, 3))
    sessions[0].submit()
    sessions[0].close()
    sessions[2].close()
    first.close()
    assert same(sessions[1].run(query(second, 3)), expected)
    sessions[1].close()
    second.close()
    with Engine(small) as third, third.session(4) as session:
        assert same(session.run(query(third, 3)), expected)


def test_pytorch_in_flight_beside_an_engine(engine: Engine) -> None:
    """Both on one stream, from threads: each gives what it gives alone, captured or not.

    Without quantizers: uncaptured, cuDNN may choose other algorithms on another thread, and what is
    rounded otherwise may be another code.
    """
    example = models.EXAMPLES["residual"]
    for cuda_graph in (True, False):
        module = example.build().to("cuda")
        with (
            PyTorchModel(module, engine.inputs, device="cuda", cuda_graph=cuda_graph) as model,
            ExitStack() as stack,
        ):
            sessions: list[Session] = [
                *(stack.enter_context(engine.session(4)) for _ in range(2)),
                *(stack.enter_context(model.session(4)) for _ in range(2)),
            ]
            alone = [
                [session.run(query(engine, number)) for number in range(20)] for session in sessions
            ]

            def ask(lane: int) -> bool:
                return all(
                    np.allclose(array, alone[lane][number][name], atol=1e-3)  # noqa: B023
                    for number in range(20)
                    for name, array in sessions[lane].run(query(engine, number)).items()  # noqa: B023
                )

            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(ask, range(4)))


def test_a_capture_that_fails_leaves_the_stream_usable(
    engine: Engine, expected: list[dict[str, np.ndarray]]
) -> None:
    """PyTorch captures on the stream of all sessions: what it refuses must not stay on it."""
    import torch

    class Synchronizing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum().item() < 1e9 else x

    x = np.ones((4, 3), np.float32)
    spec = TensorSpec("x", (-1, 3))
    with (
        engine.session(4) as session,
        PyTorchModel(Synchronizing(), [spec], device="cuda") as model,
    ):
        for _ in range(2):
            with model.session(4) as eager:
                assert eager.mode == "PyTorch eager"
                (doubled,) = eager.run({"x": x}).values()
                assert doubled.tolist() == (2 * x).tolist()
            assert same(session.run(query(engine, 5)), expected[5])
        with engine.session(4) as captured:
            assert captured.mode == "CUDA graph"
            assert same(captured.run(query(engine, 6)), expected[6])
