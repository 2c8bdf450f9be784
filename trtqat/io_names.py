"""Inputs and outputs have names: by these, never by their place, one model's are another's.

TensorRT lists those of an engine in an order of its own. Their order, which says what a plain tuple
of PyTorch's means and which output is the prediction, is that of the exported model. The export
records it in the ONNX file (``trtqat.provenance``) and the build in the manifest. A graph without
the record has its own order; an engine without it that of the graph it was built from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from trtqat.errors import DataError
from trtqat.tensors import TensorSpec

Value = TypeVar("Value")


@dataclass(frozen=True)
class IoNames:
    """The names of a model's inputs and outputs, in the order of the exported model.

    Attributes:
        inputs: As graph and engine call them.
        outputs: As graph and engine call them; the first one is a classifier's prediction.
        returned: What the exported model itself calls its outputs, where that is known: the graph
            may not use a name that an input has already.
        is_ordered: Whether the order is known. It is not where an engine has several outputs, and
            neither its manifest nor its graph tells.
        model: Whose they are, for messages.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    returned: tuple[str, ...] = ()
    is_ordered: bool = True
    model: str = "the model"

    @property
    def prediction(self) -> str | None:
        """The first output, whose largest value is the predicted class; None if it is not known."""
        return self.outputs[0] if self.outputs and self.is_ordered else None


@dataclass(frozen=True)
class NameRecord:
    """What ONNX file and manifest record of an ``IoNames``, in the order of the exported model.

    Attributes:
        inputs: As graph and engine call them.
        outputs: As graph and engine call them.
        returned: What the exported model itself calls its outputs; empty if that is not known.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    returned: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether no list has a name twice."""
        lists = (self.inputs, self.outputs, self.returned)
        return all(len(set(each)) == len(each) for each in lists)


class ByPosition(dict[str, Value]):
    """Outputs of a model that names none, a tensor or a tuple: the keys are made up."""


def match_outputs(found: Mapping[str, Value], names: IoNames, *, model: str) -> dict[str, Value]:
    """Brings a model's outputs under the names, and into the order, of another model's.

    Outputs with names are matched by them: by those of the graph, or by those that the exported
    model gave them. Outputs without (``ByPosition``) stand in the order of the exported model. If
    there is one on either side, it is the one.

    Args:
        found: What the model returned.
        names: Of the other model.
        model: Whose outputs these are, for messages.

    Raises:
        DataError: They do not belong together, or nothing tells how.
    """
    if len(found) == len(names.outputs) == 1:
        return dict(zip(names.outputs, found.values(), strict=True))
    is_named = not isinstance(found, ByPosition)
    for known in (names.outputs, names.returned):
        if is_named and len(known) == len(names.outputs) and set(known) == set(found):
            return {name: found[key] for name, key in zip(names.outputs, known, strict=True)}
    if not is_named and len(found) == len(names.outputs) and names.is_ordered:
        return dict(zip(names.outputs, found.values(), strict=True))
    theirs = f"the outputs {_listed(found)}" if is_named else f"{len(found)} outputs without names"
    if not is_named and len(found) == len(names.outputs):
        raise DataError(
            f"'{model}' returns {theirs}, and in which order '{names.model}' has its outputs "
            f"{_listed(names.outputs)} is not known.",
            "Let it return a dict with these names, or give the graph: --graph model.onnx",
        )
    remedy = f"Let it return a dict with the names {_listed(names.outputs)}"
    if len(names.outputs) == 1:
        remedy = "Let it return that tensor alone"
    elif names.is_ordered:
        remedy += ", or a tuple in this order"
    raise DataError(
        f"'{model}' returns {theirs}, but '{names.model}' has {_listed(names.outputs)}.",
        f"{remedy}.",
    )


def in_order(specs: Iterable[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Specifications in the order of names; those that no name tells of stay behind, as they are.

    Args:
        specs: In any order.
        names: Names of some or all of them.
    """
    place = {name: index for index, name in enumerate(names)}
    return tuple(sorted(specs, key=lambda spec: place.get(spec.name, len(place))))


def names_of_graph(
    inputs: Sequence[str], outputs: Sequence[str], recorded: NameRecord | None
) -> IoNames:
    """The names of an ONNX graph, ordered as its export recorded them.

    A record of other names is of another graph, as where a tool has changed the outputs since: the
    graph's own order holds then.

    Args:
        inputs: In the graph's order, without initializers.
        outputs: In the graph's order.
        recorded: What the export recorded in the file; None if nothing sensible.
    """
    if recorded is None:
        return IoNames(tuple(inputs), tuple(outputs))
    is_same = set(recorded.outputs) == set(outputs)
    return IoNames(
        recorded.inputs if set(recorded.inputs) == set(inputs) else tuple(inputs),
        recorded.outputs if is_same else tuple(outputs),
        recorded.returned if is_same else (),
    )


def record_of(names: IoNames) -> NameRecord:
    """What is recorded of names."""
    return NameRecord(names.inputs, names.outputs, names.returned)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
