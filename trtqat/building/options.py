"""What to build, as an option of ``trtqat build`` each."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trtqat.building.profiles import ProfileOptions
from trtqat.checks import check_choice, check_kind
from trtqat.errors import UsageError
from trtqat.plan.manifest import Manifest

# The smallest type that TensorRT may compute in; larger ones are allowed with it.
LowestPrecision = Literal["int8", "fp16", "fp32"]
# Options that another engine of the same graph takes over from a manifest.
SHARED = (
    "workspace_bytes",
    "optimization_level",
    "tactic_sources",
    "version_compatible",
    "exclude_lean_runtime",
    "hardware_compatibility",
)


@dataclass(frozen=True)
class BuildOptions:
    """How to build; None and empty mean TensorRT's default.

    Attributes:
        profile: Batch range or shapes.
        precision: ``int8`` for a graph with Q/DQ; ``fp16`` or ``fp32`` for a float graph to
            compare with.
        workspace_bytes: Ceiling for the scratch memory of any layer.
        optimization_level: 0 (fast build) to 5 (fast engine).
        timing_cache: File to read and update.
        tactic_sources: Changes as trtexec spells them, for example ``"-cublas,-cudnn"``.
        version_compatible: Whether newer TensorRT versions may run the plan.
        exclude_lean_runtime: Whether such a plan leaves out the lean runtime of its own version
            (33 MB on 8.6), which then must be on the host.
        strip_weights: Whether the plan leaves out its weights, which its ONNX file then brings
            back (TensorRT 10 and newer).
        hardware_compatibility: ``none``, ``ampere+`` or ``same-cc``.
    """

    profile: ProfileOptions = field(default_factory=ProfileOptions)
    precision: LowestPrecision = "int8"
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | str | None = None
    tactic_sources: str = ""
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    strip_weights: bool = False
    hardware_compatibility: str = "none"

    def __post_init__(self) -> None:
        check_kind("BuildOptions.profile", self.profile, ProfileOptions, "ProfileOptions()")
        check_choice("BuildOptions.precision", self.precision, ("int8", "fp16", "fp32"))
        for name in ("workspace_bytes", "optimization_level"):
            if getattr(self, name) is not None:
                check_kind(f"BuildOptions.{name}", getattr(self, name), int, "3")
        if self.timing_cache is not None:
            path = (str, os.PathLike)
            check_kind("BuildOptions.timing_cache", self.timing_cache, path, "'timing.cache'")
        check_kind("BuildOptions.tactic_sources", self.tactic_sources, str, "'-cudnn'")


def options_again(
    manifest: Manifest | None,
    plan: str,
    precision: LowestPrecision,
    *,
    timing_cache: Path | str | None = None,
) -> BuildOptions:
    """Shapes and options of an engine that was built, to build another one like it.

    Args:
        manifest: Its manifest, if it has one.
        plan: Its name, for the message.
        precision: Of the other engine.
        timing_cache: File to read and update; with the one of the first build the other one is
            built fast, and of the same kernels where it has the same layers.

    Raises:
        UsageError: There is no manifest.
    """
    if manifest is None:
        raise UsageError(
            f"'{plan}' has no manifest, so the shapes and options of another engine like it are "
            "not known.",
            "Build it with trtqat build.",
        )
    profiles, recorded = manifest.profiles, manifest.options
    return BuildOptions(
        profile=ProfileOptions(
            min_shapes={name: each.min for name, each in profiles.items()},
            opt_shapes={name: each.opt for name, each in profiles.items()},
            max_shapes={name: each.max for name, each in profiles.items()},
        ),
        precision=precision,
        timing_cache=timing_cache,
        **{name: getattr(recorded, name) for name in SHARED},
    )


def parse_bytes(text: str) -> int:
    """Parses a size as ``4GiB``, ``512MiB``, ``2G`` (GiB) or plain bytes.

    Raises:
        UsageError: It has another form or is not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?|B)?", text.strip(), re.IGNORECASE)
    factor = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    size = int(float(match[1]) * factor[(match[2] or "").upper()]) if match else 0
    if size <= 0:
        raise UsageError(f"'{text}' is no amount of memory.", "Write 4GiB or 512MiB.")
    return size
