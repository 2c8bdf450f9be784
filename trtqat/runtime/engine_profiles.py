"""The shape profiles of a loaded engine, and which of them a session takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profiles import BatchRange, batches_in_words, batches_of, choose_profile
from trtqat.plan.sizes import (
    Sizes,
    choose_sized,
    holds_sizes,
    largest_profile,
    optimal_sizes,
    profile_names,
    sized_inputs,
    sizes_in_words,
)
from trtqat.runtime.engine_io import tuned_shape
from trtqat.tensors import TensorSpec


@dataclass(frozen=True)
class Chosen:
    """What a session runs by.

    Attributes:
        profile: The index of a profile.
        sizes: Shape of one sample by input, of those whose size is open.
    """

    profile: int
    sizes: Sizes


@dataclass(frozen=True)
class EngineProfiles:
    """The profiles of an engine.

    Attributes:
        shapes: By input name, of each profile in TensorRT's order.
        ranges: The batches of each.
        names: What each is called: as ``--batch`` takes it, or ``--shapes`` where sizes differ.
        sizes: Shape of one sample by input that sessions are made for; where it is empty, what the
            engine is tuned for.
    """

    shapes: tuple[Mapping[str, ProfileShapes], ...]
    ranges: tuple[BatchRange, ...]
    names: tuple[str, ...]
    sizes: Sizes = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """What it takes: ``"batch 1, 4 and 8"``, or the names of several that differ in sizes."""
        if self.has_sizes and len(self.shapes) > 1:
            return ", ".join(self.names)
        return f"batch {batches_in_words(self.ranges)}"

    @property
    def has_sizes(self) -> bool:
        """Whether profiles differ in more than their batches."""
        return bool(sized_inputs(self.shapes))

    @property
    def tuned_sizes(self) -> Sizes:
        """The sizes of sessions: those that were chosen, or of the profile of the most elements."""
        main = self.shapes[largest_profile(self.shapes)]
        return self.sizes or optimal_sizes(main, sized_inputs(self.shapes))

    @property
    def held(self) -> tuple[BatchRange, ...]:
        """The batches of the profiles that hold the sizes of sessions."""
        sizes = self.tuned_sizes
        each = zip(self.shapes, self.ranges, strict=True)
        return tuple(batches for shapes, batches in each if holds_sizes(shapes, sizes))

    @property
    def batch_range(self) -> tuple[int, int]:
        """Smallest and largest batch of all that hold the sizes; some between may be in none."""
        return min(each.min for each in self.held), max(each.max for each in self.held)

    @property
    def optimal_batch(self) -> int:
        """The batch size that the engine was tuned for; of several profiles the largest such."""
        return max(each.opt for each in self.held)

    def choose(self, batch_size: int, name: str, asked: int | None = None) -> Chosen:
        """The narrowest profile that holds a batch of the sizes, of equals the nearest.

        Where no sizes were chosen, a profile that is asked for, or that alone holds the batch, runs
        at those that it is tuned for.

        Args:
            batch_size: The batch.
            name: Of the engine, for the message.
            asked: The index of the only profile that may be chosen.

        Raises:
            UsageError: No profile holds it, or the only one does not or is not there.
        """
        if asked is not None:
            self._check_asked(batch_size, name, asked)
            return Chosen(asked, self.sizes or self._own_sizes(asked))
        index = choose_sized(self.shapes, self.ranges, batch_size, self.tuned_sizes)
        if index is not None:
            return Chosen(index, self.tuned_sizes)
        index = None if self.sizes else choose_profile(self.ranges, batch_size)
        if index is None:
            raise self._in_none(batch_size, name)
        return Chosen(index, self._own_sizes(index))

    def _own_sizes(self, index: int) -> Sizes:
        return optimal_sizes(self.shapes[index], sized_inputs(self.shapes))

    def _check_asked(self, batch_size: int, name: str, asked: int) -> None:
        way_out = "the session takes the narrowest one that holds it."
        if not 0 <= asked < len(self.ranges):
            raise UsageError(
                f"'{name}' has no profile {asked}; its last one is {len(self.ranges) - 1}.",
                f"Leave out the profile, and {way_out}",
            )
        batches = self.ranges[asked]
        if not batches.min <= batch_size <= batches.max:
            raise UsageError(
                f"Batch size {batch_size} is not in profile {asked} of '{name}', which is for "
                f"{batches_in_words([batches])}.",
                f"Leave out the profile, and {way_out}",
            )
        if not holds_sizes(self.shapes[asked], self.sizes):
            raise UsageError(
                f"The size {sizes_in_words(self.sizes)} is not in profile {asked} of '{name}', "
                f"which is for {self.names[asked]}.",
                f"Leave out the profile, and {way_out}",
            )

    def _in_none(self, batch_size: int, name: str) -> UsageError:
        if self.has_sizes and len(self.shapes) > 1:
            sizes = sizes_in_words(self.tuned_sizes)
            return UsageError(
                f"Batch size {batch_size} at {sizes} is in no profile of '{name}', which has "
                f"{self._listed}.",
                f"Choose one of {batches_in_words(self.held)} at that size, or build it again with "
                "another --shapes.",
            )
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
            "Build it again with another --shapes."
            if self.has_sizes
            else f"Build it again with --batch 1:{batch_size}:{max(batch_size, high)}.",
        )

    @property
    def _listed(self) -> str:
        return ", ".join(f"profile {index} for {each}" for index, each in enumerate(self.names))

    def at_sizes(self, sizes: Mapping[str, Sequence[int]], name: str) -> EngineProfiles:
        """The same profiles, for sessions of other sizes.

        Args:
            sizes: Shape of one sample by input, which fits what the engine leaves open.
            name: Of the engine, for the message.

        Raises:
            UsageError: No profile holds them, or there is no such input.
        """
        for each in sizes:
            if each not in self.shapes[0]:
                raise UsageError(
                    f"'{each}' is no input of '{name}'.",
                    f"Its inputs are {', '.join(self.shapes[0])}.",
                )
        chosen = {**self.sizes, **{each: tuple(size) for each, size in sizes.items()}}
        if not any(holds_sizes(profile, chosen) for profile in self.shapes):
            raise self._of_no_size(chosen, name)
        return replace(self, sizes=chosen)

    def _of_no_size(self, sizes: Sizes, name: str) -> UsageError:
        if len(self.shapes) > 1:
            return UsageError(
                f"The size {sizes_in_words(sizes)} is in no profile of '{name}', which has "
                f"{self._listed}.",
                "Give data of such a size, or build it again with one more --shapes.",
            )
        (profile,) = self.shapes
        missed = next(each for each in sizes if not holds_sizes(profile, {each: sizes[each]}))
        ends = profile[missed].min[1:], profile[missed].max[1:], sizes[missed]
        smallest, largest, asked = ("x".join(map(str, each)) for each in ends)
        return UsageError(
            f"Input '{missed}' of '{name}' takes {smallest} to {largest}, not {asked}.",
            "Give data of such a size, or build it again with --shapes for it.",
        )

    def inputs(self, specs: Sequence[TensorSpec], chosen: Chosen) -> tuple[TensorSpec, ...]:
        """Inputs as a session takes them, but for the batch.

        Args:
            specs: Inputs of the engine, dynamic dimensions as -1.
            chosen: Profile and sizes. What the sizes leave out is the profile's optimum.
        """
        shapes = self.shapes[chosen.profile]
        return tuple(
            replace(
                spec,
                shape=tuned_shape(spec.shape, (0, *chosen.sizes[spec.name]))
                if spec.name in chosen.sizes
                else tuned_shape(spec.shape, shapes[spec.name].opt),
            )
            for spec in specs
        )

    @property
    def session_sizes(self) -> Chosen:
        """What a session takes of the batch that the engine was tuned for."""
        index = choose_sized(self.shapes, self.ranges, self.optimal_batch, self.tuned_sizes)
        assert index is not None
        return Chosen(index, self.tuned_sizes)


def make_profiles(
    shapes: Sequence[Mapping[str, ProfileShapes]], inputs: Sequence[TensorSpec] = ()
) -> EngineProfiles:
    """The profiles of an engine.

    Args:
        shapes: By input name, of each profile in TensorRT's order; at least one.
        inputs: Inputs of the engine, dynamic dimensions as -1; where none are said, all have an
            open batch.
    """
    ranges = tuple(batches_of(each, inputs) for each in shapes)
    return EngineProfiles(tuple(shapes), ranges, profile_names(shapes, inputs))
