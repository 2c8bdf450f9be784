"""Pass: convolutions that TensorRT 8.6.0 would merge, and then refuse, get unequal activations.

1. Of each group of siblings (``lenses.siblings``) the first stays as it is.
2. Of each other one its Relu becomes a Clip from 0 to a bound that no code is beyond; without a
   Relu a Clip with such a bound on both sides comes behind it. QuantizeLinear saturates there
   anyway, so every code is what it was. That the bound has the last code is computed.
3. All bounds of a group differ.

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
from trtqat.graph.lenses.siblings import Sibling, siblings
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
        """A sentence for the user."""
        if not self.parted:
            return ()
        return (
            f"{len(self.parted)} convolutions, first '{self.parted[0]}', got a Clip where their "
            "quantizer saturates. TensorRT 8.6.0 refuses them beside equal ones of the same "
            "tensor. The codes are the same.",
        )


def part_siblings(model: ir.Model) -> PartedSiblings:
    """Lets siblings differ in what follows them, in place."""
    graph = model.graph
    editor = Editor(graph)
    parted = []
    for group in siblings(GraphView(graph)):
        used: set[float] = set()
        for sibling in group[1:]:
            bounds = next((each for each in _bounds(sibling) if each[1] not in used), None)
            if bounds is None:
                continue
            used.add(bounds[1])
            _clip(graph, editor, sibling, bounds)
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


def _clip(graph: ir.Graph, editor: Editor, sibling: Sibling, bounds: tuple[float, float]) -> None:
    last = sibling.last
    source, output = sibling.layer.node.outputs[0], last.outputs[0]
    name = f"{name_of(last)}_clipped"
    limits = [
        add_initializer(graph, f"{name}.{what}", _number(bound))
        for what, bound in zip(("lower", "upper"), bounds, strict=True)
    ]
    clip = ir.Node("", "Clip", [None, *limits], name=name)
    made = clip.outputs[0]
    made.name, made.type, made.shape = f"{output.name}_clipped", output.type, output.shape
    editor.replace(output, made)
    editor.insert_after(last, [clip])
    # Now, as all that read the output before read what the Clip makes.
    editor.replace_input(clip, 0, source)
    if sibling.relu is not None:
        # Whoever looks for the tensor behind the activation finds it.
        made.name, output.name = output.name, None
        editor.remove(sibling.relu)


def _number(bound: float) -> Array:
    return np.array(bound, np.float32)
