"""``inspect model.engine`` where the plan cannot be loaded: what its build recorded of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtqat.errors import MissingError, PlanError, UsageError
from trtqat.host.preflight import Preflight, preflight
from trtqat.inspection.options import InspectOptions
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage
from trtqat.plan.manifest import Manifest
from trtqat.text import visible, visible_line


@dataclass(frozen=True)
class InspectedPlan:
    """A plan as its manifest describes it. ``print`` shows it without the table.

    Attributes:
        path: The plan.
        manifest: What stands beside it; its SHA-256 is the plan's.
        coverage: How the plan runs the layers of its graph, as the build found it.
        not_loaded: Why it is not loaded here, as a sentence.
    """

    path: Path
    manifest: Manifest
    coverage: Coverage
    not_loaded: str

    @property
    def roofline(self) -> None:
        """None: nothing is measured."""
        return

    @property
    def graph(self) -> Path:
        """What it was built from, by the name that its manifest gives."""
        name = self.manifest.graph
        # A manifest is anybody's: what leads elsewhere is shown, and not looked for beside.
        is_name = bool(name) and Path(name).name == name
        return self.path.with_name(name) if is_name else Path(name)

    def check_int8(self) -> None:
        """The gate ``--require-int8``.

        Raises:
            GateError: A quantized layer is not seen in INT8, or there is none.
        """
        self.coverage.check_int8(self.graph)

    def describe(self) -> str:
        """By what and for what it was built, and which layers run in INT8, in words."""
        manifest = self.manifest
        origin = (
            f"{manifest.plan_bytes / 1e6:.1f} MB, by {manifest.built_by} for {manifest.built_for}; "
            f"as its build recorded it on {manifest.created[:10]}"
        )
        return "\n".join(
            [
                f"{self.path}: {visible_line(origin)}",
                describe_coverage(self.coverage),
                f"not loaded here: {visible_line(self.not_loaded)}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            "manifest": asdict(self.manifest),
            "coverage": self.coverage.to_dict(),
            "not_loaded": self.not_loaded,
            "roofline": None,
        }

    def __str__(self) -> str:
        return visible(self.describe())

    def __repr__(self) -> str:
        return f"InspectedPlan('{self.path}', {len(self.coverage.layers)} layers)"


def recorded_plan(path: Path, options: InspectOptions) -> InspectedPlan | None:
    """What a build recorded of a plan that does not run on this host.

    Args:
        path: The plan.
        options: What to ask.

    Returns:
        None if the plan runs here as far as one can tell, its build recorded no layers, or what is
        asked for must be measured.

    Raises:
        PlanError: It is no plan, damaged, another one than its manifest says, or not signed as
            asked.
        UsageError: An option is for plans that are loaded.
    """
    found = preflight(
        path,
        trust=options.trust,
        allow_engine_code=options.allow_engine_code or None,
        plugins=options.plugins,
    )
    coverage = found.manifest.coverage if found.manifest is not None else None
    why = _why_not_loaded(path, found)
    if found.manifest is None or coverage is None or not why or options.has_roofline:
        return None
    for option, value in (
        ("--graph", options.graph),
        ("--export-layer-info", options.export_layer_info),
        ("--export-profile", options.export_profile),
        ("--weights", options.weights),
        ("--batch-size", options.batch_size),
        ("--shapes", options.shapes),
    ):
        if value is not None:
            raise UsageError(
                f"{option} is for plans that are loaded, and '{path}' is not: {why}",
                "Leave it out to see what the build recorded; trtqat build has "
                "--export-layer-info as well.",
            )
    return InspectedPlan(path, found.manifest, coverage, why)


def _why_not_loaded(path: Path, found: Preflight) -> str:
    """The first check that a plan does not pass here; empty if it passes all."""
    try:
        found.require(path)
    except (PlanError, MissingError):
        checks = (check for check in found.checks if check.status in ("failed", "missing"))
        return next(f"{check.name}: {check.finding}" for check in checks)
    if found.flavour is not None and found.flavour.flavour in ("lean", "dispatch"):
        return f"The {found.flavour.flavour} runtime does not tell what a plan consists of."
    return ""
