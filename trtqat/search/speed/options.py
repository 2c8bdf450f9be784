"""The options of ``trtqat.tune``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from trtqat.building.options import BuildOptions
from trtqat.checks import check_kind, check_least
from trtqat.errors import UsageError
from trtqat.evaluation.timing import LatencyOptions

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class TuneOptions:
    """How to search for the fastest engine.

    Attributes:
        build: How every engine is built. Of its batch range the optimum is measured.
        budget_s: What building and measuring may take; what has begun is finished.
        most_builds: How many engines may be built.
        data: Of its first batch times are taken.
        max_drop_points: What the top-1 accuracy on all of the data may drop, in percentage points
            of that of the engine in floating point throughout; None counts nothing.
        latency: How long each engine is measured.
    """

    build: BuildOptions = field(default_factory=BuildOptions)
    budget_s: float = 600.0
    most_builds: int = 20
    data: str = "random"
    max_drop_points: float | None = None
    latency: LatencyOptions = field(default_factory=lambda: LatencyOptions(duration_s=1.0))

    def __post_init__(self) -> None:
        check_kind("TuneOptions.build", self.build, BuildOptions, "BuildOptions()")
        check_kind("The data", self.data, str, "'npz:val.npz'")
        check_kind("most_builds", self.most_builds, int, "20")
        check_least("most_builds", self.most_builds, 2)
        if not 0 < self.budget_s < math.inf:
            raise UsageError(f"The budget is {self.budget_s} s.", "Give a time, as 10m.")
        if self.max_drop_points is not None and not 0 <= self.max_drop_points <= 100:
            raise UsageError(
                f"The accuracy may not drop by {self.max_drop_points} points.",
                "Give percentage points from 0 to 100, as 0.2.",
            )
        if self.max_drop_points is not None and self.data.partition(":")[0] == "random":
            raise UsageError(
                "Random data has no labels, so there is no accuracy to hold.",
                "Give labelled data with --data, as npz:val.npz.",
            )
        profile = self.build.profile
        if profile.min_shapes or profile.opt_shapes or profile.max_shapes:
            raise UsageError(
                "Tuning takes a batch size and no other shapes.",
                "Give batch=, and export the graph with all other dimensions fixed.",
            )
        if self.build.for_ == "rtx":
            raise UsageError(
                "What a plan of TensorRT for RTX costs shows only on its card, after it is built.",
                "Tune with TensorRT on the GPU that will run the engine.",
            )


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
