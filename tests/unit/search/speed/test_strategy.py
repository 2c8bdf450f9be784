"""The search in worlds whose costs are known: what it finds, and how many engines it builds.

A world says what each region costs in INT8 and in floating point, and what each border between
the two costs. It shows what the strategy does with what it is told, and nothing of TensorRT.
"""

from __future__ import annotations

import random as random_module
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.worlds import INTERVAL, World
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import search
from trtqat.search.speed.trials import SearchRegion, Tried

costs = st.floats(0.01, 1.0)


@st.composite
def worlds(draw: st.DrawFn, *, visible: bool) -> World:
    count = draw(st.integers(1, 7))
    lists = st.lists(costs, min_size=count, max_size=count)
    hidden = frozenset() if visible else draw(st.frozensets(st.integers(0, count - 1)))
    return World(draw(lists), draw(lists), draw(st.floats(0, 0.3)), hidden=hidden)


@given(worlds(visible=True))
def test_where_regions_tell_their_times_the_best_of_all_is_found(world: World) -> None:
    found = search(world.regions(), world)
    assert found is not None
    assert found.best.time_ms <= world.best_of_all() / (1 - INTERVAL) ** 2 + 1e-9
    assert found.is_complete


@given(worlds(visible=False))
def test_the_best_is_never_slower_than_an_end(world: World) -> None:
    found = search(world.regions(), world)
    assert found is not None
    assert len(found.ends) == 2
    for end in found.ends:
        assert found.best.time_ms <= end.time_ms / (1 - INTERVAL)
    assert found.best in found.tried


@given(worlds(visible=False), st.integers(2, 5))
def test_the_budget_ends_it_with_the_best_so_far(world: World, budget: int) -> None:
    world.budget = budget
    found = search(world.regions(), world)
    assert found is not None
    assert len(world.built) <= budget
    least = min(each.time_ms for each in found.tried)
    assert found.best.time_ms <= least / (1 - INTERVAL) ** budget


def planted(hidden: bool) -> World:
    """Sixteen blocks of two kinds, of which one loses by INT8, and a stem and a head that lose."""
    kinds = ["stem", *["attention", "mlp"] * 8, "head"]
    int8 = {"stem": 0.3, "attention": 0.16, "mlp": 0.05, "head": 0.06}
    plain = {"stem": 0.2, "attention": 0.10, "mlp": 0.09, "head": 0.04}
    return World(
        [int8[kind] for kind in kinds],
        [plain[kind] for kind in kinds],
        border_ms=0.004,
        kinds=kinds,
        hidden=frozenset(range(len(kinds))) if hidden else frozenset(),
    )


@pytest.mark.parametrize("hidden", [False, True])
def test_planted_kinds_are_found_with_few_builds(hidden: bool) -> None:
    world = planted(hidden)
    found = search(world.regions(), world)
    assert found is not None
    mlp = {place for place, kind in enumerate(world.kinds) if kind == "mlp"}
    assert found.best.assignment == frozenset(range(len(world.kinds))) - mlp
    ends = [each.time_ms for each in found.ends]
    assert found.best.time_ms < 0.9 * min(ends)
    assert len(world.built) <= (4 if not hidden else 12)


def test_one_costly_region_among_many_is_found() -> None:
    count = 18
    int8, plain = [0.03] * count, [0.05] * count
    int8[7] = 0.2
    world = World(int8, plain, border_ms=0.005)
    found = search(world.regions(), world)
    assert found is not None
    assert found.best.assignment == {7}
    assert len(world.built) == 3


def test_a_region_that_tells_its_cost_beside_a_subgraph_that_does_not() -> None:
    """As a ViT: floating point wins by the patches alone, and all behind them is one black box."""
    kinds = ["patches", *["attention", "mlp"] * 12]
    world = World(
        [0.245, *[0.061] * 24],
        [0.099, *[0.065] * 24],
        border_ms=0.005,
        kinds=kinds,
        hidden=frozenset(range(1, 25)),
    )
    # The ends, and the answer.
    world.budget = 3
    found = search(world.regions(), world)
    assert found is not None
    int8, plain = (each.time_ms for each in found.ends)
    assert plain < int8
    assert found.best.assignment == {0}
    assert found.best.time_ms < 0.95 * plain
    # Without room for the answer, what it promised is told.
    again = replace(world, budget=2, built=[])
    short = search(again.regions(), again)
    assert short is not None
    assert not short.is_complete
    assert short.promised_gain == pytest.approx(1 - found.best.time_ms / plain, abs=0.01)


def test_borders_that_cost_more_than_they_gain_leave_an_end() -> None:
    """As a ViT that is quantized in part: all or nothing."""
    kinds = ["attention", "mlp"] * 6
    world = World([0.12, 0.10] * 6, [0.11, 0.105] * 6, border_ms=0.05, kinds=kinds)
    for hidden in (frozenset[int](), frozenset(range(12))):
        world.hidden, world.built = hidden, []
        found = search(world.regions(), world)
        assert found is not None
        assert found.best.assignment in (frozenset(), frozenset(range(12)))
        assert len(world.built) <= 6


