"""Finds a model's state dict in whatever a training loop saved around it.

A checkpoint nests (``{"state_dict": …}``), and wrappers of a model put prefixes before its keys
(``module.``, ``_orig_mod.``, ``model.``). Neither is read off a list: every mapping of the file is
a candidate, and a prefix is what has to be taken off, or put on, so that its keys are the model's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

# Modules that hold another one under a name of their own, also in the middle of a model.
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
# In a name: weights that were averaged over the steps of a training.
_AVERAGED = frozenset(("ema", "swa", "averaged", "average", "avg", "shadow", "polyak"))
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# torch.optim.swa_utils.AveragedModel keeps it beside the weights.
_COUNTER = "n_averaged"
# An optimizer's moments have the names and shapes of weights.
_OPTIMIZER = re.compile(r"optim|^exp_avg", re.IGNORECASE)
# Lightning's WeightAveraging puts the averages in the place of the weights, and these two beside.
_LIGHTNING = frozenset(("averaging_state", "current_model_state"))
# Nesting that nobody writes; a file may hold itself.
_DEEPEST = 32

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Wanted:
    """What a model's state dict has.

    Attributes:
        shapes: Of every key; None where the checkpoint may bring another one.
        optional: Keys that the checkpoint may have besides.
    """

    shapes: Mapping[str, torch.Size | None]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """A mapping of the file, with its keys as the model would have them.

    Attributes:
        path: Keys that lead to the mapping.
        prefix: What stood before the model's keys.
        state: The tensors behind the prefix, by the model's keys where it has them.
        left_out: Keys of the others.
        is_averaged: Whether they are averaged weights (EMA, SWA).
        missing: Keys of the model that it lacks.
        unexpected: Keys that the model lacks.
        differing: Keys of another shape.
        metadata: Versions of the modules, by the model's names of them; empty where the keys are
            not the file's with a prefix taken off, or the file has none.
    """

    path: tuple[str, ...]
    prefix: str
    state: Tensors
    left_out: tuple[str, ...]
    is_averaged: bool
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differing: tuple[str, ...]
    metadata: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the state is the model's, whole."""
        return not (self.missing or self.unexpected or self.differing)

    @property
    def common(self) -> int:
        """How many of its keys are the model's."""
        return len(self.state) - len(self.unexpected)

    def __str__(self) -> str:
        place = "".join(f"[{key!r}]" for key in self.path)
        keys = f"the keys behind '{self.prefix}'" if self.prefix else ""
        return " ".join(filter(None, (place, keys))) or "the file itself"


@dataclass(frozen=True)
class Search:
    """What a file holds for a model.

    Attributes:
        fitting: Candidates that fit, in the file's order, without repetitions.
        closest: The one that has most of the model's keys, if none fits; None if no mapping of
            the file holds tensors by name.
        has_other_average: Whether there are averaged weights that do not fit.
    """

    fitting: tuple[Candidate, ...]
    closest: Candidate | None
    has_other_average: bool


def find_state_dicts(loaded: object, wanted: Wanted) -> Search:
    """Looks for a model's state in all that a file holds.

    Args:
        loaded: What ``torch.load`` returned.
        wanted: What the model has.
    """
    fitting: list[Candidate] = []
    closest: Candidate | None = None
    other_average = False
    by_lightning = isinstance(loaded, Mapping) and loaded.keys() >= _LIGHTNING
    for path, tensors, metadata in _mappings(loaded):
        is_averaged = any(map(_says_averaged, path)) or (by_lightning and path == ("state_dict",))
        found = _fitted(path, tensors, wanted, is_averaged=is_averaged)
        fits = [each for each in found if each.fits]
        fitting += [replace(each, metadata=_versions(each, tensors, metadata)) for each in fits]
        if not fits:
            other_average |= is_averaged and any(tensor.dim() for tensor in tensors.values())
            for each in found:
                if closest is None or each.common > closest.common:
                    closest = each
        aside = [key for each in fits for key in each.left_out if tensors[key].dim()]
        other_average |= any(map(_says_averaged, {key.rpartition(".")[0] for key in aside}))
    other_average |= _has_nameless_average(loaded)
    return Search(tuple(_without_repetitions(fitting)), closest, other_average)


def _mappings(loaded: object) -> Iterator[tuple[tuple[str, ...], Tensors, object]]:
    """Every mapping with tensors by name, the way to it, and what PyTorch noted beside it."""
    for path, value in _containers(loaded):
        if not isinstance(value, Mapping) or any(map(_OPTIMIZER.search, path)):
            continue
        tensors = {
            key: tensor
            for key, tensor in value.items()
            if isinstance(key, str) and isinstance(tensor, torch.Tensor)
        }
        if tensors:
            yield path, tensors, getattr(value, "_metadata", None)


def _versions(found: Candidate, tensors: Tensors, metadata: object) -> dict[str, dict[str, Any]]:
    """``_metadata`` of a state dict, whose keys are paths of modules, with the prefix taken off."""
    taken = found.prefix
    as_they_were = all(tensors.get(taken + key) is value for key, value in found.state.items())
    if not as_they_were or not isinstance(metadata, Mapping):
        return {}
    return {
        f"{name}."[len(taken) :].removesuffix("."): dict(noted)
        for name, noted in metadata.items()
        if isinstance(name, str) and isinstance(noted, Mapping)
        # The model itself has the empty path.
        if not taken or f"{name}.".startswith(taken)
    }


