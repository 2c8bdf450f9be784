"""Which layers of a plan belong to which of its shape profiles, and what is INT8 in all of them.

TensorRT builds a network once for each profile, and lists the layers of all of them. It writes
" [profile 1]" behind the names of layers and tensors that are not of the first one, profile 0. Seen
in the list of TensorRT for RTX 1.7.1.116, and in what Polygraphy's documentation shows of
TensorRT's inspector. There, kernels that a compiler made have no such mark, but the subgraph that
they are of has: they end in "_myl1_0", and others of "_myl1" or their tensors are marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from trtqat.errors import GraphError
from trtqat.inspection.inspector import EngineLayer
from trtqat.inspection.words import profiles_in_words
from trtqat.plan.coverage import Coverage, LayerCoverage

# What TensorRT writes behind the names of layers and tensors of any profile but the first.
MARK = re.compile(r" \[profile (\d{1,4})\]")
# What a profile is called where its shapes are not known.
_NUMBER = re.compile(r"profile \d")
_SUBGRAPH = re.compile(r"_myl(\d+)_\d+$")


def split_profiles(
    layers: Sequence[EngineLayer], count: int, name: str
) -> tuple[tuple[EngineLayer, ...], ...]:
    """The layers of each profile, from a list of the layers of all.

    Args:
        layers: Of all profiles.
        count: How many profiles the plan has.
        name: Of the plan or graph, for messages.

    Raises:
        GraphError: The list does not tell them apart.
    """
    if count == 1:
        return (tuple(layers),)
    if count > len(layers):
        raise _not_told(name, count)
    profiles: list[list[EngineLayer]] = [[] for _ in range(count)]
    for group in _groups(layers):
        marks = {mark for layer in group for mark in _marks(layer)}
        if len(marks) > 1 or max(marks, default=0) >= count:
            raise _not_told(name, count)
        profiles[max(marks, default=0)] += group
    if not all(profiles):
        raise _not_told(name, count)
    return tuple(tuple(each) for each in profiles)


def count_profiles(layers: Sequence[EngineLayer], graph_layers: Iterable[str]) -> int:
    """How many profiles a list of layers is of, where only the list tells.

    Args:
        layers: Of all profiles.
        graph_layers: Names of the graph's layers. If one of them looks like a mark itself, no mark
            is taken for one.
    """
    if any(MARK.search(name) for name in graph_layers):
        return 1
    return 1 + max((mark for layer in layers for mark in _marks(layer)), default=0)


def layers_of_profile(
    layers: Sequence[EngineLayer], profile: int, count: int, name: str
) -> tuple[EngineLayer, ...]:
    """The layers of the profile of an execution context, from what the inspector says of it.

    Args:
        layers: Of all profiles, or of this one alone: then none is marked, and none is there twice.
        profile: Its index.
        count: How many profiles the engine has.
        name: Of the engine, for messages.

    Raises:
        GraphError: The list does not tell them apart.
    """
    names = [layer.name for layer in layers]
    if not any(_marks(layer) for layer in layers) and len(set(names)) == len(names):
        return tuple(layers)
    return split_profiles(layers, count, name)[profile]


def join_profiles(
    coverages: Mapping[int, Coverage], batches: Sequence[str], main: int = 0
) -> Coverage:
    """What is so in several profiles: a layer is INT8 if it is in all of them.

    Args:
        coverages: The same graph's, by the index of the profile.
        batches: Of every profile, as ``--batch`` takes them or with their sizes as ``--shapes``, or
            what to call it.
        main: The index of the one whose kernels, times and other layers are told.
    """
    by_layer = zip(*(each.layers for each in coverages.values()), strict=True)
    return replace(
        coverages[main],
        layers=tuple(
            _join(dict(zip(coverages, layers, strict=True)), batches, main) for layers in by_layer
        ),
        profiles=tuple(batches[index] for index in coverages),
    )


def _join(layers: Mapping[int, LayerCoverage], batches: Sequence[str], main: int) -> LayerCoverage:
    """One layer of the graph; where it is not INT8 in a profile, as it is in the first such one."""
    if not layers[main].wants_int8:
        return layers[main]
    # What is known not to be INT8 says more than what is not known.
    for state in (False, None):
        missed = [index for index, each in layers.items() if each.runs_int8 is state]
        if missed:
            found = layers[missed[0]]
            if len(missed) == len(layers):
                return found
            which = ", ".join(batches[index] for index in missed)
            reason = found.reason or "it is not INT8"
            where = which if _NUMBER.match(which) else f"the profile for {profiles_in_words(which)}"
            return replace(found, reason=f"in {where}: {reason}")
    return layers[main]


def _groups(layers: Sequence[EngineLayer]) -> list[list[EngineLayer]]:
    """Layers of one compiled subgraph together, each other one alone."""
    groups: dict[str, list[EngineLayer]] = {}
    for index, layer in enumerate(layers):
        subgraph = _SUBGRAPH.search(layer.name)
        key = f"subgraph {subgraph[1]}" if subgraph else f"layer {index}"
        groups.setdefault(key, []).append(layer)
    return list(groups.values())


def _marks(layer: EngineLayer) -> set[int]:
    names = (layer.name, *(each.name for each in (*layer.inputs, *layer.outputs)))
    return {int(mark) for name in names for mark in MARK.findall(name)}


def _not_told(name: str, count: int) -> GraphError:
    return GraphError(
        f"The list of the layers of '{name}' does not tell its {count} profiles apart.",
        "Build it with one profile, a range in --batch or one --shapes, to see which layers are "
        "INT8.",
    )
