"""The graph that a plan was built from: what a user gave, or what lies beside the plan."""

from __future__ import annotations

import logging
from pathlib import Path

from trtqat.errors import TrtqatError, UsageError
from trtqat.files import is_file
from trtqat.graph_file.hashing import graph_sha256
from trtqat.plan.manifest import Manifest

_LOG = logging.getLogger(__name__)


def graph_of_plan(plan: Path, manifest: Manifest | None, given: Path | None) -> Path:
    """The graph that a plan was built from.

    Args:
        plan: The plan file.
        manifest: Its manifest, if it has one.
        given: What the user says that it is; else it must lie beside the plan, unchanged.

    Raises:
        UsageError: It is not there, or what was given is another one.
    """
    if given is not None:
        check_graph(given, plan, manifest)
    graph = given or graph_beside(plan, manifest)
    if graph is None:
        raise UsageError(
            f"The graph that '{plan}' was built from does not lie beside it.",
            "Give it: --graph model.onnx",
        )
    return graph


def check_graph(graph: Path, plan: Path, manifest: Manifest | None) -> None:
    """Refuses a graph that is not the one that a manifest records.

    Args:
        graph: What a user gave; a file that is not there is not this function's to refuse.
        plan: The plan file.
        manifest: Its manifest, if it has one.

    Raises:
        UsageError: It is another one.
    """
    if _is_other(graph, manifest):
        raise UsageError(
            f"'{graph}' is not the graph that '{plan}' was built from: its SHA-256 differs.",
            "Give that graph, or build the engine of this one.",
        )


def warn_of_other_graph(graph: Path, plan: Path, manifest: Manifest | None) -> None:
    """Warns of a graph that is not the one that a manifest records, for who wants to compare.

    Args:
        graph: What a user gave; a file that is not there is not this function's to refuse.
        plan: The plan file.
        manifest: Its manifest, if it has one.
    """
    if _is_other(graph, manifest):
        _LOG.warning(
            "'%s' is not the graph that '%s' was built from: its SHA-256 differs. What is said of "
            "its layers holds where their names are those of the engine.",
            graph,
            plan,
        )


def _is_other(graph: Path, manifest: Manifest | None) -> bool:
    recorded = manifest.graph_sha256 if manifest else None
    return bool(recorded) and is_file(graph) and graph_sha256(graph) != recorded


def graph_beside(plan: Path, manifest: Manifest | None) -> Path | None:
    """The ONNX file that a plan was built from, if it lies beside the plan unchanged.

    Nobody named that file. So one that cannot be read is worth a warning, not an error.

    Args:
        plan: The plan file.
        manifest: Its manifest, if it has one.
    """
    # A manifest from elsewhere must not lead out of the directory.
    if manifest is None or not manifest.graph or Path(manifest.graph).name != manifest.graph:
        return None
    path = plan.with_name(manifest.graph)
    if not is_file(path):
        return None
    try:
        is_same = graph_sha256(path) == manifest.graph_sha256
    except TrtqatError as error:
        _LOG.warning("'%s' is not used as the graph of '%s': %s", path, plan, error)
        return None
    if not is_same:
        _LOG.warning("'%s' is not the graph that '%s' was built from: it changed.", path, plan)
        return None
    return path
