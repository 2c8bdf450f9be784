"""Which layers of what was built run in INT8: by the builder's own list, or by the inspector.

The builder of TensorRT for RTX lists the layers of a plan while it builds. TensorRT's inspector
lists those of a loaded engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtqat.errors import BuildError, TrtqatError

if TYPE_CHECKING:
    from trtqat.building.network import Network
    from trtqat.plan.coverage import Coverage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """What a plan runs in INT8, or why that is not known.

    Attributes:
        coverage: The graph's layers as the plan runs them; None if that is not known.
        error: Why it is not.
        layers: The plan's layers, as TensorRT's inspector writes them; None if they are not known.
    """

    coverage: Coverage | None = None
    error: TrtqatError | None = field(default=None, repr=False, compare=False)
    layers: Mapping[str, Any] | None = field(default=None, repr=False)


def prove_by_log(network: Network) -> Proof:
    """Reads the list of layers that the builder of TensorRT for RTX has logged."""
    return _prove(network.source.path, lambda: _logged_layers(network))


def prove_by_inspector(plan: Path, graph: Path, weights: Path | None) -> Proof:
    """Loads a plan that was just built, and asks TensorRT's inspector.

    Args:
        plan: The plan.
        graph: What it was built from.
        weights: The graph again, if it was built without its weights.
    """
    return _prove(graph, lambda: _inspected_layers(plan, weights))


def _prove(graph: Path, find_layers: Callable[[], Mapping[str, Any]]) -> Proof:
    from trtqat.inspection.engine_layers import cover_graph
    from trtqat.inspection.inspector import parse_information

    layers = None
    try:
        layers = find_layers()
        coverage = cover_graph(graph, parse_information(layers, str(graph)))
    except TrtqatError as error:
        # The plan is built; not to know its layers is no failed build.
        _LOG.warning("Which layers run in INT8 is not known: %s", error)
        return Proof(None, error, layers)
    return Proof(coverage, None, layers)


def _logged_layers(network: Network) -> Mapping[str, Any]:
    from trtqat.inspection.builder_log import read_layer_list

    if not network.messages.layers:
        raise BuildError(
            f"{network.builder_name} logged no list of layers for '{network.source.path.name}'.",
            "Build in a process of its own, with release 1.7.1, whose list is known.",
        )
    return read_layer_list(network.messages.layers)


def _inspected_layers(plan: Path, weights: Path | None) -> Mapping[str, Any]:
    from trtqat.inspection.engine_layers import inspect_engine
    from trtqat.runtime.engine import Engine

    # It is what was built here a moment ago, so it may bring code.
    engine = Engine(plan, allow_engine_code=True, flavour="full", weights=weights)
    with closing(engine):
        return inspect_engine(engine).information
