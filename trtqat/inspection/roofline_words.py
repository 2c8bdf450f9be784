"""A roofline in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtqat.inspection.roofline import Roofline


def describe_roofline(roofline: Roofline) -> str:
    """The limits, the floors, and how far the engine is from them."""
    limits = roofline.ceilings
    lines = [
        f"\n{limits.gpu} at most: {limits.int8_ops_per_s / 1e12:,.0f} TOPS in INT8, "
        f"{limits.fp16_ops_per_s / 1e12:,.0f} TFLOPS in FP16, "
        f"{limits.bytes_per_s / 1e12:.2f} TB/s ({limits.measured_with})",
        f"Floor at batch {roofline.batch_size}: {roofline.floor_ms:.3f} ms for these layers, "
        f"{roofline.network_floor_ms:.3f} ms if nothing between them went through memory",
    ]
    if roofline.compute_ms is not None and roofline.share is not None:
        lines.append(
            f"The engine takes {roofline.compute_ms:.3f} ms: {100 * roofline.share:.0f} % of the "
            "limit is reached"
        )
    elif roofline.profiled_ms:
        # The profiler's events between the layers only add to their sum.
        untimed = sum(layer.time_ms is None for layer in roofline.layers)
        whose = "the layers"
        if untimed:
            whose = (
                f"{len(roofline.layers) - untimed} layers, floor "
                f"{roofline.profiled_floor_ms:.3f} ms,"
            )
            lines.append(f"{untimed} of {len(roofline.layers)} layers have no time in the profile")
        lines.append(
            f"Under the profiler {whose} sum up to {roofline.profiled_ms:.3f} ms: at least "
            f"{100 * roofline.profiled_floor_ms / roofline.profiled_ms:.0f} % of the limit is "
            "reached"
        )
    if roofline.uncounted:
        lines.append(
            f"The floors leave out the arithmetic of {len(roofline.uncounted)} layers of the "
            f"graph, first {roofline.uncounted[0]}: nothing tells their shapes or which engine "
            "layer runs them"
        )
    return "\n".join(lines)


def roofline_table(
    roofline: Roofline, *, verbose: bool = False
) -> tuple[Sequence[str], list[list[str]]]:
    """Columns and rows of the five layers that take most beyond their floors.

    Args:
        roofline: The roofline.
        verbose: Whether to list all layers.
    """
    rows = [
        [
            each.name,
            f"{1e3 * each.time_ms:.1f} us" if each.time_ms is not None else "",
            f"{1e3 * each.floor_ms:.1f} us",
            each.bound,
        ]
        for each in roofline.largest_gaps(len(roofline.layers) if verbose else 5)
    ]
    return ["largest gaps", "under the profiler", "floor", "bound by"], rows
