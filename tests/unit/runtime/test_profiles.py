"""Which profile a session takes, on an engine that tells its profiles itself.

The engine is a stand-in, without a manifest. That the names which the code uses are TensorRT's is
for tests/unit/building/test_recorded_names.py, and what TensorRT does with them for tests/gpu.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.support.rtx_card import Card
from trtqat.data.batches import Batch
from trtqat.errors import InferenceError, UsageError
from trtqat.evaluation.batch_runner import BatchRunner
from trtqat.evaluation.gates import check_batch_sizes
from trtqat.evaluation.running import run_models
from trtqat.runtime.batches import batches_of_model, largest_batch, next_batch
from trtqat.runtime.engine import Engine
from trtqat.runtime.session import EngineSession

STATIC = [(1, 1, 1), (4, 4, 4), (8, 8, 8)]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "m.engine"


def images(count: int) -> np.ndarray:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


def doubles(session: EngineSession, size: int) -> bool:
    return np.array_equal(session.run({"x": images(size)})["y"], 2 * images(size))


def test_a_session_is_told_its_profile_before_its_shapes(card: Card, plan: Path) -> None:
    card.profiles = STATIC
    with Engine(plan) as engine:
        assert engine.manifest is None
        for index, (size, _, _) in enumerate(STATIC):
            with engine.session(size) as session:
                assert session.profile == index
                assert card.contexts[-1].calls == [f"profile {index}", f"shape {size}"]
                assert doubles(session, size)


def test_an_engine_of_one_profile_is_told_nothing(card: Card, plan: Path) -> None:
    with Engine(plan) as engine, engine.session(3) as session:
        assert (session.profile, card.contexts[-1].calls) == (0, ["shape 3"])
        assert (engine.batch_range, engine.optimal_batch) == ((1, 8), 4)
        assert "batch 1 to 8" in repr(engine)
        with pytest.raises(UsageError, match=r"Batch size 9 is outside of 1 to 8, .*--batch 1:9:9"):
            engine.session(9)


@pytest.mark.parametrize("profiles", [[(1, 4, 8)], [(4, 4, 4), (1, 4, 8)]])
def test_an_input_of_a_fixed_batch_keeps_it(
    card: Card, plan: Path, profiles: list[tuple[int, int, int]]
) -> None:
    card.profiles, card.anchors = profiles, (100, 4)
    with Engine(plan) as engine:
        assert (engine.batch_range, engine.optimal_batch) == ((1, 8), 4)
        assert engine.profiles.names == ("4", "1:4:8")[-len(profiles) :]
        for size in (1, 4, 8):
            with engine.session(size) as session:
                found = session.run({"x": images(size), "anchors": np.ones((100, 4), np.float32)})
                np.testing.assert_array_equal(found["y"], 2 * images(size))
                assert session.inputs["anchors"].shape == (100, 4)


@pytest.mark.parametrize(("built", "run"), [("details", "names"), ("none", "none")])
def test_profilers_get_names_at_most(card: Card, plan: Path, built: str, run: str) -> None:
    card.verbosity = built
    with Engine(plan) as engine, engine.session(3):
        assert card.contexts[-1].nvtx_verbosity == run


def test_sessions_of_several_profiles_at_once(card: Card, plan: Path) -> None:
    card.profiles = STATIC
    with Engine(plan) as engine, ExitStack() as stack:
        sessions = [stack.enter_context(engine.session(size)) for size in (8, 1, 4, 1)]
        assert [each.profile for each in sessions] == [2, 0, 1, 0]
        for session, size in zip(sessions, (8, 1, 4, 1), strict=True):
            assert doubles(session, size)


def test_a_batch_between_the_profiles(card: Card, plan: Path) -> None:
    card.profiles = STATIC
    with Engine(plan) as engine:
        assert (engine.batch_range, engine.optimal_batch) == ((1, 8), 8)
        assert "batch 1, 4 and 8" in repr(engine)
        for size in (2, 5, 9, 0):
            with pytest.raises(
                UsageError,
                match=rf"Batch size {size} is in no profile of 'm\.engine', which was built for "
                rf"1, 4 and 8\. Choose one of these, or .*--batch 1,4,8,{size}\.",
            ):
                engine.session(size)
    assert card.contexts == []


def test_the_narrowest_profile_and_an_asked_one(card: Card, plan: Path) -> None:
    card.profiles = [(1, 4, 8), (4, 4, 4)]
    with Engine(plan) as engine:
        for size, index in ((3, 0), (4, 1), (5, 0)):
            with engine.session(size) as session:
                assert session.profile == index
        with engine.session(4, profile=0) as session:
            assert session.profile == 0
        with pytest.raises(UsageError, match=r"Batch size 5 is not in profile 1 .* is for 4\."):
            engine.session(5, profile=1)
        for profile in (2, -1):
            with pytest.raises(UsageError, match=f"no profile {profile}; its last one is 1") as no:
                engine.session(4, profile=profile)
            assert no.value.remedy.startswith("Leave out the profile")


def test_a_profile_that_tensorrt_refuses(card: Card, plan: Path) -> None:
    card.profiles, card.takes_profiles = STATIC, False
    with Engine(plan) as engine, pytest.raises(InferenceError, match="refuses profile 1 of"):
        engine.session(4, cuda_graph=False)


class Images:
    """Nine of them."""

    name = "nine"

    def __len__(self) -> int:
        return 9

    def batch(self, start: int, stop: int) -> Batch:
        return Batch({"x": images(9)[start:stop]}, None)


def test_a_last_batch_is_padded_to_the_next_that_a_profile_holds(card: Card, plan: Path) -> None:
    card.profiles = [(2, 2, 2), (7, 7, 7), (20, 20, 20)]
    with Engine(plan) as engine:
        found = list(run_models([engine], Images(), batch_size=7))
        assert [each.start for each in found] == [0, 7]
        rows = np.concatenate([each.outputs[0]["y"] for each in found])
        np.testing.assert_array_equal(rows, 2 * images(9))
        assert {each.shape[0] for each in card.contexts} == {7, 2}
        runner = BatchRunner(engine)
        np.testing.assert_array_equal(runner.run({"x": images(9)}, 9)["y"], 2 * images(9))
        runner.close()
        assert card.contexts[-1].shape == (20, 3)


def test_what_an_evaluation_asks(card: Card, plan: Path) -> None:
    card.profiles = STATIC
    with Engine(plan) as engine:
        assert [next_batch(engine, size) for size in (1, 2, 4, 5, 8, 9)] == [1, 4, 4, 8, 8, None]
        assert [largest_batch([engine], size) for size in (1, 3, 7, 8, 99)] == [1, 1, 4, 8, 8]
        assert batches_of_model(engine) == "1, 4 and 8"
        check_batch_sizes([engine], (1, 4, 8))
        for size in (0, 3, 16):
            with pytest.raises(UsageError, match=r"not one that 'm\.engine' takes \(1, 4 and 8\)"):
                check_batch_sizes([engine], (4, size))
