"""Tuning without a GPU: a stand-in for builder and card, and what its tests ask of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.examples import exported
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_profiles
from trtqat.building.tuned_options import TunedOptions, read_tuned
from trtqat.errors import BuildError
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.search.speed import tuning
from trtqat.search.speed.checking import TuneHost
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.points import Point
from trtqat.search.speed.tune_log import Int8Part, Measured, MeasuredTime
from trtqat.search.speed.within_target import Counted


class Card:
    """Stands for builder and GPU: the first region gains by floating point, but costs accuracy.

    Attributes:
        killed_at: After so many builds the process is killed.
        made: What was built.
        handed_out: Whose plan was written beside the graph.
        at_batch: What the other regions cost by batch, or shapes, in INT8; in floating point they
            take 2 ms.
        wide: By how much a profile for several batches alone slows a plan down, by whether it has
            INT8 regions.
        lever: How much faster a plan is by a form's options.
        first_gains: Whether the first region gains by floating point.
        repaired: By how much exact repairs slow down an engine that has INT8 regions.
        refuses: What TensorRT does not build.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed_at: int | None = None
        self.made: list[Candidate] = []
        self.handed_out: Candidate | None = None
        self.at_batch: dict[Point, float] = {}
        self.wide = {True: 1.0, False: 1.0}
        self.several = {True: 1.0, False: 1.0}
        self.lever: Callable[[Form], float] = lambda form: 1.0
        self.first_gains = True
        self.repaired = 1.0
        self.refuses: Callable[[Candidate], bool] = lambda one: False
        monkeypatch.setattr(tuning, "check_host", lambda: None)
        host = TuneHost("A GPU", "580", "8.6.0")
        monkeypatch.setattr(tuning, "describe_host", lambda: host)
        # Functions, so that they are the workshop's own methods.
        for name in ("make", "compare", "count", "hand_out"):
            method = getattr(self, name)
            monkeypatch.setattr(EngineWorkshop, name, lambda *given, method=method: method(*given))

    def costs(self, made: EngineWorkshop, one: Candidate, batch: Point) -> dict[int, float]:
        regions = made.regions_of(one.form)
        count = len(regions)
        quantized = [at for at in range(count) if regions[at].is_quantized]
        slower = self.lever(one.form)
        has_int8 = not set(quantized) <= set(one.floats)
        if one.form.is_repaired and has_int8:
            slower *= self.repaired
        alone = str(batch) in one.form.profiles
        if one.form.profiles and not alone:
            slower *= self.wide[has_int8]
        elif any(map(is_range, one.form.profiles)):
            slower *= self.several[has_int8]
        int8 = self.at_batch.get(batch, 1.0)
        costs = {at: (2.0 if at in one.floats else int8) * slower for at in range(count)}
        if self.first_gains:
            costs[0] = (1.0 if 0 in one.floats else 2.0) * slower
        return costs

    def times(self, made: EngineWorkshop, one: Candidate) -> dict[Point, float]:
        return {batch: sum(self.costs(made, one, batch).values()) for batch in made.batches}

    def make(self, made: EngineWorkshop, one: Candidate) -> Measured:
        if len(self.made) == self.killed_at:
            raise KeyboardInterrupt
        self.made.append(one)
        if self.refuses(one):
            raise BuildError("TensorRT refuses the graph.", "Change it.")
        times: dict[Point, MeasuredTime] = {
            batch: MeasuredTime(time_ms, Interval(time_ms * 0.999, time_ms * 1.001))
            for batch, time_ms in self.times(made, one).items()
        }
        costs = {batch: self.costs(made, one, batch) for batch in made.batches}
        return Measured(times, costs, Int8Part(3, 5, 0, 0.625))

    def compare(self, made: EngineWorkshop, one: Candidate, other: Candidate) -> dict[Point, Ratio]:
        mine, others = self.times(made, one), self.times(made, other)
        values = {batch: others[batch] / mine[batch] for batch in made.batches}
        return {
            batch: Ratio(value, Interval(value * 0.999, value * 1.001), 9)
            for batch, value in values.items()
        }

    def hand_out(self, made: EngineWorkshop, one: Candidate, graph: Path, plan: Path) -> None:
        self.handed_out = one
        assert graph.exists()
        plan.write_bytes(b"a plan")

    def count(self, made: EngineWorkshop, one: Candidate) -> Counted:
        return Counted({(0,): 80, (): 88}.get(one.floats, 90), 100)


def is_range(profile: str) -> bool:
    """Whether a profile is for more than one batch; of shapes each input has one colon."""
    return profile.count(":") > ("x" in profile)


def data_for(name: str, folder: Path, *, labels: bool) -> str:
    arrays: dict[str, Any] = dict(exported(name, folder)[1].batch(0, 24).inputs)
    if labels:
        arrays["labels"] = np.zeros(24, np.int64)
    np.savez(folder / "val.npz", **arrays)
    return f"npz:{folder / 'val.npz'}"


def first_region(path: Path) -> str:
    model = read_model(path)
    infer_shapes(model)
    return regions_of(model)[0].name


def graph_pairs(path: Path) -> int:
    return sum(node.op_type == "DequantizeLinear" for node in read_model(path).graph)


def options_of(output: Path) -> TunedOptions:
    return read_tuned(output.with_suffix(".json"))


def asked(batch: str) -> BuildOptions:
    return BuildOptions(profile=parse_profiles(batch, {}))
