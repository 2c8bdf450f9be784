"""Pass: convolutions that TensorRT 8.6.0 would merge, and then refuse, get unequal activations.

1. Of each group of siblings (``lenses.siblings``) the first stays as it is.
2. Of each other one its Relu becomes a Clip from 0 to a bound that no code is beyond; without a
   Relu a Clip with such a bound on both sides comes behind it. QuantizeLinear saturates there
   anyway, so every code is what it was. That the bound has the last code is computed.
3. All bounds of a group differ.
4. The Clip makes a tensor of the old name, and no other name is given twice.

On an H200, 8.6.0 built what it had refused before, a whole detector among them. Each convolution
was still one kernel with its activation, from INT8 to INT8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.siblings import CLIPPED, Sibling, names_of_bounds, siblings
from trtqat.graph.lenses.view import GraphView
from trtqat.tensors import Array

# The last codes of INT8.
_LOWEST, _HIGHEST = -128, 127


@dataclass(frozen=True)
class PartedSiblings:
    """What the pass did.

    Attributes:
        parted: Names of the convolutions that got a Clip.
    """

    parted: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for the user."""
        if not self.parted:
            return ()
        more = f" and {len(self.parted) - 1} more" if len(self.parted) > 1 else ""
        return (
            f"a Clip behind '{self.parted[0]}'{more}, as TensorRT 8.6 refuses equal convolutions "
            "of one tensor (codes unchanged)",
        )


def part_siblings(model: ir.Model) -> PartedSiblings:
    """Lets siblings differ in what follows them, in place."""
    graph = model.graph
    editor = Editor(graph)
    parted = []
    groups = siblings(GraphView(graph))
    taken = _names(graph) if groups else set()
    for group in groups:
        used: set[float] = set()
        for sibling in group[1:]:
            bounds = next((each for each in _bounds(sibling) if each[1] not in used), None)
            if bounds is None:
                continue
            used.add(bounds[1])
            _clip(graph, editor, sibling, bounds, taken)
            parted.append(sibling.layer.name)
    editor.finish()
    return PartedSiblings(tuple(parted))


def _bounds(sibling: Sibling) -> Iterator[tuple[float, float]]:
    """Lower and upper ones that no code is beyond, ever further out."""
    scale, lowest = np.float32(sibling.scale), 0 if sibling.relu is not None else _LOWEST
    with np.errstate(over="ignore"):
        for times in range(1, _HIGHEST):
            lower, upper = (np.float32(code * times) * scale for code in (lowest, _HIGHEST))
            if not np.isfinite([lower, upper]).all():
                return
            codes = np.rint(np.array([lower, upper]) / scale)
            if codes[0] <= lowest and codes[1] >= _HIGHEST:
                yield float(lower), float(upper)


def _clip(
    graph: ir.Graph,
    editor: Editor,
    sibling: Sibling,
    bounds: tuple[float, float],
    taken: set[str],
) -> None:
    last = sibling.last
    source, output = sibling.layer.node.outputs[0], last.outputs[0]
    name = _free(f"{name_of(last)}{CLIPPED}", taken)
    limits = [
        add_initializer(graph, what, _number(bound))
        for what, bound in zip(names_of_bounds(name), bounds, strict=True)
    ]
    clip = ir.Node("", "Clip", [None, *limits], name=name)
    made = clip.outputs[0]
    made.type, made.shape = output.type, output.shape
    editor.replace(output, made)
    editor.insert_after(last, [clip])
    # Now, as all that read the output before read what the Clip makes.
    editor.replace_input(clip, 0, source)
    # Whoever looks for the tensor behind the layer finds it.
    made.name = output.name
    if sibling.relu is None:
        output.name = _free(f"{output.name}_unclipped", taken)
    else:
        output.name = None
        editor.remove(sibling.relu)


def _names(graph: ir.Graph) -> set[str]:
    """All names of nodes and tensors."""
    nodes = list(graph.all_nodes())
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in nodes for value in node.outputs]
    return {str(node.name) for node in nodes} | {str(value.name) for value in values}


def _free(wanted: str, taken: set[str]) -> str:
    """The name, numbered where it or one of its bounds' is taken."""
    name, number = wanted, 0
    while not taken.isdisjoint((name, *names_of_bounds(name))):
        number += 1
        name = f"{wanted}_{number}"
    taken.update((name, *names_of_bounds(name)))
    return name


def _number(bound: float) -> Array:
    return np.array(bound, np.float32)
