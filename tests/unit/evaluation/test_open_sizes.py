"""An engine that leaves more open than the batch runs at the size of its data.

The engine is a stand-in that doubles its input; TensorRT is for tests/gpu.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.support.rtx_card import Card
from trtqat.data.dataset import open_dataset
from trtqat.errors import UsageError
from trtqat.evaluation import measure
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.open_sizes import sizes_for, take_sizes
from trtqat.host.environment import Environment
from trtqat.runtime.engine import Engine


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card(monkeypatch)
    card.widths = (2, 4, 8)
    here = Environment("Linux-x86_64", "3.11", "a CPU", {})
    monkeypatch.setattr(measure, "describe_environment", lambda *, with_gpu: here)
    return card


def test_sessions_are_of_the_chosen_size(card: Card, tmp_path: Path) -> None:
    with Engine(tmp_path / "m.engine") as engine:
        assert [spec.shape for spec in engine.session_inputs] == [(-1, 4)]
        for width in (4, 7, 2):
            engine.choose_sizes({"x": (width,)})
            assert [spec.shape for spec in engine.session_inputs] == [(-1, width)]
            with engine.session(3) as session:
                assert card.contexts[-1].shape == (3, width)
                x = np.arange(3 * width, dtype=np.float32).reshape(3, width)
                np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
        # What it was tuned for otherwise, and what it takes, stay.
        assert (engine.optimal_batch, engine.batch_range) == (4, (1, 8))
        assert [spec.shape for spec in engine.inputs] == [(-1, -1)]


@pytest.mark.parametrize("size", [(1,), (9,), (4, 4)])
def test_sizes_that_it_was_not_built_for(card: Card, tmp_path: Path, size: tuple[int, ...]) -> None:
    shown = "x".join(map(str, size))
    with Engine(tmp_path / "m.engine") as engine:
        with pytest.raises(UsageError, match=f"Input 'x' of 'm.engine' takes 2 to 8, not {shown}"):
            engine.choose_sizes({"x": size})
        assert [spec.shape for spec in engine.session_inputs] == [(-1, 4)]


def test_the_size_is_that_of_the_data(card: Card, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((5, 6), np.float32))
    with Engine(tmp_path / "m.engine") as engine:
        sizes = sizes_for(engine, open_dataset(f"npz:{tmp_path / 'd.npz'}", engine.inputs))
        assert sizes == {"x": (6,)}
        take_sizes(engine, sizes)
        assert [spec.shape for spec in engine.session_inputs] == [(-1, 6)]


@pytest.mark.parametrize(("data", "width"), [("npz:d.npz", 6), ("random:5", 4)])
def test_an_evaluation_is_at_that_size(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, width: int
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.ones((5, 6), np.float32))
    with Engine(tmp_path / "m.engine") as engine:
        report = evaluate(engine, data, batch_size=4, latency=None)
        assert report.images == 5
        assert {context.shape[1] for context in card.contexts} == {width}
        assert [spec.shape for spec in engine.session_inputs] == [(-1, 4)]


@pytest.mark.parametrize(
    ("data", "width", "batches"), [("npz:d.npz", 6, {4, 1}), ("random:5", 8, {2})]
)
def test_an_evaluation_runs_by_the_profile_of_its_size(
    card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    width: int,
    batches: set[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.ones((5, 6), np.float32))
    card.profiles, card.widths = [(1, 2, 4), (2, 2, 2)], [(6, 6, 6), (8, 8, 8)]
    with Engine(tmp_path / "m.engine") as engine, caplog.at_level(logging.INFO):
        report = evaluate(engine, data, batch_size=max(batches), latency=None)
        assert f"'m.engine' runs at x {width}." in caplog.text
        assert report.images == 5
        assert {context.shape for context in card.contexts} == {(each, width) for each in batches}
        # The caller's engine is left as it was.
        assert [spec.shape for spec in engine.session_inputs] == [(-1, 8)]


def test_an_evaluation_of_a_size_that_it_was_not_built_for(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.ones((5, 9), np.float32))
    with Engine(tmp_path / "m.engine") as engine, pytest.raises(UsageError, match="2 to 8, not 9"):
        evaluate(engine, "npz:d.npz", batch_size=4, latency=None)


def test_nothing_is_chosen_where_nothing_is_open(card: Card, tmp_path: Path) -> None:
    card.widths = (3, 3, 3)
    with Engine(tmp_path / "m.engine") as engine:
        assert sizes_for(engine, open_dataset("random:2", engine.inputs)) == {}
