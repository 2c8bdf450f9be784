"""Shape profiles: which shapes an engine takes, and for which it is tuned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profile_text import DEFAULT_BATCH, profile_example, profile_text
from trtqat.plan.profiles import batches_of
from trtqat.plan.sizes import count_shapes
from trtqat.tensors import DYNAMIC, TensorSpec

Shapes = Mapping[str, tuple[int, ...]]
_BOUNDS = ("min", "opt", "max")
# Of a tensor, as users found (NVIDIA/TensorRT, issue 3815). TensorRT for RTX took more in a
# profile, and crashed as it built.
_MOST_NUMBERS = 2**31 - 1


@dataclass(frozen=True)
class ProfileOptions:
    """What the user said on shapes: a batch range, or trtexec-style shapes, or nothing.

    Attributes:
        batch: ``(min, opt, max)`` for the first dimension of every input.
        min_shapes: Smallest shapes by input name, each ``(N, …)``.
        opt_shapes: Shapes to tune for.
        max_shapes: Largest shapes.
        others: ``(min, opt, max)`` of the first dimension of inputs without shapes, where ``batch``
            does not tell it and it is open.
        more: Further profiles for the same plan, each said alike.
    """

    batch: tuple[int, int, int] | None = None
    min_shapes: Shapes = field(default_factory=dict)
    opt_shapes: Shapes = field(default_factory=dict)
    max_shapes: Shapes = field(default_factory=dict)
    others: tuple[int, int, int] | None = None
    more: tuple[ProfileOptions, ...] = ()


def resolve_profiles(
    inputs: Sequence[TensorSpec], options: ProfileOptions
) -> tuple[dict[str, ProfileShapes], ...]:
    """The shapes of every input in every profile.

    Args:
        inputs: Inputs of the network, dynamic dimensions as -1.
        options: What the user said.

    Returns:
        The profiles, the narrowest first. Triton takes the one whose optimum is nearest, and of
        equals the first; of fixed shapes and one range it so takes the one that a session takes.

    Raises:
        UsageError: As ``resolve_profile``, or two profiles are the same.
    """
    profiles = [resolve_profile(inputs, each) for each in (options, *options.more)]
    for one, other in itertools.combinations(profiles, 2):
        if one == other:
            shown, option = batches_of(one, inputs).as_option, "batch of --batch"
            if options.opt_shapes:
                shown, option = profile_text(one, options.opt_shapes), "profile by --shapes"
            raise UsageError(f"Two profiles are the same: {shown}.", f"Name each {option} once.")
    return tuple(sorted(profiles, key=lambda each: count_shapes(each, inputs)))


def resolve_profile(
    inputs: Sequence[TensorSpec], options: ProfileOptions
) -> dict[str, ProfileShapes]:
    """The shapes of every input in the first profile.

    Args:
        inputs: Inputs of the network, dynamic dimensions as -1.
        options: What the user said. Without anything, a graph whose only dynamic dimension
            is the batch gets 1:32:32.

    Returns:
        A profile for every input, of fixed ones too.

    Raises:
        UsageError: A name is not an input, a shape does not fit the input, the three shapes
            are not ascending, a dynamic dimension is left open, no input is left for the batch, or
            an input is larger than a tensor can be.
    """
    _check_inputs(inputs, options)
    profile = {}
    for spec in inputs:
        shapes = [_shape(spec, options, which) for which in _BOUNDS]
        for low, high in itertools.pairwise(shapes):
            if any(a > b for a, b in zip(low, high, strict=True)):
                raise UsageError(
                    f"The shapes of input '{spec.name}' do not ascend: "
                    f"{', '.join(map(_dims, shapes))}.",
                    "Give shapes with min ≤ opt ≤ max in every dimension.",
                )
        _check_volume(spec.name, shapes[-1])
        profile[spec.name] = ProfileShapes(*shapes)
    return profile


def _check_volume(name: str, largest: tuple[int, ...]) -> None:
    count = math.prod(largest)
    if count > _MOST_NUMBERS:
        raise UsageError(
            f"Input '{name}' would hold {count} numbers at {_dims(largest)}, and a tensor of "
            f"TensorRT {_MOST_NUMBERS} at most.",
            "Give a smaller batch or size.",
        )


def _shape(spec: TensorSpec, options: ProfileOptions, which: str) -> tuple[int, ...]:
    given: Shapes = getattr(options, f"{which}_shapes")
    # As trtexec does, a missing minimum or maximum is the optimum.
    shape = given.get(spec.name) or options.opt_shapes.get(spec.name)
    if shape is not None:
        fits = len(shape) == len(spec.shape) and all(
            dim in (DYNAMIC, size) for dim, size in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"The shape {_dims(shape)} does not fit input '{spec.name}', which has "
                f"{_dims(spec.shape)}.",
                "Only dimensions shown as ? can be chosen.",
            )
        return shape
    triple = options.batch or options.others or DEFAULT_BATCH
    batch = dict(zip(_BOUNDS, triple, strict=True))[which]
    if spec.shape and spec.shape[0] == DYNAMIC:
        shape = (batch, *spec.shape[1:])
    elif options.batch and spec.shape and spec.shape[0] != batch:
        raise UsageError(
            f"Input '{spec.name}' has a fixed batch of {spec.shape[0]}, not {batch}.",
            "Export it without --static-batch, or say the batch of the others by --shapes instead.",
        )
    else:
        shape = spec.shape
    if DYNAMIC in shape:
        raise UsageError(
            f"Input '{spec.name}' has dynamic dimensions besides the batch: {_dims(spec.shape)}.",
            f"{'Give --batch one range; and ' if options.more else 'Give '}--shapes "
            f"{profile_example(spec, '640')} for it, once for each size that the plan is tuned "
            "for.",
        )
    return shape


def _check_inputs(inputs: Sequence[TensorSpec], options: ProfileOptions) -> None:
    names = [spec.name for spec in inputs]
    given = {f"--{which}-shapes": getattr(options, f"{which}_shapes") for which in _BOUNDS}
    for option, shapes in given.items():
        for name in shapes:
            if name not in names:
                # Only --shapes says what goes for the others.
                said = option if options.others is None else "--shapes"
                raise UsageError(
                    f"{said} names '{name}', which is no input of the graph.",
                    f"Its inputs are {', '.join(names)}.",
                )
    if options.batch is not None and names and set(names) <= set().union(*given.values()):
        raise UsageError(
            "--batch says nothing here: the shapes of every input are given, batches among them.",
            "Leave out --batch, or the shapes of the inputs that it is for.",
        )


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join("?" if dim == DYNAMIC else str(dim) for dim in shape)
