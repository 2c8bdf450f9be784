"""The forms of a plan: of which graph, for which shapes by which profiles, and how it is built.

While regions are searched, every engine has a profile for each measured batch alone, and where
sizes are open for each measured batch of a size: what an engine can do is one question, and what a
wide profile costs another. The plan that is handed out takes every shape that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import ProfileOptions, resolve_profiles
from trtqat.plan.profile_text import DEFAULT_BATCH, profile_text
from trtqat.plan.profiles import batches_of
from trtqat.search.speed.points import Point, ascending, point_at_optimum
from trtqat.search.speed.region_costs import Assignment
from trtqat.tensors import DYNAMIC, TensorSpec

_HIGHEST_LEVEL = 5
# From an assignment and the form of its plan to another form; None where it does not apply.
Lever = Callable[[Assignment, "Form"], "Form | None"]


@dataclass(frozen=True)
class Form:
    """How a plan is built, besides what all plans of a search share.

    Attributes:
        batches: As ``--batch`` takes them, each of a profile; empty of a graph with a fixed batch,
            and where there are shapes.
        optimization_level: 0 to 5; None is TensorRT's default.
        fp16: Whether layers that are not INT8 may be FP16.
        is_repaired: Whether it is built from the graph whose pairs were moved, removed and merged
            by exact repairs.
        shapes: As ``--shapes`` takes them, each of a profile; empty unless sizes are open.
    """

    batches: tuple[str, ...] = ()
    optimization_level: int | None = None
    fp16: bool = True
    is_repaired: bool = False
    shapes: tuple[str, ...] = ()

    @property
    def profile(self) -> ProfileOptions:
        """The shape profiles."""
        return parse_profiles(list(self.batches) or None, {}, self.shapes)

    @property
    def profiles(self) -> tuple[str, ...]:
        """What each profile is called: as ``--batch`` takes it, or ``--shapes``."""
        return self.shapes or self.batches

    def with_profiles(self, profiles: tuple[str, ...]) -> Form:
        """The same with other profiles, called alike."""
        if self.shapes:
            return replace(self, shapes=profiles)
        return replace(self, batches=profiles)


@dataclass(frozen=True)
class Candidate:
    """An engine that can be built.

    Attributes:
        floats: Places of its regions in floating point, ascending, among those of the form's graph.
        form: Of its plan.
    """

    floats: tuple[int, ...]
    form: Form

    @classmethod
    def of(cls, assignment: Assignment, form: Form) -> Candidate:
        """The engine of an assignment in a form."""
        return cls(tuple(sorted(assignment)), form)


@dataclass(frozen=True)
class Batches:
    """The batches of a search, or where sizes are open the batches of a size.

    Attributes:
        measured: Where engines are measured, ascending.
        asked: What the plan that is handed out must take, as ``--batch`` or ``--shapes`` takes it;
            empty of a graph with a fixed batch.
    """

    measured: tuple[Point, ...]
    asked: tuple[str, ...]

    @property
    def has_sizes(self) -> bool:
        """Whether sizes are said, and not batches alone."""
        return any(isinstance(point, str) for point in self.measured)

    def searched(self, optimization_level: int | None) -> Form:
        """The form of all engines while regions are searched: each measured point alone."""
        points = tuple(map(str, self.measured)) if self.asked else ()
        if self.has_sizes:
            return Form(optimization_level=optimization_level, shapes=points)
        return Form(points, optimization_level)

    def final(self, searched: Form) -> tuple[Form, ...]:
        """The forms that take all that was asked for, the one to prefer among equals first.

        Empty where the searched form does so itself. Behind what was asked for stands the same with
        a profile for each measured size, where it has none.

        Args:
            searched: Form of the engines of the search.
        """
        if set(self.asked) == set(searched.profiles):
            return ()
        alone = [point for point in searched.profiles if point not in self.asked]
        plain = searched.with_profiles(self.asked)
        return (plain, plain.with_profiles((*alone, *self.asked))) if alone else (plain,)


def levers_of(all_float: Assignment, *, level_is_given: bool) -> tuple[Lever, ...]:
    """What else may make a plan faster.

    Args:
        all_float: The assignment without INT8; without FP16 it would be FP32 throughout.
        level_is_given: Whether the optimization level is not to be chosen.
    """

    def without_fp16(assignment: Assignment, form: Form) -> Form | None:
        return None if assignment == all_float else replace(form, fp16=False)

    def at_highest_level(assignment: Assignment, form: Form) -> Form | None:
        del assignment
        return replace(form, optimization_level=_HIGHEST_LEVEL)

    # A build at the highest level takes the longest, so it is the one that may pass the budget.
    return (without_fp16,) if level_is_given else (without_fp16, at_highest_level)


def batches_for(inputs: Sequence[TensorSpec], profile: ProfileOptions) -> Batches:
    """The batches that are measured, and those that the plan must take.

    Args:
        inputs: Of the graph, dynamic dimensions as -1.
        profile: ``--batch`` or ``--shapes``: the optimum of each is measured. Nothing is what a
            build takes then, 1:32:32.

    Raises:
        UsageError: A dimension other than the batch is dynamic and no shape says its size, or the
            graph does not take what was asked for.
    """
    if profile.min_shapes or profile.opt_shapes or profile.max_shapes:
        return _shapes_for(inputs, profile)
    # What has open sizes is refused by this, with the option that says them.
    ranges = [batches_of(each) for each in resolve_profiles(inputs, _said(inputs, profile))]
    fixed = {spec.shape[0] for spec in inputs if spec.shape} - {DYNAMIC}
    if not _is_open(inputs):
        # Of inputs with different first dimensions, the smallest one is as good as any.
        return Batches((min(fixed, default=1),), ())
    return Batches(ascending(each.opt for each in ranges), tuple(each.as_option for each in ranges))


def _said(inputs: Sequence[TensorSpec], profile: ProfileOptions) -> ProfileOptions:
    """What a build takes, so that an input with another first dimension is refused."""
    if _is_open(inputs) and profile == ProfileOptions():
        return ProfileOptions(batch=DEFAULT_BATCH)
    return profile


def _is_open(inputs: Sequence[TensorSpec]) -> bool:
    """Whether the batch is open."""
    return any(spec.shape[:1] == (DYNAMIC,) for spec in inputs)


def _shapes_for(inputs: Sequence[TensorSpec], profile: ProfileOptions) -> Batches:
    """What is measured and asked for by shapes, where sizes are open."""
    profiles = resolve_profiles(inputs, profile)
    names = [spec.name for spec in inputs if spec.is_dynamic]
    if not names:
        return batches_for(inputs, ProfileOptions())
    return Batches(
        ascending(point_at_optimum(each, names) for each in profiles),
        tuple(profile_text(each, names) for each in profiles),
    )