def _has_nameless_average(loaded: object) -> bool:
    """Whether averaged weights stand in a list, as torch_ema keeps them."""
    return any(
        isinstance(value, (list, tuple))
        and any(map(_says_averaged, path))
        and not any(map(_OPTIMIZER.search, path))
        and any(isinstance(each, torch.Tensor) and each.dim() for each in value)
        for path, value in _containers(loaded)
    )


def _containers(loaded: object) -> Iterator[tuple[tuple[str, ...], object]]:
    stack: list[tuple[tuple[str, ...], object]] = [((), loaded)]
    entered: set[int] = set()
    while stack:
        path, value = stack.pop()
        yield path, value
        if id(value) in entered or len(path) == _DEEPEST:
            continue
        entered.add(id(value))
        items = value.items() if isinstance(value, Mapping) else enumerate(value)  # type: ignore[arg-type]
        inside = [
            ((*path, key if isinstance(key, str) else type(key).__name__), each)
            for key, each in items
            if isinstance(each, (Mapping, list, tuple))
        ]
        stack.extend(reversed(inside))


def _fitted(
    path: tuple[str, ...], tensors: Tensors, wanted: Wanted, *, is_averaged: bool
) -> list[Candidate]:
    """The ways in which a mapping fits, or the one way in which it comes closest."""
    plain = {key: key for key in tensors}, {key: key for key in (*wanted.shapes, *wanted.optional)}
    closest: list[Candidate] = []
    for keys, names in (plain, tuple(map(_unwrapped, plain))):
        if not keys or not names:
            continue  # two keys would become one
        found = [
            _candidate(path, tensors, wanted, keys, names, way, is_averaged=is_averaged)
            for way in _prefixes(keys, names, wanted)
        ]
        fits = [each for each in found if each.fits]
        whole = [each for each in fits if not each.left_out]
        if fits:
            return whole or fits
        closest = closest or found[:1]
    return closest


def _unwrapped(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys without the wrappers in them; empty where two of them would be the same then."""
    shorter = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): key
        for name, key in keys.items()
    }
    return shorter if len(shorter) == len(keys) else {}


def _prefixes(
    keys: Mapping[str, str], names: Mapping[str, str], wanted: Wanted
) -> list[tuple[str, str]]:
    """Prefixes to take off and to put on, by how many keys become the model's, most first."""
    votes: Counter[tuple[str, str]] = Counter({("", ""): 0})
    for key in keys:
        votes.update((prefix, "") for prefix, rest in _cuts(key) if rest in names)
    for name in names:
        votes.update(("", prefix) for prefix, rest in _cuts(name) if prefix and rest in keys)
    ranked = votes.most_common()
    # Only one that brings as many keys as the model has can fit; the first is the closest.
    return [way for way, count in ranked[1:] if count >= len(wanted.shapes)] + [ranked[0][0]]


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """``("", "a.b.c")``, ``("a.", "b.c")``, ``("a.b.", "c")``."""
    start = 0
    while True:
        yield key[:start], key[start:]
        start = key.find(".", start) + 1
        if not start:
            return


def _candidate(
    path: tuple[str, ...],
    tensors: Tensors,
    wanted: Wanted,
    keys: Mapping[str, str],
    names: Mapping[str, str],
    way: tuple[str, str],
    *,
    is_averaged: bool,
) -> Candidate:
    taken, put = way
    inside = {put + key[len(taken) :]: keys[key] for key in keys if key.startswith(taken)}
    state = {names.get(name, name): tensors[key] for name, key in inside.items()}
    aside = [keys[key] for key in keys if not key.startswith(taken)]
    counters = [key for key in aside if key.rpartition(".")[2] == _COUNTER]
    return Candidate(
        path,
        taken,
        state,
        tuple(key for key in aside if key not in counters),
        is_averaged or bool(counters) or _says_averaged(taken),
        missing=tuple(key for key in wanted.shapes if key not in state),
        unexpected=tuple(
            key for key in state if key not in wanted.shapes and key not in wanted.optional
        ),
        differing=tuple(
            key
            for key, shape in wanted.shapes.items()
            if shape is not None and key in state and state[key].shape != shape
        ),
    )


def _says_averaged(name: str) -> bool:
    return not _AVERAGED.isdisjoint(word.lower() for word in _WORDS.findall(name))


def _without_repetitions(found: list[Candidate]) -> Iterator[Candidate]:
    kept: list[Candidate] = []
    for each in found:
        if not any(
            each.is_averaged == other.is_averaged and is_same(each, other) for other in kept
        ):
            kept.append(each)
            yield each


def is_same(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates hold the same numbers."""
    if one.state.keys() != other.state.keys():
        return False
    return all(
        tensor is other.state[key]
        or (
            tensor.dtype == other.state[key].dtype
            and tensor.layout == other.state[key].layout == torch.strided
            and not tensor.is_meta
            and torch.equal(tensor, other.state[key])
        )
        for key, tensor in one.state.items()
    )
