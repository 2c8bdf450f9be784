"""The forms of a plan: of which graph, for which batches by which profiles, and how it is built.

While regions are searched, every engine has a profile for each measured batch alone: what an engine
can do is one question, and what a wide profile costs another. The plan that is handed out takes
every batch that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import DEFAULT_BATCH, ProfileOptions, resolve_profiles
from trtqat.errors import UsageError
from trtqat.plan.profiles import batches_of
from trtqat.search.speed.region_costs import Assignment
from trtqat.tensors import DYNAMIC, TensorSpec

_HIGHEST_LEVEL = 5
# From an assignment and the form of its plan to another form; None where it does not apply.
Lever = Callable[[Assignment, "Form"], "Form | None"]


@dataclass(frozen=True)
class Form:
    """How a plan is built, besides what all plans of a search share.

    Attributes:
        batches: As ``--batch`` takes them, each of a profile; empty of a graph with a fixed batch.
        optimization_level: 0 to 5; None is TensorRT's default.
        fp16: Whether layers that are not INT8 may be FP16.
        is_repaired: Whether it is built from the graph whose pairs were moved, removed and merged
            by exact repairs.
    """

    batches: tuple[str, ...] = ()
    optimization_level: int | None = None
    fp16: bool = True
    is_repaired: bool = False

    @property
    def profile(self) -> ProfileOptions:
        """The shape profiles."""
        return parse_profiles(list(self.batches) or None, {})


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
    """The batches of a search.

    Attributes:
        measured: The sizes that are measured, ascending.
        asked: What the plan that is handed out must take, as ``--batch`` takes it; empty of a graph
            with a fixed batch.
    """

    measured: tuple[int, ...]
    asked: tuple[str, ...]

    def searched(self, optimization_level: int | None) -> Form:
        """The form of all engines while regions are searched: each measured size alone."""
        sizes = tuple(map(str, self.measured)) if self.asked else ()
        return Form(sizes, optimization_level)

    def final(self, searched: Form) -> tuple[Form, ...]:
        """The forms that take all that was asked for, the one to prefer among equals first.

        Empty where the searched form does so itself. Behind what was asked for stands the same with
        a profile for each measured size, where it has none.

        Args:
            searched: Form of the engines of the search.
        """
        if set(self.asked) == set(searched.batches):
            return ()
        alone = [size for size in searched.batches if size not in self.asked]
        plain = replace(searched, batches=self.asked)
        return (plain, replace(plain, batches=(*alone, *self.asked))) if alone else (plain,)


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
        profile: ``--batch``: the optimum of each of its ranges is measured. Nothing is what a build
            takes then, 1:32:32.

    Raises:
        UsageError: A dimension other than the batch is dynamic, or the graph does not take what was
            asked for.
    """
    for spec in inputs:
        if DYNAMIC in spec.shape[1:]:
            raise UsageError(
                f"Input '{spec.name}' has dynamic dimensions besides the batch, and tuning takes a "
                "batch size alone.",
                "Export the graph with its other dimensions fixed.",
            )
    fixed = {spec.shape[0] for spec in inputs if spec.shape} - {DYNAMIC}
    is_dynamic = any(spec.shape[:1] == (DYNAMIC,) for spec in inputs)
    if is_dynamic and profile == ProfileOptions():
        # Said, so that an input with another first dimension is refused.
        profile = ProfileOptions(batch=DEFAULT_BATCH)
    ranges = [batches_of(each) for each in resolve_profiles(inputs, profile)]
    if not is_dynamic:
        # Of inputs with different first dimensions, the smallest one is as good as any.
        return Batches((min(fixed, default=1),), ())
    return Batches(
        tuple(sorted({each.opt for each in ranges})), tuple(each.as_option for each in ranges)
    )
