"""What to ask when a file is inspected, as an option of ``trtqat inspect`` each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.plan.profile_text import GivenShapes, parse_profile
from trtqat.tensors import LARGEST_DIM

if TYPE_CHECKING:  # onnx_ir is behind it, which may be missing
    from trtqat.plan.header import Target

_PATHS = ("graph", "export_layer_info", "export_profile", "ceilings", "profile", "trust", "weights")


@dataclass(frozen=True)
class InspectOptions:
    """What to ask. All but ``for_`` is for engines or their layer files alone.

    Attributes:
        graph: What the engine was built from; None for the file beside it that its manifest
            names. A layer file needs it.
        batch_size: For which batch size an engine is described, by the profile that it runs by; if
            None what it is tuned for, and a layer is INT8 if it is in every profile.
        shapes: For which batch and sizes, where an engine leaves these open:
            ``"images:8x3x48x160"``, or ``{"images": (8, 3, 48, 160)}``.
        passes: How many passes TensorRT's profiler measures; 0 times nothing.
        export_layer_info: File to write an engine's layers to, as trtexec does.
        export_profile: File to write their times to, as trtexec does.
        roofline: Whether to set the engine against what its GPU does at most.
        ceilings: File of what the GPU does at most, which is read or else written; with it the
            roofline is drawn.
        profile: Times that belong to a layer file.
        allow_engine_code: Whether a version-compatible plan may bring a library of its own.
        trust: File of the public key that the engine's manifest must be signed with.
        weights: The graph of an engine that was built without its weights.
        plugins: Libraries of the plugins that the engine needs; they are loaded, and run.
        needs_coverage: Whether a graph must say what is INT8, as the gate ``check_int8`` of the
            result needs it: without one an engine is refused before anything is measured.
        for_: For graphs: which TensorRT will build it, as ``trtqat.lint`` takes it.
    """

    graph: Path | str | None = None
    batch_size: int | None = None
    shapes: GivenShapes | None = None
    passes: int = 50
    export_layer_info: Path | str | None = None
    export_profile: Path | str | None = None
    roofline: bool = False
    ceilings: Path | str | None = None
    profile: Path | str | None = None
    allow_engine_code: bool = False
    trust: Path | str | None = None
    weights: Path | str | None = None
    plugins: tuple[Path | str, ...] = ()
    needs_coverage: bool = False
    for_: Target | None = None

    def __post_init__(self) -> None:
        for name in _PATHS:
            if getattr(self, name) is not None:
                kinds = (str, os.PathLike)
                check_kind(f"InspectOptions.{name}", getattr(self, name), kinds, "'model.onnx'")
        if self.batch_size is not None:
            check_kind("InspectOptions.batch_size", self.batch_size, int, "32")
            if self.batch_size > LARGEST_DIM:
                raise UsageError(
                    "--batch-size is larger than a dimension of a tensor can be.",
                    f"Give {LARGEST_DIM} or less.",
                )
        if self.shapes is not None:
            self._check_shapes()
        check_kind("InspectOptions.passes", self.passes, int, "50")
        for name in ("roofline", "allow_engine_code", "needs_coverage"):
            check_kind(f"InspectOptions.{name}", getattr(self, name), bool, "True")

    def _check_shapes(self) -> None:
        assert self.shapes is not None
        profile = parse_profile(self.shapes)
        if self.batch_size is not None:
            raise UsageError(
                "--shapes has a batch size, and --batch-size is there, too.", "Give one of both."
            )
        if any(each.min != each.max for each in profile.values()):
            raise UsageError(
                f"'{self.shapes}' is a range, and an engine is described for one shape.",
                "Give a number for each dimension, as --shapes images:8x3x48x160.",
            )
        if len({each.opt[0] for each in profile.values()}) > 1:
            raise UsageError(
                f"'{self.shapes}' has several batch sizes.", "Give the same first dimension to all."
            )

    @property
    def batch_asked(self) -> int | None:
        """The batch size of ``batch_size`` or ``shapes``; None if neither tells one."""
        if self.shapes is None:
            return self.batch_size
        return next(iter(parse_profile(self.shapes).values())).opt[0]

    @property
    def sizes_asked(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample by input, of ``shapes``."""
        profile = {} if self.shapes is None else parse_profile(self.shapes)
        return {name: each.opt[1:] for name, each in profile.items()}

    @property
    def has_roofline(self) -> bool:
        """Whether the roofline is to be drawn."""
        return self.roofline or self.ceilings is not None

    def path(self, name: str) -> Path | None:
        """A file that one of the options names.

        Args:
            name: Of the option.
        """
        value = getattr(self, name)
        return None if value is None else Path(value)
