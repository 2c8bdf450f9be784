"""Weights that forward computes of others: a graph has them as PyTorch computes them.

Convolutions that standardise their weights, as those of NFNet, NF-ResNet and BiT, compute them in
every forward, and so does the hook of the older ``weight_norm``. Computed once more for the graph,
with sums in another order, a weight of many lies on the other side of a rounding, and its code is
the neighbouring one.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx_ir as ir
import torch

from trtqat.graph.lenses.moves import is_move
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs, clipped_name
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.placing.written import storage_of
from trtqat.runtime.pytorch_hooks import Forward, wrapped_forwards


@contextlib.contextmanager
def held_weights(
    graph: ir.Model,
    pairs: ExpandedPairs,
    model: torch.nn.Module,
    stand_ins: Mapping[str, FakeQuantize],
    run: Callable[[], object],
) -> Iterator[bool]:
    """Has quantizers hold what forward computes for them of weights alone, until exit.

    Args:
        graph: What a first trace made; it tells what depends on no input.
        pairs: That it has.
        model: In eval mode, its quantizers replaced.
        stand_ins: What they were replaced by, by name.
        run: Runs the model.

    Yields:
        Whether any holds one, so that another trace makes another graph.
    """
    computed = {
        name: stand_ins[name] for name in _of_weights_alone(graph.graph, pairs) if name in stand_ins
    }
    found = _weights_in(model, computed, pairs.uses, run) if computed else {}
    for name, weight in found.items():
        stand_ins[name].held = torch.nn.Parameter(weight, requires_grad=False)
    try:
        yield bool(found)
    finally:
        for name in found:
            stand_ins[name].held = None


def _of_weights_alone(graph: ir.Graph, pairs: ExpandedPairs) -> Iterator[str]:
    """Names of quantizers all of whose pairs are of initializers, and one of what they become."""
    # What is there no more was computed with its layer.
    read = {node.name: node.inputs[0] for node in graph if node.op_type == QUANTIZE}
    weights = Weights()
    for name, made in pairs.pairs.items():
        sources = [value for each in made if (value := read.get(each.quantize)) is not None]
        if all(each in weights for each in sources) and any(
            # A narrow range may have made an initializer of what was computed.
            each.name == clipped_name(name) or not _is_moved(each)
            for each in sources
        ):
            yield name


def _is_moved(value: ir.Value) -> bool:
    """Whether a weight is an initializer, at most moved."""
    waiting = [value]
    while waiting:
        node = waiting.pop().producer()
        if node is not None and not is_move(node):
            return False
        waiting += [] if node is None else [each for each in node.inputs if each is not None]
    return True


def _weights_in(
    model: torch.nn.Module,
    stand_ins: Mapping[str, FakeQuantize],
    uses: Mapping[str, int],
    run: Callable[[], object],
) -> Mapping[str, torch.Tensor]:
    """What some quantizers are given, if it is the same in each call and no parameter itself."""
    found: dict[str, torch.Tensor] = {}
    unlike: set[str] = set()
    calls: Counter[str] = Counter()
    own = {storage_of(each) for each in itertools.chain(model.parameters(), model.buffers())}

    def looking(name: str, forward: Forward) -> Forward:
        @functools.wraps(forward)
        def look(x: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
            calls[name] += 1
            if storage_of(x) in own or not torch.equal(
                found.setdefault(name, x.detach().clone()), x
            ):
                unlike.add(name)
            return forward(x, *others, **options)

        return look

    with wrapped_forwards(stand_ins, looking):
        run()
    # A call without a pair was traced to something else.
    return {
        name: weight
        for name, weight in found.items()
        if name not in unlike and calls[name] == uses[name]
    }
