"""Which profile a session takes of an engine with a profile for each of several sizes.

The engine is a stand-in that doubles its input; what TensorRT makes of it is for tests/gpu.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.rtx_card import Card
from trtqat.errors import UsageError
from trtqat.evaluation.gates import check_batch_sizes
from trtqat.runtime.batches import batches_of_model, next_batch
from trtqat.runtime.engine import Engine


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card(monkeypatch)
    card.profiles = [(1, 4, 8), (1, 4, 8), (2, 2, 2)]
    card.widths = [(16, 16, 16), (32, 32, 32), (64, 64, 64)]
    return card


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "m.engine"


def test_a_session_takes_the_profile_of_its_size(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        for batch, width, index in ((4, 16, 0), (1, 32, 1), (2, 64, 2), (8, 16, 0)):
            with engine.session(batch, sizes={"x": (width,)}) as session:
                assert session.profile == index
                assert card.contexts[-1].calls == [f"profile {index}", f"shape {batch}"]
                assert card.contexts[-1].shape == (batch, width)
                x = np.arange(batch * width, dtype=np.float32).reshape(batch, width)
                np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)


def test_without_a_size_it_is_that_of_the_most_elements(card: Card, plan: Path) -> None:
    """2 x 64 and 4 x 32 are as many: the first of them."""
    with Engine(plan) as engine:
        assert [each.shape for each in engine.session_inputs] == [(-1, 32)]
        assert (engine.batch_range, engine.optimal_batch) == ((1, 8), 4)
        assert "x:1:4:8x16, x:1:4:8x32, x:2x64" in repr(engine)
        for batch in (1, 8):
            with engine.session(batch) as session:
                assert (session.profile, card.contexts[-1].shape) == (1, (batch, 32))


def test_who_asks_for_a_profile_gets_its_size(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        for index, width in enumerate((16, 32, 64)):
            with engine.session(2, profile=index) as session:
                assert (session.profile, card.contexts[-1].shape) == (index, (2, width))
        with pytest.raises(UsageError, match=r"x 16 is not in profile 1 .* for x:1:4:8x32\."):
            engine.session(2, profile=1, sizes={"x": (16,)})


def test_a_batch_that_only_another_size_has(card: Card, plan: Path) -> None:
    card.profiles[2] = (16, 16, 16)
    with Engine(plan) as engine:
        assert [each.shape for each in engine.session_inputs] == [(-1, 64)]
        assert engine.batch_range == (16, 16)
        with engine.session(4) as session:
            assert (session.profile, card.contexts[-1].shape) == (0, (4, 16))


def test_what_an_evaluation_asks_is_of_the_chosen_size(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        engine.choose_sizes({"x": (64,)})
        assert (engine.batch_range, engine.optimal_batch) == ((2, 2), 2)
        assert batches_of_model(engine) == "2 at x 64"
        assert [next_batch(engine, size) for size in (1, 2, 3)] == [2, 2, None]
        with pytest.raises(UsageError, match=r"not one that 'm\.engine' takes \(2 at x 64\)"):
            check_batch_sizes([engine], (4,))
        engine.choose_sizes({"x": (16,)})
        assert engine.batch_range == (1, 8)
        check_batch_sizes([engine], (4,))


def test_another_process_opens_it_at_the_same_size(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        engine.choose_sizes({"x": (64,)})
        with engine.reopen() as again:
            assert [each.shape for each in again.session_inputs] == [(-1, 64)]
            with again.session(2) as session:
                assert session.profile == 2


LISTED = r"has profile 0 for x:1:4:8x16, profile 1 for x:1:4:8x32, profile 2 for x:2x64\."


def test_what_is_in_no_profile_is_told_with_all_of_them(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        with pytest.raises(UsageError, match=rf"x 20 is in no profile of 'm\.engine', .*{LISTED}"):
            engine.choose_sizes({"x": (20,)})
        with pytest.raises(UsageError, match=r"'images' is no input of 'm\.engine'\..* are x\."):
            engine.choose_sizes({"images": (16,)})
        with pytest.raises(
            UsageError,
            match=rf"Batch size 4 at x 64 is in no profile .*{LISTED} Choose one of 2 at",
        ):
            engine.session(4, sizes={"x": (64,)})
        with pytest.raises(UsageError, match=rf"Batch size 9 at x 32 is in no profile .*{LISTED}"):
            engine.session(9)
    assert card.contexts == []


def test_of_ranges_the_nearest_optimum(card: Card, plan: Path) -> None:
    card.profiles = [(1, 4, 8)] * 2
    card.widths = [(8, 16, 64), (8, 48, 64)]
    with Engine(plan) as engine:
        for width, index in ((8, 0), (16, 0), (33, 1), (64, 1)):
            with engine.session(4, sizes={"x": (width,)}) as session:
                assert (session.profile, card.contexts[-1].shape) == (index, (4, width))


def test_kernels_of_each_size_are_compiled_once(card: Card, plan: Path) -> None:
    with Engine(plan) as engine:
        for width in (16, 32, 16):
            engine.session(4, sizes={"x": (width,)}).close()
        assert [each.batch_size for each in engine.compilations] == [4, 4]
