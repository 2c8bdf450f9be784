"""The order of an engine's inputs and outputs: the graph's, as TensorRT keeps one of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from trtqat.errors import TrtqatError
from trtqat.extras import require
from trtqat.io_names import IoNames, NameRecord, record_of
from trtqat.plan.manifest import Manifest
from trtqat.runtime.engine_graph import check_graph, graph_beside

_LOG = logging.getLogger(__name__)


def names_of_engine(
    plan: Path,
    manifest: Manifest | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    graph: Path | str | None = None,
) -> IoNames:
    """The names of an engine's inputs and outputs, in the order of the exported model.

    The manifest tells it, or else the graph that the engine was built from.

    Args:
        plan: The plan file, beside which the graph may lie.
        manifest: Its manifest, if it has one.
        inputs: In TensorRT's order.
        outputs: Names of the outputs, in TensorRT's order.
        graph: The graph, if the user gave it.

    Returns:
        The names; with ``is_ordered`` False, and in TensorRT's order, where there are several
        outputs and nothing tells.
    """
    recorded = manifest.io_names if manifest else None
    if recorded is None and max(len(inputs), len(outputs)) > 1:
        recorded = _of_graph_file(plan, manifest, graph)
    if recorded is None or not set(outputs) <= set(recorded.outputs):
        return IoNames(tuple(inputs), tuple(outputs), is_ordered=len(outputs) < 2)
    kept = [name for name in recorded.outputs if name in outputs]
    # TensorRT may drop an input that nothing reads.
    taken = [name for name in recorded.inputs if name in inputs]
    taken += [name for name in inputs if name not in taken]
    returned = recorded.returned if len(kept) == len(recorded.outputs) else ()
    return IoNames(tuple(taken), tuple(kept), returned)


def _of_graph_file(
    plan: Path, manifest: Manifest | None, given: Path | str | None
) -> NameRecord | None:
    """Those of the graph that an engine was built from; None if there is none that is known."""
    if given:
        check_graph(Path(given), plan, manifest)
    path = Path(given) if given else graph_beside(plan, manifest)
    if path is None:
        return None
    try:
        require("onnx", extra="cuda12", purpose="Reading a graph")
        from trtqat.graph_file.names import read_io_names

        return record_of(read_io_names(path))
    except TrtqatError as error:
        _LOG.warning("The order of the outputs of '%s' is not known: %s", plan, error)
        return None
