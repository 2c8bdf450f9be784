"""Which layers of what was built run in INT8: by the builder's own list, or by the inspector.

The builder of TensorRT for RTX lists the layers of a plan while it builds. TensorRT's inspector
lists those of a loaded engine, which is compared with its graph, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtqat.errors import BuildError, TrtqatError
from trtqat.plan.sizes import largest_profile, profile_names

if TYPE_CHECKING:
    from trtqat.building.agreement import Agreement
    from trtqat.building.network import Network
    from trtqat.inspection.inspector import EngineLayer
    from trtqat.plan.coverage import Coverage
    from trtqat.plan.manifest import Manifest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """What a plan runs in INT8, or why that is not known; and whether it computes its graph.

    Attributes:
        coverage: The graph's layers as the plan runs them; None if that is not known.
        error: Why it is not.
        layers: The plan's layers, as TensorRT's inspector writes them; None if they are not known.
        agreement: The engine beside its graph; None if it was not loaded.
    """

    coverage: Coverage | None = None
    error: TrtqatError | None = field(default=None, repr=False, compare=False)
    layers: Mapping[str, Any] | None = field(default=None, repr=False)
    agreement: Agreement | None = field(default=None, repr=False)


def prove_by_log(network: Network, manifest: Manifest) -> Proof:
    """Reads the list of layers that the builder of TensorRT for RTX has logged, of all profiles.

    Args:
        network: What was built.
        manifest: Of the plan.
    """
    from trtqat.inspection.inspector import parse_information
    from trtqat.inspection.profiles import split_profiles

    def find() -> _Found:
        listed = read_logged_layers(network)
        name, count = network.source.path.name, len(manifest.all_profiles)
        return _Found(listed, lambda: split_profiles(parse_information(listed, name), count, name))

    proof = _prove(network.source.path, find, manifest)
    if proof.coverage is None:
        return proof
    # Whatever the list tells of: a plan without products has no kernels yet, either.
    return replace(proof, coverage=replace(proof.coverage, has_kernels=False))


def prove_by_inspector(
    plan: Path,
    graph: Path,
    weights: Path | None,
    manifest: Manifest,
    *,
    plugins: Sequence[Path | str] = (),
) -> Proof:
    """Loads a plan that was just built, asks TensorRT's inspector about each profile, and runs it.

    Args:
        plan: The plan.
        graph: What it was built from.
        weights: The graph again, if it was built without its weights.
        manifest: Of the plan.
        plugins: The libraries that it was built with.
    """
    return _prove(graph, lambda: _of_engine(plan, graph, weights, manifest, plugins), manifest)


@dataclass(frozen=True)
class _Found:
    """Layers as TensorRT writes them, what reads them by profile, and what running them told."""

    information: Mapping[str, Any]
    by_profile: Callable[[], Sequence[tuple[EngineLayer, ...]]]
    agreement: Agreement | None = None


def _prove(graph: Path, find_layers: Callable[[], _Found], manifest: Manifest) -> Proof:
    from trtqat.inspection.engine_layers import cover_profiles

    layers = agreement = None
    profiles = manifest.all_profiles
    try:
        found = find_layers()
        layers, agreement = found.information, found.agreement
        by_profile = dict(enumerate(found.by_profile()))
        coverage = cover_profiles(
            graph,
            by_profile,
            profile_names(profiles, manifest.inputs),
            main=largest_profile(profiles),
            targets=manifest.targets,
        )
    except TrtqatError as error:
        # The plan is built; not to know its layers is no failed build.
        _LOG.warning("Which layers run in INT8 is not known: %s", error)
        return Proof(None, error, layers, agreement)
    return Proof(coverage, None, layers, agreement)


def read_logged_layers(network: Network) -> Mapping[str, Any]:
    """The list of layers that the builder of TensorRT for RTX has logged, as an inspector's JSON.

    Args:
        network: What was built.

    Raises:
        BuildError: It has logged none.
    """
    from trtqat.inspection.builder_log import read_layer_list

    if not network.messages.layers:
        raise BuildError(
            f"{network.builder_name} logged no list of layers for '{network.source.path.name}'.",
            "Build in a process of its own, with release 1.7.1, whose list is known.",
        )
    return read_layer_list(network.messages.layers)


def _of_engine(
    plan: Path,
    graph: Path,
    weights: Path | None,
    manifest: Manifest,
    plugins: Sequence[Path | str],
) -> _Found:
    from trtqat.building.agreement import compare_with_graph
    from trtqat.inspection.engine_layers import ask_inspector
    from trtqat.inspection.inspector import parse_information
    from trtqat.inspection.profiles import layers_of_profile
    from trtqat.runtime.engine import Engine

    # It is what was built here a moment ago, so it may bring code.
    engine = Engine(plan, allow_engine_code=True, flavour="full", weights=weights, plugins=plugins)
    profiles = manifest.all_profiles
    with closing(engine):
        if engine.manifest is None or engine.manifest.plan_sha256 != manifest.plan_sha256:
            raise BuildError(
                f"'{plan}' is another build's by now.", "Give each build a file of its own."
            )
        told = [ask_inspector(engine, index) for index in range(len(profiles))]
        agreement = compare_with_graph(engine, graph)

    def by_profile() -> list[tuple[EngineLayer, ...]]:
        return [
            layers_of_profile(parse_information(each, plan.name), index, len(profiles), plan.name)
            for index, each in enumerate(told)
        ]

    return _Found(told[largest_profile(profiles)], by_profile, agreement)
