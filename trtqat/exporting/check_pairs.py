"""Every quantizer that ran in the model became its Q/DQ pairs, and no other one has any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

from trtqat.errors import ExportError, SourceError
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.quant.toolkits.absence import NO_QUANTIZER, OWN_QUANTIZERS


def check_pairs(
    model: torch.nn.Module,
    pairs: ExpandedPairs,
    runs: list[Counter[str]],
    names: list[str],
    is_read: Callable[[list[str]], bool],
) -> list[str]:
    """Every quantizer that ran became its Q/DQ pairs, and none has pairs that did not run.

    Fewer pairs than uses are right where two uses are one computation: both exporters merge
    them, as for the weight of a layer that runs twice. None are right where no output depends on
    a quantizer, as in a head that runs but is not returned.

    Args:
        model: Module or ScriptModule.
        pairs: What the graph has.
        runs: How often each quantizer ran in each run that the graph is compared with.
        names: Every quantizer that is not disabled.
        is_read: Whether an output depends on some quantizers.

    Returns:
        Sentences on quantizers without a pair.
    """
    if pairs.count == 0:
        raise SourceError(NO_QUANTIZER, OWN_QUANTIZERS)
    if isinstance(model, torch.jit.ScriptModule):
        kinds = [node.kind() for node in model.inlined_graph.nodes()]
        operators = sum("fake_quant" in kind for kind in kinds)
        if pairs.count == operators:
            return []
        return [
            f"{operators} fake-quantize operators became {pairs.count} Q/DQ pairs: equal and "
            "unused ones are left out."
        ]
    unread = [name for name in names if runs[0][name] and not pairs.uses.get(name, 0)]
    if unread and is_read(unread):
        unread = []
    for uses in runs:
        for name in names:
            if name not in unread:
                _check_uses(name, uses[name], runs[0][name], pairs.uses.get(name, 0))
    idle = [name for name in names if not runs[0][name]]
    return [
        f"Quantizer '{found[0]}' {one}: no Q/DQ pair for it."
        if len(found) == 1
        else f"{len(found)} quantizers {several}, as '{found[0]}': no Q/DQ pair for them."
        for found, one, several in (
            (idle, "never runs", "never run"),
            (unread, "runs for no output", "run for no output"),
        )
        if found
    ]


def _check_uses(name: str, uses: int, uses_traced: int, pairs: int) -> None:
    """Compares how often one quantizer ran with its pairs in the graph."""
    if pairs and not uses:
        raise ExportError(
            f"Quantizer '{name}' has a Q/DQ pair in the graph, but did not run in the model that "
            "the graph is compared with.",
            "Something computes its layer without calling it: a fused or compiled form, or a "
            "branch that depends on the input; call the layer itself, or disable the quantizer.",
        )
    if uses != uses_traced:
        raise ExportError(
            f"Quantizer '{name}' runs {uses_traced} times for one batch and {uses} times for "
            "another, but a graph does always the same.",
            "Make forward take one way for every input, or export with --static-batch.",
        )
    if uses and not 1 <= pairs <= uses:
        raise ExportError(
            f"Quantizer '{name}' runs {uses} times, but became {pairs} Q/DQ pairs.",
            "Try the other --exporter, or disable it; trtqat quantize --keep leaves its layer out.",
        )
