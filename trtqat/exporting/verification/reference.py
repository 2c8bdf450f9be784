"""What a graph is compared with, a model or another graph, and what both are called in messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from trtqat.exporting.verification.cut import cuts_of, tapped
from trtqat.exporting.verification.example import Example, Passed
from trtqat.graph_file.serialized import Serialized, derived, parse
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, Arrays


@dataclass(frozen=True)
class Words:
    """What to call the two in messages, and the way out.

    Attributes:
        graph: Begins a sentence, as ``"The FP16 graph"``.
        reference: What it is compared with, as ``"the graph that it was made of"``.
        remedy: Where the graph computes something else.
        of_shapes: Where it computes something of another shape, if that is another way out.
    """

    graph: str
    reference: str
    remedy: str
    of_shapes: str = ""

    @property
    def inline(self) -> str:
        """The graph within a sentence."""
        return self.graph[0].lower() + self.graph[1:]


def begun(words: str) -> str:
    """Words as the beginning of a sentence."""
    return words[0].upper() + words[1:]


OF_MODEL = Words(
    "The graph",
    "the fake-quantized model",
    "Try the other --exporter; if that differs too, switch passes off: --keep-batch-norm, "
    "--float-weights, no --repair.",
    "Write x.shape[0] for len(x) and other sizes that are numbers, export with --static-batch, or "
    "try the other --exporter.",
)
OF_GRAPH = Words(
    "The improved graph",
    "the graph that it was made of",
    "Switch passes off one by one: --keep-batch-norm, --float-weights, no --repair.",
)
OF_HALF = Words("The FP16 graph", "the graph that it was made of", "Export with --precision fp32.")


class Reference(Protocol):
    """What a graph was made of."""

    @property
    def words(self) -> Words:
        """What to call graph and reference."""
        ...

    @property
    def examples(self) -> Sequence[Example]:
        """Batches of different sizes, and what the reference returned for each."""
        ...

    def complete(self, example: Example, graph: Serialized) -> Example:
        """The example with what passed those quantizers that the graph has a pair for.

        Args:
            example: One of ``examples``; the reference may run once more, and return something
                that differs in its last bits.
            graph: What is compared with the reference.
        """
        ...


@dataclass(frozen=True, eq=False)
class GraphReference:
    """The graph that another one was derived from, on ONNX Runtime.

    Attributes:
        graph: Serialized ONNX model, with the inputs and outputs of the other.
        batches: Inputs of shape ``(N, …)`` by name, one mapping per run.
        words: What to call the two.
    """

    graph: Serialized
    batches: Sequence[Arrays]
    words: Words

    @cached_property
    def examples(self) -> Sequence[Example]:
        """What it returns for each batch."""
        found = outputs_of(self.graph, self.batches)
        return [Example(*each) for each in zip(self.batches, found, strict=True)]

    def complete(self, example: Example, graph: Serialized) -> Example:
        """The example with what passes those pairs that the other graph has as well."""
        proto = parse(self.graph)
        theirs = cuts_of(parse(graph))
        cuts = [each for name, each in cuts_of(proto).items() if name in theirs]
        (found,) = outputs_of(derived(self.graph, tapped(proto, cuts)), [example.inputs])
        values = {**example.inputs, **found}
        passed = {
            each.dequantized: Passed(each.quantizer, values[each.source], values[each.dequantized])
            for each in cuts
        }
        return replace(example, passed=passed)


def outputs_of(graph: Serialized, batches: Sequence[Arrays]) -> Iterator[dict[str, Array]]:
    """What a graph returns for each batch on ONNX Runtime, the graph as written."""
    with OnnxModel(graph, as_written=True) as model:
        for batch in batches:
            yield model.session(1).run(batch)


def other_output(
    before: Serialized,
    batches: Sequence[Arrays],
    after: Serialized,
    given: Sequence[Arrays] | None = None,
) -> str:
    """The first output of which a changed graph computes another bit; empty if it computes none.

    Args:
        before: The graph as it was.
        batches: Its inputs.
        after: The changed graph.
        given: Its inputs, where they are others.
    """
    others = outputs_of(after, batches if given is None else given)
    for expected, found in zip(outputs_of(before, batches), others, strict=True):
        for name, array in expected.items():
            if not np.array_equal(array, found[name], equal_nan=True):
                return name
    return ""
