"""The GPUs that a plan is for, of TensorRT for RTX in its header, too; in words, and for one."""

from __future__ import annotations

from collections.abc import Sequence

# What it builds for by name, in the order of the bits in a header: plans for one compute capability
# each have them so (1.7.1.116).
TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
# Seen with 1.7.1.116: with it among the targets no convolution of a plan is INT8, for none of them.
# A Gemm or MatMul is, or is refused where it writes FP32.
TURING = TARGETS[0]
# What a plan without targets runs on, as the library's refusal on another GPU lists it
# ("8.0 8.6 8.9 12.0 12.1 >12.0"). None of them is Turing (7.5).
DEFAULT_TARGETS = ("8.0", "8.6", "8.9", "12.0+")
# What a plan of TensorRT is for besides the GPU that built it, by its hardware compatibility.
OTHER_GPUS = {
    "ampere+": " and GPUs from Ampere on",
    "same-cc": " and GPUs of that compute capability",
}
# This one is set in a plan without named targets alone, which runs on what is newer, too.
_NEWER = 1 << len(TARGETS)
_BLACKWELL = ("12.0", "12.1")


def targets_of_mask(mask: int) -> tuple[str, ...]:
    """Reads the targets in a plan's header.

    Args:
        mask: The bits.

    Returns:
        Compute capabilities, as ``"8.6"``; ``"12.0+"`` is that one and newer ones. Empty if a bit
        is set whose meaning is not known.
    """
    named = tuple(target for bit, target in enumerate(TARGETS) if mask & 1 << bit)
    if mask >= 2 * _NEWER:
        return ()
    if not mask & _NEWER:
        return named
    if named[-2:] != _BLACKWELL:
        return ()
    return (*named[:-2], "12.0+")


def targets_in_words(targets: Sequence[str]) -> str:
    """``("8.9", "12.0+")`` → ``"8.9, 12.0 and newer"``."""
    return ", ".join(f"{each[:-1]} and newer" if each.endswith("+") else each for each in targets)


def covers(targets: Sequence[str], capability: str) -> bool:
    """Whether a plan with these targets is for GPUs of a compute capability, as ``"8.9"``.

    One for 12.0 is not for 12.1, which has a bit of its own.
    """
    return any(
        _numbers(capability) >= _numbers(each[:-1]) if each.endswith("+") else capability == each
        for each in targets
    )


def _numbers(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
