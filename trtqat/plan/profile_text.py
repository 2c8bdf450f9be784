"""A shape profile as text, as ``--shapes`` takes it: ``images:1:8:32x3x48x160``.

Each dimension is a number, or MIN:OPT:MAX as ``--batch`` has it. Commas stand between inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import DYNAMIC, TensorSpec

# Of a graph whose only dynamic dimension is the batch, where nobody says more.
DEFAULT_BATCH = (1, 32, 32)
# A number, or smallest, best and largest.
Dimension: TypeAlias = int | tuple[int, int, int]
# As text, or dimensions by input name.
GivenShapes: TypeAlias = str | Mapping[str, tuple[Dimension, ...]]

# Longer ones are no dimensions, and from 4,300 digits on no numbers to Python.
_NUMBER = "[0-9]{1,18}"
_DIMENSION = rf"{_NUMBER}(?::{_NUMBER}:{_NUMBER})?"
# A name may hold colons: the shape is all that reads as one at the end.
_PART = re.compile(rf"(.+?):({_DIMENSION}(?:x{_DIMENSION})*)")
_HINT = (
    "Write NAME:1:8:32x3x48x160, each dimension as a number from 1 on or as MIN:OPT:MAX, with "
    "commas between inputs."
)


def parse_profile(given: GivenShapes) -> dict[str, ProfileShapes]:
    """Reads the shapes of one profile.

    Args:
        given: ``"images:1:8:32x3x48x160,scale:1:8:32x2"``, or in Python
            ``{"images": ((1, 8, 32), 3, 48, 160)}``.

    Returns:
        Shapes by input name, at least of one.

    Raises:
        UsageError: It has another form, a dimension does not ascend, or an input is there twice.
    """
    check_kind("The shapes", given, (str, Mapping), "'images:1:8:32x3x48x160'")
    found: dict[str, ProfileShapes] = {}
    for name, dims in _parts(given):
        if name in found:
            raise UsageError(
                f"'{given}' names the input '{name}' twice.",
                "A --shapes is one profile: give another --shapes for another one.",
            )
        found[name] = ProfileShapes(*zip(*dims, strict=True))
    if not found:
        raise UsageError(f"'{given}' names no input.", _HINT)
    return found


def profile_text(profile: Mapping[str, ProfileShapes], names: Iterable[str]) -> str:
    """A profile as ``--shapes`` takes it.

    Args:
        profile: Shapes by input name.
        names: The inputs to write, in their order.
    """
    return ",".join(f"{name}:{shape_text(profile[name])}" for name in names)


def shape_text(shapes: ProfileShapes) -> str:
    """The shapes of one input: ``1:8:32x3x48x160``."""
    triples = zip(shapes.min, shapes.opt, shapes.max, strict=True)
    return "x".join(
        str(best) if low == high else f"{low}:{best}:{high}" for low, best, high in triples
    )


def profile_example(spec: TensorSpec, size: str) -> str:
    """Shapes that fit an input, of each batch that a profile takes where nobody says more.

    Args:
        spec: The input; its shape has a batch.
        size: What stands for each other dimension that is open.
    """
    batch, *others = spec.shape
    first = ":".join(map(str, DEFAULT_BATCH)) if batch == DYNAMIC else str(batch)
    sizes = [size if dim == DYNAMIC else str(dim) for dim in others]
    return f"{spec.name}:{'x'.join([first, *sizes])}"


def _parts(given: GivenShapes) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
    if isinstance(given, Mapping):
        for name, dims in given.items():
            check_kind(f"The shape of '{name}'", dims, (tuple, list), "((1, 8, 32), 3, 48, 160)")
            read = [_ascending(each, f"{name}: {dims}") for each in dims]
            if not name or not read:
                raise _no_shape(f"{name}: {dims}")
            yield name, read
        return
    for part in filter(None, given.split(",")):
        match = _PART.fullmatch(part)
        if match is None:
            raise _no_shape(part)
        ranges = [[int(number) for number in each.split(":")] for each in match[2].split("x")]
        yield match[1], [_ascending(each, part) for each in ranges]


def _ascending(given: object, where: str) -> tuple[int, int, int]:
    said = list(given) if isinstance(given, (tuple, list)) else [given]
    numbers = [each for each in said if isinstance(each, int) and not isinstance(each, bool)]
    if len(numbers) != len(said) or len(numbers) not in (1, 3) or min(numbers) < 1:
        raise _no_shape(where)
    low, best, high = numbers if len(numbers) > 1 else numbers * 3
    if not low <= best <= high:
        raise UsageError(f"{low}:{best}:{high} of '{where}' does not ascend.", "Give MIN:OPT:MAX.")
    return low, best, high


def _no_shape(where: str) -> UsageError:
    return UsageError(f"'{where}' is no shape.", _HINT)
