"""A roofline in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtqat.inspection.words import counted
from trtqat.text import visible_line

if TYPE_CHECKING:
    from trtqat.inspection.roofline import Roofline


def describe_roofline(roofline: Roofline) -> str:
    """The limits, the floors, and how far the engine is from them."""
    limits = roofline.ceilings
    lines = [
        f"\n{limits.gpu} at most: {_tera(limits.int8_ops_per_s)} TOPS in INT8, "
        f"{_tera(limits.fp16_ops_per_s)} TFLOPS in FP16, "
        f"{limits.bytes_per_s / 1e12:.3g} TB/s ({limits.measured_with})",
        f"Floor at batch {roofline.batch_size}: {roofline.floor_ms:.3f} ms for these layers, "
        f"{roofline.network_floor_ms:.3f} ms if nothing between them went through memory",
    ]
    if roofline.compute_ms is not None and roofline.share is not None:
        lines.append(
            f"The engine takes {roofline.compute_ms:.3f} ms: "
            f"{'at least ' if roofline.uncounted else ''}{_percent(roofline.share)} of the limit "
            "is reached"
        )
    elif roofline.profiled_ms:
        # The profiler's events between the layers only add to their sum.
        untimed = sum(layer.time_ms is None for layer in roofline.layers)
        whose = "the layers"
        if untimed:
            timed = len(roofline.layers) - untimed
            whose = f"{counted(timed, 'layer')}, floor {roofline.profiled_floor_ms:.3f} ms,"
            lines.append(
                f"Without a time in the profile: {untimed} of {len(roofline.layers)} layers"
            )
        lines.append(
            f"Under the profiler {whose} sum up to {roofline.profiled_ms:.3f} ms: at least "
            f"{_percent(roofline.profiled_floor_ms / roofline.profiled_ms)} of the limit is reached"
        )
    if roofline.uncounted:
        first, *more = map(visible_line, roofline.uncounted)
        named = f"{len(more) + 1} layers of the graph, first {first}" if more else first
        lines.append(
            f"The floors leave out the arithmetic of {named}: nothing tells "
            f"{'their' if more else 'its'} shapes or which engine layer runs "
            f"{'them' if more else 'it'}"
        )
    return "\n".join(lines)


def _percent(share: float) -> str:
    """Rounded down: no more than that is reached."""
    return f"{math.floor(100 * share)} %"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:,.0f}" if rate >= 1e13 else f"{rate / 1e12:.2g}"


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
