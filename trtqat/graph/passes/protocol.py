"""What a pass is, and how a list of passes runs.

A pass is a callable that changes a graph in place and returns what it did. What it did can be said
in sentences, and has the figures as attributes. A list is a tuple of passes in their order; ``run``
runs each of them. There are three: ``canonical_graph``, ``standard_pairs``, ``improvements``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import onnx_ir as ir


class Done(Protocol):
    """What a pass did."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a user should read; none where the figures say it all."""


class Pass(Protocol):
    """Changes a graph in place, and returns what it did."""

    def __call__(self, model: ir.Model, /) -> Done:
        """Runs it."""


_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Changed:
    """What a pass did that has one figure.

    Attributes:
        count: How many nodes, weights or whatever the pass changes.
        notes: Sentences for the user.
    """

    count: int
    notes: tuple[str, ...] = ()

    @classmethod
    def told(cls, count: int, note: str) -> Changed:
        """With a sentence, if anything was changed."""
        return cls(count, (note,) if count else ())


@dataclass(frozen=True)
class Results:
    """What the passes of a list did, in their order.

    Attributes:
        done: One for each pass that ran.
    """

    done: tuple[Done, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, of all passes."""
        return tuple(note for each in self.done for note in each.notes)

    def of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """The results of a kind."""
        return tuple(each for each in self.done if isinstance(each, kind))


def run(passes: Iterable[Pass], model: ir.Model) -> Results:
    """Runs passes one after the other.

    Args:
        passes: In their order.
        model: Changed in place.
    """
    return Results(tuple(each(model) for each in passes))


def only_if(wanted: bool, *passes: Pass) -> tuple[Pass, ...]:
    """Passes of a list that an option decides about."""
    return passes if wanted else ()


def of_library(make: Callable[[], ir.passes.InPlacePass]) -> Pass:
    """A pass of ``onnx_ir``, which says no more than whether it changed anything.

    Args:
        make: Makes one for each run: some remember what they have seen.
    """

    def library(model: ir.Model, /) -> Changed:
        return Changed(int(make()(model).modified))

    return library