def test_what_does_not_build_is_passed_over() -> None:
    world = planted(hidden=False)
    everything = frozenset(range(len(world.kinds)))
    world.refused = frozenset({everything})
    found = search(world.regions(), world)
    assert found is not None
    assert [each.assignment for each in found.ends] == [frozenset()]
    assert found.best.time_ms < found.ends[0].time_ms
    world.refused, world.built = frozenset({everything, frozenset()}), []
    assert search(world.regions(), world) is None


def test_regions_without_int8_layers_stay_as_they_are() -> None:
    world = World([0.2, 0.2, 0.2], [0.1, 0.1, 0.1])
    regions = [
        SearchRegion(each.kind, each.share, place != 1)
        for place, each in enumerate(world.regions())
    ]
    found = search(regions, world)
    assert found is not None
    assert all(1 not in each.assignment for each in found.tried)
    assert found.best.assignment == {0, 2}


def test_what_a_region_without_int8_layers_costs_beside_others_counts() -> None:
    """The one in the middle makes floats of codes, beside a first one in INT8 alone."""

    class Converting(World):
        def run(self, assignment: Assignment) -> Tried | None:
            self.built.append(assignment)
            first = 1.2 if 0 in assignment else 1.0
            middle = 1.0 if 0 in assignment else 1.5
            told = {0: first, 1: middle, 2: 2.0 if 2 in assignment else 0.5}
            return Tried(assignment, sum(told.values()), told)

        def is_faster(self, one: Tried, other: Tried) -> bool:
            return one.time_ms < other.time_ms

    world = Converting([1.0] * 3, [1.0] * 3)
    regions = [SearchRegion(name, 1 / 3, name != "middle") for name in ("first", "middle", "last")]
    found = search(regions, world)
    assert found is not None
    assert found.best.assignment == {0}
    assert len(world.built) == 3


@given(worlds(visible=True), st.randoms(use_true_random=False))
def test_noise_does_not_lose_to_an_end_and_ends_soon(
    world: World, random: random_module.Random
) -> None:
    """Times are off by 1 %, regions' by 5 %, and turns now and then call a tie a gain."""

    class Noisy(World):
        def run(self, assignment: Assignment) -> Tried | None:
            tried = super().run(assignment)
            assert tried is not None
            told = {at: ms * random.uniform(0.95, 1.05) for at, ms in tried.region_ms.items()}
            return Tried(assignment, tried.time_ms * random.uniform(0.99, 1.01), told)

        def is_faster(self, one: Tried, other: Tried) -> bool:
            ratio = self.time_ms(other.assignment) / self.time_ms(one.assignment)
            return ratio * random.uniform(1 - INTERVAL, 1 + INTERVAL) > 1 + INTERVAL / 2

    noisy = Noisy(world.int8_ms, world.float_ms, world.border_ms)
    found = search(noisy.regions(), noisy)
    assert found is not None
    for end in found.ends:
        # Each change of the best one may err within the interval, and few changes are made.
        best_ms = noisy.time_ms(found.best.assignment)
        assert best_ms <= noisy.time_ms(end.assignment) * (1 + INTERVAL) ** 3


def test_hundreds_of_regions_take_few_builds() -> None:
    """Of 400 regions of 8 kinds half lose, at random; what is expected is found at once."""
    random = random_module.Random(0)
    count = 400
    kinds = [str(place % 8) for place in range(count)]
    int8 = [random.uniform(0.01, 0.02) for _ in range(count)]
    plain = [random.uniform(0.01, 0.02) for _ in range(count)]
    for hidden in (frozenset[int](), frozenset(range(count))):
        world = World(int8, plain, 0.001, kinds=kinds, hidden=hidden, budget=20)
        found = search(world.regions(), world)
        assert found is not None
        assert len(world.built) <= 20
        assert found.best.time_ms <= min(each.time_ms for each in found.ends)
        if not hidden:
            assert found.best.time_ms < 0.95 * min(each.time_ms for each in found.ends)


def test_what_the_best_engine_does_not_tell_is_no_gain_already() -> None:
    """A region that only the other end's layers tell does not make the best one look cheaper."""

    class Shy(World):
        def run(self, assignment: Assignment) -> Tried | None:
            tried = super().run(assignment)
            assert tried is not None
            # A third build tells nothing of the first region, which two others have told.
            told = dict(tried.region_ms)
            if len(self.built) == 3:
                del told[0]
            return Tried(assignment, tried.time_ms, told)

    world = Shy([0.2, 0.1, 0.1, 0.5], [0.1, 0.3, 0.2, 0.1], border_ms=0.06)
    found = search(world.regions(), world)
    assert found is not None
    assert found.best.time_ms == pytest.approx(world.best_of_all())


def test_the_best_one_is_compared_again_with_what_was_as_fast_as_it() -> None:
    """One engine is as fast as a second by a chance, which is seen in the end."""
    asked: set[tuple[Assignment, Assignment]] = set()

    class Blind(World):
        def is_faster(self, one: Tried, other: Tried) -> bool:
            turns = one.assignment, other.assignment
            was_asked = turns in asked
            asked.add(turns)
            return was_asked and super().is_faster(one, other)

    world = Blind([0.1, 0.1], [0.11, 0.05])
    found = search(world.regions(), world)
    assert found is not None
    assert found.best.time_ms == min(each.time_ms for each in found.tried)
