"""The options of ``trtqat.tune``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_options
from trtqat.checks import check_kind, check_known, check_least
from trtqat.data.dataset import is_random
from trtqat.errors import UsageError
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.timing import LatencyOptions
from trtqat.plan.profile_text import GivenShapes

if TYPE_CHECKING:
    from typing_extensions import Unpack

_UNITS = {"s": 1, "m": 60, "h": 3600}


# What of a build is chosen by the search, or does not stand in the file of options.
_NOT_CARRIED = (
    "precision",
    "fp16",
    "version_compatible",
    "exclude_lean_runtime",
    "strip_weights",
    "hardware_compatibility",
    "sign",
    "targets",
    "triton",
)


@dataclass(frozen=True)
class TuneOptions:
    """How to search for the fastest engine.

    Attributes:
        build: How every engine is built. The optimum of each of its profiles is measured, and the
            plan that is found takes all of them.
        budget_s: What building and measuring may take; what has begun is finished.
        most_builds: How many engines may be built.
        data: Of its first batch times are taken.
        metric: What to measure on all of the data instead of top-1, as ``trtqat eval --metric``
            takes it.
        max_drop_points: What the top-1 accuracy on all of the data may drop, in percentage points
            of that of the engine in floating point throughout; of a metric how much worse it may
            be, in its own unit. None measures nothing.
        latency: How long each engine is measured.
    """

    build: BuildOptions = field(default_factory=BuildOptions)
    budget_s: float = 600.0
    most_builds: int = 18
    data: str = "random"
    metric: str | Metric | None = None
    max_drop_points: float | None = None
    latency: LatencyOptions = field(default_factory=lambda: LatencyOptions(duration_s=1.0))

    def __post_init__(self) -> None:
        check_kind("TuneOptions.build", self.build, BuildOptions, "BuildOptions()")
        check_kind("The data", self.data, str, "'npz:val.npz'")
        check_kind("most_builds", self.most_builds, int, "20")
        check_least("most_builds", self.most_builds, 2)
        if not 0 < self.budget_s < math.inf:
            raise UsageError(f"The budget is {self.budget_s} s.", "Give a time, as 10m.")
        if self.metric is not None:
            check_kind("The metric", self.metric, (str, Metric), "'miou:classes=5'")
            if self.max_drop_points is None:
                raise UsageError(
                    "A metric belongs to an accuracy target.",
                    "Give --max-accuracy-drop as well: how much worse it may be, in its own unit.",
                )
        most = 100 if self.metric is None else math.inf
        if self.max_drop_points is not None and not 0 <= self.max_drop_points <= most:
            if self.metric is not None:
                raise UsageError(
                    f"{self.max_drop_points} is no drop of a metric.",
                    "Give 0 or more, in the metric's own unit.",
                )
            raise UsageError(
                f"The accuracy may not drop by {self.max_drop_points} points.",
                "Give percentage points from 0 to 100, as 0.2.",
            )
        if self.max_drop_points is not None and is_random(self.data):
            raise UsageError(
                "Random data has no labels, so there is no accuracy to hold.",
                "Give labelled data with --data, as npz:val.npz.",
            )
        self._check_carried()
        if self.build.for_ == "rtx":
            raise UsageError(
                "What a plan of TensorRT for RTX costs shows only on its card, after it is built.",
                "Tune with TensorRT on the GPU that will run the engine.",
            )

    def _check_carried(self) -> None:
        """Refuses what neither the search nor the file of options carries."""
        plain = BuildOptions()
        for name in _NOT_CARRIED:
            if getattr(self.build, name) != getattr(plain, name):
                raise UsageError(
                    f"tune does not carry {name}={getattr(self.build, name)!r} to the plan.",
                    "Tune without it, and build the tuned graph with it: "
                    f"trtqat.build('tuned.onnx', 'tuned.engine', 'tuned.json', {name}=…).",
                )


class TuneKeywords(TypedDict, total=False):
    """The options of ``trtqat tune`` as keywords.

    Attributes:
        batch: As for ``trtqat.build``: what the plan must take. Of each range the optimum is
            measured, of several ranges the geometric mean counts.
        shapes: The same for a graph that leaves more open than the batch, as for ``trtqat.build``:
            ``["images:1:8:32x3x48x160", "images:1:8:32x3x48x320"]``.
        budget: What building and measuring may take: ``"10m"``, or seconds.
        most_builds: Engines that may be built.
        data: Of its first batch times are taken, of all of it accuracy: ``"npz:val.npz"``.
        metric: What to measure on all of the data instead of top-1: ``"miou:ignore=255"``.
        max_accuracy_drop: What the top-1 accuracy may drop below FP16's, in percentage points; of
            a metric how much worse it may be, in its own unit.
        timing_cache: File to read and update; None is the one beside the output, ``tuned.cache``.
        workspace: Ceiling for scratch memory: ``"4GiB"``, or bytes.
        optimization_level: 0 (fast build) to 5 (fast engine); None tries TensorRT's default and 5.
        tactic_sources: Changes as trtexec spells them, for example ``"-cublas,-cudnn"``.
        plugins: Shared libraries with plugins, in a list, or one of them.
    """

    batch: str | int | tuple[int, int, int] | list[Any] | None
    shapes: GivenShapes | Sequence[GivenShapes] | None
    budget: str | float
    most_builds: int
    data: str
    metric: str | Metric | None
    max_accuracy_drop: float | None
    timing_cache: Path | str | None
    workspace: str | int | None
    optimization_level: int | None
    tactic_sources: str
    plugins: Path | str | Sequence[Path | str] | None


def parse_tune_options(**keywords: Unpack[TuneKeywords]) -> TuneOptions:
    """Reads what ``trtqat tune`` takes.

    Args:
        **keywords: The options of ``trtqat tune``, as ``TuneKeywords`` lists them.

    Raises:
        UsageError: There is no such option, or a value has another form.
    """
    check_known(keywords, TuneKeywords.__annotations__, "a search")
    given: dict[str, Any] = dict(keywords)
    if str(given.get("timing_cache")) == "none":
        raise UsageError(
            "A search needs a timing cache: with it a build takes the kernels that were measured.",
            "Leave out --timing-cache, or name a file.",
        )
    names = ("batch", "shapes", "timing_cache", "workspace", "optimization_level")
    more = ("tactic_sources", "plugins")
    built = {name: given.pop(name) for name in (*names, *more) if name in given}
    if "budget" in given:
        given["budget_s"] = parse_seconds(given.pop("budget"))
    if "max_accuracy_drop" in given:
        given["max_drop_points"] = given.pop("max_accuracy_drop")
    return TuneOptions(build=parse_options("tuned.engine", **built), **given)


def parse_seconds(text: str | float) -> float:
    """Reads a time as ``10m``, ``90s``, ``1.5h`` or plain seconds.

    Raises:
        UsageError: It has another form or is not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"'{text}' is no time.", "Write 10m, 90s or 1.5h.")
    return seconds
