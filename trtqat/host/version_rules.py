"""Which TensorRT may run which plan: the rules of versions, in one place.

A plain plan runs on the version that built it, a version-compatible one on newer versions of
the same major and on the next major: 8 → 10 → 11 (there was no 9), never backwards, never 8 → 11
(NVIDIA's documentation; the 11.4 runtime was seen to refuse a plan of 8.6, the 10.16 lean runtime
to run it). TensorRT itself does not always refuse: 8.6.0 loads a plan with another version in
its header without complaint.

TensorRT for RTX runs its own plans only, those of its very release (NVIDIA:
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/engine-compatibility.html).
A release is major, minor and patch: shown the header of another build of 1.7.1, the library finds
no fault with its version; of one of 1.6.0 it says which version made it (seen without a GPU).
"""

from __future__ import annotations

import re

from trtqat.plan.header import LIBRARY_NAMES, PlanHeader

_NEXT_MAJOR = {8: 10, 10: 11}


def why_not(
    header: PlanHeader, version: str, *, flavour: str = "full", lean_excluded: bool = False
) -> str:
    """Why a TensorRT may not run a plan.

    Args:
        header: Of the plan.
        version: Of the TensorRT, as ``"8.6.0"``.
        flavour: ``full``, ``lean``, ``dispatch`` or ``rtx``.
        lean_excluded: Whether it is a version-compatible plan that was built without its lean
            runtime, which the header does not tell.

    Returns:
        The end of a sentence; empty if it may.
    """
    here = version_tuple(version)
    built = header.version
    written = ".".join(map(str, built))
    if (header.library == "rtx") != (flavour == "rtx"):
        return f"a plan of {LIBRARY_NAMES[header.library]} runs on that alone"
    if flavour == "rtx":
        return "" if here == built else f"a plan runs on the release that built it alone, {written}"
    if lean_excluded:
        # Seen with a plan of 8.6.0: lean 8.6.0 loads it, lean 10.16.1 does not.
        if here != built:
            return f"a plan without its lean runtime runs on TensorRT {written} only"
        return "the dispatch runtime needs the library in a plan" if flavour == "dispatch" else ""
    if not header.is_version_compatible:
        if flavour != "full":
            return f"the {flavour} runtime runs version-compatible plans only"
        return "" if here == built else f"a plain plan runs on TensorRT {written} only"
    if here < built:
        return f"a plan never runs on a TensorRT older than the one that built it, {written}"
    allowed = (built[0], _NEXT_MAJOR.get(built[0], built[0]))
    if here[0] not in allowed:
        return (
            f"a version-compatible plan of TensorRT {built[0]} runs up to TensorRT {max(allowed)}"
        )
    return ""


def version_tuple(version: str) -> tuple[int, int, int]:
    """``"10.16.1.2"`` → ``(10, 16, 1)``."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch
