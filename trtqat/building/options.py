"""How to build an engine, and another one like it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from trtqat.building.profiles import ProfileOptions
from trtqat.building.triton.repository import TritonTarget
from trtqat.checks import check_choice, check_kind
from trtqat.errors import UsageError
from trtqat.plan.header import Target
from trtqat.plan.manifest import Manifest
from trtqat.plan.targets import DEFAULT_TARGETS

# The smallest type that TensorRT may compute in; larger ones are allowed with it.
LowestPrecision = Literal["int8", "fp16", "fp32"]
# Options that another engine of the same graph takes over from a manifest.
SHARED = (
    "fp16",
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
        profile: Batch range or shapes, of one profile or several.
        precision: ``int8`` for a graph with Q/DQ; ``fp16`` or ``fp32`` for a float graph to
            compare with.
        fp16: Whether layers of an INT8 engine that are not INT8 may be FP16; else they are FP32.
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
        sign: File of the private Ed25519 key to sign the manifest with.
        for_: Which library builds: TensorRT ``8.6``, ``10`` or ``11``, or ``rtx``. None takes
            TensorRT where it is installed, TensorRT for RTX where only that is.
        targets: For TensorRT for RTX: the compute capabilities that the plan is for, as ``"8.9"``.
        triton: A model repository that gets the engine as well.
        plugins: Shared libraries that have the graph's operators that are none of ONNX's. They
            are loaded into this process, and run.
    """

    profile: ProfileOptions = field(default_factory=ProfileOptions)
    precision: LowestPrecision = "int8"
    fp16: bool = True
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | str | None = None
    tactic_sources: str = ""
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    strip_weights: bool = False
    hardware_compatibility: str = "none"
    sign: Path | str | None = None
    for_: Target | None = None
    targets: tuple[str, ...] = ()
    triton: TritonTarget | None = None
    plugins: tuple[Path | str, ...] = ()

    def __post_init__(self) -> None:
        check_kind("BuildOptions.profile", self.profile, ProfileOptions, "ProfileOptions()")
        check_choice("BuildOptions.precision", self.precision, ("int8", "fp16", "fp32"))
        check_kind("BuildOptions.fp16", self.fp16, bool, "True")
        if self.for_ is not None:
            check_choice("--for", self.for_, get_args(Target))
        for name in ("workspace_bytes", "optimization_level"):
            if getattr(self, name) is not None:
                check_kind(f"BuildOptions.{name}", getattr(self, name), int, "3")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(
                f"BuildOptions.optimization_level is {self.optimization_level}.",
                "Give 0 (fast build) to 5 (fast engine).",
            )
        for name, example in (("timing_cache", "'timing.cache'"), ("sign", "'key.pem'")):
            path = getattr(self, name)
            if path is not None:
                check_kind(f"BuildOptions.{name}", path, (str, os.PathLike), example)
        if self.triton is not None:
            check_kind("BuildOptions.triton", self.triton, TritonTarget, "TritonTarget(…)")
        check_kind("BuildOptions.plugins", self.plugins, tuple, "('libplugins.so',)")
        for path in self.plugins:
            check_kind("A plugin library", path, (str, os.PathLike), "'libplugins.so'")
        check_kind("BuildOptions.tactic_sources", self.tactic_sources, str, "'-cudnn'")


def options_again(
    manifest: Manifest | None,
    plan: str,
    precision: LowestPrecision,
    *,
    timing_cache: Path | str | None = None,
    plugins: Sequence[Path | str] = (),
) -> BuildOptions:
    """Shapes and options of an engine that was built, to build another one like it.

    Args:
        manifest: Its manifest, if it has one.
        plan: Its name, for the message.
        precision: Of the other engine.
        timing_cache: File to read and update; with the one of the first build the other one is
            built fast, and of the same kernels where it has the same layers.
        plugins: The libraries of plugins that the engine was opened with.

    Raises:
        UsageError: There is no manifest.
    """
    if manifest is None:
        raise UsageError(
            f"'{plan}' has no manifest, so the shapes and options of another engine like it are "
            "not known.",
            "Build it with trtqat build.",
        )
    first, *more = (
        ProfileOptions(
            min_shapes={name: each.min for name, each in profile.items()},
            opt_shapes={name: each.opt for name, each in profile.items()},
            max_shapes={name: each.max for name, each in profile.items()},
        )
        for profile in manifest.all_profiles
    )
    # What is None was left to TensorRT or to the graph.
    recorded = {name: getattr(manifest.options, name) for name in SHARED}
    is_rtx = manifest.library == "rtx"
    return BuildOptions(
        profile=replace(first, more=tuple(more)),
        precision=precision,
        timing_cache=None if is_rtx else timing_cache,
        for_="rtx" if is_rtx else None,
        targets=() if manifest.targets == DEFAULT_TARGETS else manifest.targets,
        plugins=tuple(plugins),
        **{name: value for name, value in recorded.items() if value is not None},
    )
