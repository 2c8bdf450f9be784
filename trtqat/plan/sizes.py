"""The sizes of shape profiles: all dimensions but the first, as height and width of images.

A plan may have a profile for each of several sizes, as those of text lines or of a detector. A
size is the shape of one sample, by input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profile_text import profile_text
from trtqat.plan.profiles import BatchRange, batches_of, choose_profile
from trtqat.tensors import TensorSpec

Profile: TypeAlias = Mapping[str, ProfileShapes]
# Shape of one sample by input, as {"images": (3, 48, 160)}.
Sizes: TypeAlias = Mapping[str, tuple[int, ...]]


def sized_inputs(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """The inputs that have more than one size, in one profile or in several.

    Args:
        profiles: All of a plan.
    """
    return tuple(name for name in profiles[0] if len(_ends(profiles, name)) > 1)


def profile_names(
    profiles: Sequence[Profile], inputs: Sequence[TensorSpec] = ()
) -> tuple[str, ...]:
    """What to call each profile: as ``--batch`` takes it, or ``--shapes`` where sizes differ.

    Args:
        profiles: All of a plan.
        inputs: Of the plan, as ``batches_of`` takes them.
    """
    names = sized_inputs(profiles)
    if not names:
        return tuple(batches_of(each, inputs).as_option for each in profiles)
    return tuple(profile_text(each, names) for each in profiles)


def optimal_sizes(profile: Profile, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The sizes that a profile is tuned for.

    Args:
        profile: Shapes by input name.
        names: Of the inputs.
    """
    return {name: profile[name].opt[1:] for name in names}


def holds_sizes(profile: Profile, sizes: Sizes) -> bool:
    """Whether a profile holds a size of each of some inputs.

    Args:
        profile: Shapes by input name.
        sizes: Of inputs of it.
    """
    return all(
        len(size) == len(profile[name].opt[1:])
        and all(
            low <= each <= high
            for low, each, high in zip(
                profile[name].min[1:], size, profile[name].max[1:], strict=True
            )
        )
        for name, size in sizes.items()
    )


def count_shapes(profile: Profile, inputs: Sequence[TensorSpec] = ()) -> int:
    """How many shapes a profile holds: the fewer, the narrower it is.

    Args:
        profile: Shapes by input name.
        inputs: Of the plan, as ``batches_of`` takes them.
    """
    return _count_shapes(profile, batches_of(profile, inputs))


def _count_shapes(profile: Profile, batches: BatchRange) -> int:
    return (batches.max - batches.min + 1) * count_sizes(profile)


def count_sizes(profile: Profile) -> int:
    """How many sizes a profile holds."""
    return math.prod(
        high - low + 1
        for shapes in profile.values()
        for low, high in zip(shapes.min[1:], shapes.max[1:], strict=True)
    )


def choose_sized(
    profiles: Sequence[Profile], ranges: Sequence[BatchRange], batch_size: int, sizes: Sizes
) -> int | None:
    """The index of the narrowest profile that holds a batch of a size; None if none does.

    Of equally narrow ones it is the one whose optimum is nearest, and of those the first: the sum
    of the differences of all dimensions of all inputs is the least, by which Triton chooses, too.

    Args:
        profiles: All of a plan.
        ranges: Their batches.
        batch_size: What it must hold.
        sizes: Shape of one sample by input; where it is empty, batches alone decide.
    """
    if not sizes:
        return choose_profile(ranges, batch_size)
    holding = [
        index
        for index, (profile, batches) in enumerate(zip(profiles, ranges, strict=True))
        if batches.min <= batch_size <= batches.max and holds_sizes(profile, sizes)
    ]
    return min(
        holding,
        key=lambda index: (
            _count_shapes(profiles[index], ranges[index]),
            _distance(profiles[index], batch_size, sizes),
        ),
        default=None,
    )


def largest_profile(profiles: Sequence[Profile]) -> int:
    """The index of the profile with the most elements at its optimum, which a plan is tuned for.

    Where batches alone differ, it is the one of the largest batch.

    Args:
        profiles: All of a plan, at least one.
    """
    return max(
        range(len(profiles)),
        key=lambda index: sum(math.prod(each.opt) for each in profiles[index].values()),
    )


def sizes_in_words(sizes: Sizes) -> str:
    """Sizes as ``"images 3x48x160"``.

    Args:
        sizes: Shape of one sample by input.
    """
    return ", ".join(f"{name} {'x'.join(map(str, size))}" for name, size in sizes.items())


def _ends(profiles: Sequence[Profile], name: str) -> set[tuple[int, ...]]:
    """The smallest and largest sizes of an input."""
    return {end[1:] for each in profiles for end in (each[name].min, each[name].max)}


def _distance(profile: Profile, batch_size: int, sizes: Sizes) -> int:
    batches = sum(abs(each.opt[0] - batch_size) for each in profile.values() if each.opt)
    return batches + sum(
        abs(best - each)
        for name, size in sizes.items()
        for best, each in zip(profile[name].opt[1:], size, strict=True)
    )
