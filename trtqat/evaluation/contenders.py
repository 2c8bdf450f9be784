"""Who is measured, in which role, and what was found of each.

One contender is the subject. A baseline is what it is compared with, rivals are what might run
instead of it, and steps lie on the way from the baseline to the subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from trtqat.evaluation.counts import Accuracy, Agreement, Paired
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.metrics.figures import MetricFigure
from trtqat.evaluation.timing import Timing
from trtqat.runtime.protocol import Model
from trtqat.runtime.rtx import Compilation

Role = Literal["subject", "baseline", "step", "rival"]


@dataclass(frozen=True)
class Contender:
    """A model that is to be measured.

    Attributes:
        model: Engine, graph or PyTorch model.
        role: What for.
        is_timed: Whether its times may be compared with the subject's, by one clock on one kind of
            device; steps are timed in no case.
    """

    model: Model
    role: Role
    is_timed: bool = True


class _AsWords:
    """Classes, which stand in JSON as one text: "1 2 3" has a third of the list's size."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Any:  # noqa: ANN401
        from pydantic_core import core_schema

        del source, handler
        return core_schema.no_info_after_validator_function(
            unpack,
            core_schema.str_schema(strict=True),
            serialization=core_schema.plain_serializer_function_ser_schema(
                pack, return_schema=core_schema.str_schema()
            ),
        )


Classes = Annotated[tuple[int, ...], _AsWords()]


@dataclass(frozen=True)
class Predictions:
    """What a model said of every image, for a comparison on another host.

    Attributes:
        classes: The class of each image, -1 where an output is NaN; empty if the first output is
            no ``(N, classes)``, or which one is the first is not known.
        output: Name of the output that they are of; None if it is not known.
        data_sha256: Of the labels and the first image: whether it is the same data.
    """

    classes: Classes
    output: str | None
    data_sha256: str


@dataclass(frozen=True)
class Comparison:
    """How close a contender is to another one.

    Attributes:
        against: Name of the other one.
        agreement: Of their outputs, or of their predictions where no more is known.
        paired: Images that one of the two alone got right; None without labels.
    """

    against: str
    agreement: Agreement
    paired: Paired | None


@dataclass(frozen=True)
class BatchTiming:
    """A contender at one batch size.

    Attributes:
        batch_size: Images in a query.
        timing: Its times.
        speedup: How many times the subject is as fast as it, computing; None for the subject, and
            where the subject was not timed at this batch size.
    """

    batch_size: int
    timing: Timing
    speedup: Ratio | None

    @property
    def images_per_second(self) -> float:
        """From host memory to host memory: in flight, or on a CPU one behind the other."""
        return self.timing.images_per_second(self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found of one contender.

    Attributes:
        name: For tables.
        role: What it was measured for.
        device: Where it ran.
        size_bytes: Of plan, file or parameters; None for what was measured elsewhere.
        recorded_on: The host that it was measured on, if that is not this one.
        accuracy: Its counts; None if the data has no labels.
        to_baseline: How close subject and rivals are to the baseline; None if there is none.
        to_step_before: How close steps and subject are to the step before them, of which the
            baseline is the first. None off that way, and for its first one.
        predictions: Image by image.
        timings: Its times by batch size, ascending; empty for steps, and if latency was not
            asked for.
        library: What ran an engine, as ``"TensorRT 8.6.0 (full)"``; None for anything else.
        compilations: How long its kernels took to compile here, by batch size; empty where they
            were compiled before, as by the build of a TensorRT plan. No time contains that.
        metrics: What was asked for by ``--metric``, in that order.
        nan_images: Images for which an output holds NaN; None in reports that do not tell.
        nan_outputs: Names of the outputs that held nothing but NaN, for all images.
    """

    name: str
    role: Role
    device: Literal["cpu", "cuda"]
    size_bytes: int | None
    recorded_on: str | None
    accuracy: Accuracy | None
    to_baseline: Comparison | None
    to_step_before: Comparison | None
    predictions: Predictions
    timings: tuple[BatchTiming, ...] = ()
    library: str | None = None
    compilations: tuple[Compilation, ...] = ()
    metrics: tuple[MetricFigure, ...] = ()
    nan_images: int | None = None
    nan_outputs: tuple[str, ...] = ()

    def compilation(self, batch_size: int) -> Compilation | None:
        """How long its kernels took to compile for a batch size; None if they did not.

        Args:
            batch_size: Images in a query.
        """
        return next((each for each in self.compilations if each.batch_size == batch_size), None)

    def metric(self, label: str) -> MetricFigure | None:
        """What a metric found of it; None if it was not asked for.

        Args:
            label: What the metric is called.
        """
        return next((each for each in self.metrics if each.metric == label), None)

    def at(self, batch_size: int) -> BatchTiming | None:
        """Its times at a batch size; None if there are none.

        Args:
            batch_size: Images in a query.
        """
        return next((each for each in self.timings if each.batch_size == batch_size), None)


Held = TypeVar("Held", Contender, Measured)


@dataclass(frozen=True)
class Lineup:
    """What was found of all contenders, by their roles.

    Attributes:
        contenders: Each of them once; one alone is the subject.
    """

    contenders: tuple[Measured, ...]

    @property
    def subject(self) -> Measured:
        """What the evaluation is about."""
        (subject,) = self._in_role("subject")
        return subject

    @property
    def baseline(self) -> Measured | None:
        """What it is compared with; None if there is nothing."""
        return next(iter(self._in_role("baseline")), None)

    @property
    def steps(self) -> tuple[Measured, ...]:
        """What lies between the two, from the baseline on."""
        return self._in_role("step")

    @property
    def rivals(self) -> tuple[Measured, ...]:
        """What might run instead."""
        return self._in_role("rival")

    @property
    def way(self) -> tuple[Measured, ...]:
        """From the baseline, if it ran here, over the steps to the subject; empty without steps."""
        baseline = self.baseline
        began_here = baseline is not None and baseline.recorded_on is None
        begin = (baseline,) if baseline is not None and began_here else ()
        return (*begin, *self.steps, self.subject) if self.steps else ()

    def _in_role(self, role: Role) -> tuple[Measured, ...]:
        return tuple(each for each in self.contenders if each.role == role)


def sorted_by_role(contenders: Iterable[Held]) -> list[Held]:
    """The subject, the baseline, steps and rivals; those of one role stay in their order.

    Args:
        contenders: To be measured, or measured.
    """
    order: tuple[Role, ...] = ("subject", "baseline", "step", "rival")
    return sorted(contenders, key=lambda each: order.index(each.role))


def pack(classes: Iterable[int]) -> str:
    """Predictions as they stand in a report: numbers with spaces between them."""
    return " ".join(map(str, classes))


def unpack(text: str) -> tuple[int, ...]:
    """Predictions of what ``pack`` made of them.

    Raises:
        ValueError: It holds something else than classes, -1 among them for none.
    """
    classes = tuple(map(int, text.split()))
    if any(not -1 <= each < 2**63 for each in classes):
        raise ValueError("a prediction is no class")
    return classes
