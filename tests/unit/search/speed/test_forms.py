"""Which form the plan that is handed out has, in worlds where each form has its cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from trtqat.search.speed.forms import Form, levers_of
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import choose_form, pull_levers
from trtqat.search.speed.trials import Tried

INTERVAL = 0.005
STATIC, WIDE, SEVERAL = Form(("8",)), Form(("1:8:16",)), Form(("8", "1:8:16"))
INT8, SOME, FLOAT = frozenset[int](), frozenset({0}), frozenset({0, 1})


@dataclass
class World:
    """Times of engines by their regions and profiles; options scale them.

    Attributes:
        times_ms: By assignment and profiles.
        budget: Builds that the budget allows.
        level_5: What the highest optimization level scales a time by.
        fp32: What leaving FP16 out scales it by.
        refused: Profiles that TensorRT does not build for an assignment.
    """

    times_ms: dict[tuple[Assignment, tuple[str, ...]], float]
    budget: int = 100
    level_5: float = 1.0
    fp32: float = 1.0
    refused: frozenset[tuple[Assignment, tuple[str, ...]]] = frozenset()
    built: list[tuple[Assignment, Form]] = field(default_factory=list)

    def time_ms(self, assignment: Assignment, form: Form) -> float:
        scale = (self.level_5 if form.optimization_level == 5 else 1) * (
            1 if form.fp16 else self.fp32
        )
        return scale * self.times_ms[assignment, form.batches]

    def may_run(self, assignment: Assignment, form: Form | None = None) -> bool:
        return len(self.built) < self.budget

    def run(self, assignment: Assignment, form: Form | None = None) -> Tried | None:
        assert form is not None
        self.built.append((assignment, form))
        if (assignment, form.batches) in self.refused:
            return None
        return Tried(assignment, self.time_ms(assignment, form), {}, form)

    def is_faster(self, one: Tried, other: Tried) -> bool:
        return one.time_ms < other.time_ms * (1 - INTERVAL)

    def tried(self, assignment: Assignment) -> Tried:
        return Tried(assignment, self.time_ms(assignment, STATIC), {}, STATIC)

    @property
    def ends(self) -> tuple[Tried, Tried]:
        return self.tried(INT8), self.tried(FLOAT)


costs = st.floats(0.1, 2.0)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return World(
        {
            (assignment, form.batches): draw(costs)
            for assignment in (INT8, SOME, FLOAT)
            for form in (STATIC, WIDE, SEVERAL)
        }
    )


@given(worlds())
def test_of_the_answers_forms_none_is_faster(world: World) -> None:
    found = choose_form(world.tried(SOME), world.ends, (WIDE, SEVERAL), world)
    assert found is not None
    assert found.is_complete
    assert found.best.form in (WIDE, SEVERAL)
    for form in (WIDE, SEVERAL):
        assert found.best.time_ms <= world.time_ms(SOME, form) / (1 - INTERVAL)


@given(worlds())
def test_where_the_form_costs_no_end_in_it_is_faster(world: World) -> None:
    answer = world.tried(SOME)
    found = choose_form(answer, world.ends, (WIDE, SEVERAL), world)
    assert found is not None
    mine = min(world.time_ms(SOME, form) for form in (WIDE, SEVERAL))
    if answer.time_ms < mine * (1 - INTERVAL):
        for end in (INT8, FLOAT):
            assert found.best.time_ms <= world.time_ms(end, found.best.form) / (1 - INTERVAL) ** 2
    else:
        # Then it cannot matter, and no end is built again.
        assert {assignment for assignment, _ in world.built} == {SOME}


def flat() -> World:
    forms = (STATIC, WIDE, SEVERAL)
    return World({(each, form.batches): 1.0 for each in (INT8, SOME, FLOAT) for form in forms})


def test_a_searched_form_that_takes_everything_is_the_answer() -> None:
    world = flat()
    found = choose_form(world.tried(SOME), world.ends, (), world)
    assert found is not None
    assert (found.best, world.built) == (world.tried(SOME), [])


def test_a_plan_is_built_whatever_the_budget_says() -> None:
    world = flat()
    world.budget = 0
    found = choose_form(world.tried(SOME), world.ends, (WIDE, SEVERAL), world)
    assert found is not None
    assert (found.best.form, found.is_complete) == (SEVERAL, False)
    assert world.built == [(SOME, SEVERAL)]


def test_where_the_answer_does_not_build_in_any_form_an_end_is_taken() -> None:
    world = flat()
    world.refused = frozenset({(SOME, WIDE.batches), (SOME, SEVERAL.batches)})
    found = choose_form(world.tried(SOME), world.ends, (WIDE, SEVERAL), world)
    assert found is not None
    assert (found.best.assignment, found.best.form) == (FLOAT, WIDE)
    world.refused = frozenset(key for key in world.times_ms if key[1] != STATIC.batches)
    assert choose_form(world.tried(SOME), world.ends, (WIDE, SEVERAL), world) is None


def test_a_form_that_lost_the_accuracy_is_none() -> None:
    world = flat()
    world.times_ms[SOME, SEVERAL.batches] = 0.5
    found = choose_form(
        world.tried(SOME),
        world.ends,
        (WIDE, SEVERAL),
        world,
        is_accurate=lambda each: each.form != SEVERAL,
    )
    assert found is not None
    assert (found.best.assignment, found.best.form) == (SOME, WIDE)


@given(costs, costs)
def test_levers_never_make_it_slower(level_5: float, fp32: float) -> None:
    world = flat()
    world.level_5, world.fp32 = level_5, fp32
    best = replace(world.tried(SOME), form=WIDE)
    pulled = pull_levers(best, levers_of(FLOAT, level_is_given=False), world)
    assert pulled.best.time_ms <= min(1.0, level_5, fp32, level_5 * fp32) / (1 - INTERVAL) ** 2
    assert len(world.built) == 2


def test_levers_that_do_not_apply_are_not_built() -> None:
    world = flat()
    plain = world.tried(FLOAT)
    pull_levers(plain, levers_of(FLOAT, level_is_given=True), world)
    assert world.built == []
    world.budget = 0
    pulled = pull_levers(plain, levers_of(FLOAT, level_is_given=False), world)
    assert (pulled.best, pulled.is_complete) == (plain, False)
