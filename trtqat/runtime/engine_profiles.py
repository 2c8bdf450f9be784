"""The shape profiles of a loaded engine, and which of them a session takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profiles import (
    BatchRange,
    batches_in_words,
    batches_of,
    choose_profile,
    main_profile,
)
from trtqat.runtime.engine_io import tuned_shape
from trtqat.tensors import TensorSpec


@dataclass(frozen=True)
class EngineProfiles:
    """The profiles of an engine.

    Attributes:
        shapes: By input name, of each profile in TensorRT's order.
        ranges: The batches of each.
    """

    shapes: tuple[Mapping[str, ProfileShapes], ...]
    ranges: tuple[BatchRange, ...]

    @property
    def batch_range(self) -> tuple[int, int]:
        """Smallest and largest batch of all; of several profiles, some between may be in none."""
        return min(each.min for each in self.ranges), max(each.max for each in self.ranges)

    @property
    def optimal_batch(self) -> int:
        """The batch size that the engine was tuned for; of several profiles the largest such."""
        return self.ranges[main_profile(self.ranges)].opt

    def choose(self, batch_size: int, name: str, asked: int | None = None) -> int:
        """The index of the narrowest profile that holds a batch.

        Args:
            batch_size: The batch.
            name: Of the engine, for the message.
            asked: The index of the only profile that may be chosen.

        Raises:
            UsageError: No profile holds it, or the only one does not.
        """
        if asked is None:
            index = choose_profile(self.ranges, batch_size)
            if index is None:
                raise self._in_none(batch_size, name)
            return index
        batches = self.ranges[asked]
        if not batches.min <= batch_size <= batches.max:
            raise UsageError(
                f"Batch size {batch_size} is not in profile {asked} of '{name}', which is for "
                f"{batches_in_words([batches])}.",
                "Leave out the profile, and the session takes the narrowest one that holds it.",
            )
        return asked

    def _in_none(self, batch_size: int, name: str) -> UsageError:
        if len(self.ranges) > 1:
            listed = ",".join(each.as_option for each in self.ranges)
            return UsageError(
                f"Batch size {batch_size} is in no profile of '{name}', which was built for "
                f"{batches_in_words(self.ranges)}.",
                f"Choose one of these, or build it again with --batch {listed},{batch_size}.",
            )
        low, high = self.batch_range
        return UsageError(
            f"Batch size {batch_size} is outside of {low} to {high}, for which '{name}' was built.",
            f"Build it again with --batch 1:{batch_size}:{max(batch_size, high)}.",
        )

    def at_sizes(self, sizes: Mapping[str, Sequence[int]], name: str) -> EngineProfiles:
        """The same profiles, with other sizes as their optimum.

        Args:
            sizes: Shape of one sample by input, which fits what the engine leaves open.
            name: Of the engine, for the message.

        Raises:
            UsageError: A profile does not hold a size.
        """
        return replace(
            self,
            shapes=tuple(
                {
                    each: _at_size(each, shapes, sizes[each], name) if each in sizes else shapes
                    for each, shapes in profile.items()
                }
                for profile in self.shapes
            ),
        )

    def inputs(self, specs: Sequence[TensorSpec], index: int) -> tuple[TensorSpec, ...]:
        """Inputs whose open dimensions, but the first, are the optimum of a profile.

        Args:
            specs: Inputs of the engine, dynamic dimensions as -1.
            index: Of the profile.
        """
        shapes = self.shapes[index]
        return tuple(
            replace(spec, shape=tuned_shape(spec.shape, shapes[spec.name].opt)) for spec in specs
        )


def _at_size(
    input_name: str, shapes: ProfileShapes, size: Sequence[int], name: str
) -> ProfileShapes:
    """One input's shapes, with a size as their optimum."""
    low, high = shapes.min[1:], shapes.max[1:]
    if len(size) != len(low) or not all(
        a <= each <= b for a, each, b in zip(low, size, high, strict=True)
    ):
        smallest, largest, asked = ("x".join(map(str, each)) for each in (low, high, size))
        raise UsageError(
            f"Input '{input_name}' of '{name}' takes {smallest} to {largest}, not {asked}.",
            "Give data of such a size, or build it again with --min-shapes and --max-shapes.",
        )
    return replace(shapes, opt=(*shapes.opt[:1], *size))


def make_profiles(shapes: Sequence[Mapping[str, ProfileShapes]]) -> EngineProfiles:
    """The profiles of an engine.

    Args:
        shapes: By input name, of each profile in TensorRT's order; at least one.
    """
    return EngineProfiles(tuple(shapes), tuple(batches_of(each) for each in shapes))
