"""Finds out, by running it, whether a model's batch is the first dimension of its inputs.

An engine's open batch is the first dimension of every input and output. PyTorch's recurrent and
attention layers put the sequence there by default, and a hidden state has its layers there; a
graph of such a model would be traced, and wrong for another batch size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from trtqat.errors import ForwardError, SourceError
from trtqat.exporting.samples import Samples, random_samples, run_model
from trtqat.tensors import Array, TensorSpec

# Samples in each run.
BATCH = 2
# Of the ways to put the batch of several inputs, so many are tried.
_MOST_WAYS = 64
# A value that moves by less has not moved: sums in another order.
_RELATIVE = 1e-4
_REMEDY = (
    "An engine's open batch is the first dimension of every input: transpose in forward, or keep "
    "the shapes as they are given with --static-batch."
)


def check_batch_first(
    model: torch.nn.Module,
    inputs: Sequence[TensorSpec],
    seed: int,
    *,
    expected: Mapping[str, Array] | None = None,
) -> list[str]:
    """Refuses a model whose batch is another dimension than the first.

    Args:
        model: In eval mode.
        inputs: In the order of forward; the first dimension of each is to be the batch.
        seed: For the samples.
        expected: What the model returned for ``BATCH`` samples of that seed, if it ran already.

    Returns:
        A sentence for each output that mixes the samples of a batch, where no dimension explains
        it.

    Raises:
        SourceError: The batch of an input is another dimension.
        ForwardError: The model raises on the samples, wherever the batch is.
    """
    batch = random_samples(inputs, BATCH, seed)
    try:
        expected = run_model(model, batch) if expected is None else expected
    except ForwardError:
        _refuse_where_it_runs(model, inputs, seed)
        raise
    other = random_samples(inputs, BATCH, seed + 1)
    mixed: dict[str, None] = {}
    elsewhere: dict[str, set[int]] = {}
    for position in range(BATCH):
        changed = {
            name: _with_slice(x, other[name], 0, position) if x.dim() else x
            for name, x in batch.items()
        }
        found = run_model(model, changed)
        for name, before in expected.items():
            moved = _moved(before, found[name])
            if moved is None or before.shape[:1] != (BATCH,):
                continue
            if moved[1 - position].any():
                mixed[name] = None
            # As of what all layers of a decoder return, stacked: its batch is another dimension.
            dimensions = {d for d in _later(moved, BATCH) if _is_alone(moved, d, position)}
            elsewhere[name] = elsewhere.get(name, dimensions) & dimensions
    mixed = {name: None for name in mixed if not elsewhere[name]}
    if mixed:
        _refuse_independent_dimension(model, inputs, batch, other, expected)
    return [
        f"Output '{name}' of a sample depends on the other samples of its batch: an engine must be "
        "given them together, as the model was."
        for name in mixed
    ]


def _refuse_where_it_runs(model: torch.nn.Module, inputs: Sequence[TensorSpec], seed: int) -> None:
    """Raises if the model runs with the batch of some inputs in a later dimension."""
    for dimensions in _ways(inputs):
        if not any(dimensions):
            continue
        try:
            for size in (BATCH, BATCH + 1):
                specs = [
                    _with_size(spec, dimension, size)
                    for spec, dimension in zip(inputs, dimensions, strict=True)
                ]
                run_model(model, random_samples(specs, None, seed))
        except ForwardError:
            continue
        at = {spec.name: each for spec, each in zip(inputs, dimensions, strict=True)}
        name = next(each for each, dimension in at.items() if dimension)
        shapes = ", ".join(f"{spec.name} {_as_text(spec, at[spec.name])}" for spec in inputs)
        raise SourceError(
            f"Input '{name}' has its batch in dimension {at[name]}: the model runs on {shapes}.",
            _REMEDY,
        )


def _ways(inputs: Sequence[TensorSpec]) -> Iterator[tuple[int, ...]]:
    """A dimension for each input, among those of the size that the batch is given with."""
    sizes = {spec.shape[0] for spec in inputs if spec.shape}
    each = [
        [0, *(d for d, size in enumerate(spec.shape) if d and size in sizes)] for spec in inputs
    ]
    return itertools.islice(itertools.product(*each), _MOST_WAYS)


def _with_size(spec: TensorSpec, dimension: int, size: int) -> TensorSpec:
    shape = list(spec.shape)
    if shape:
        shape[dimension] = size
    return replace(spec, shape=tuple(shape))


def _as_text(spec: TensorSpec, dimension: int) -> str:
    sizes = ["N" if d == dimension else str(size) for d, size in enumerate(spec.shape)]
    return f"({', '.join(sizes)})"


def _refuse_independent_dimension(
    model: torch.nn.Module,
    inputs: Sequence[TensorSpec],
    batch: Samples,
    other: Samples,
    expected: Mapping[str, Array],
) -> None:
    """Raises if the samples of an input stand in another dimension, each for itself."""
    for spec in inputs:
        name, x = spec.name, batch[spec.name]
        for dimension in range(1, x.dim()):
            if x.shape[dimension] < 2:
                continue
            changed = {**batch, name: _with_slice(x, other[name], dimension, 0)}
            found = run_model(model, changed)
            if _stays_in_place(expected, found, x.shape[dimension]):
                raise SourceError(
                    f"Input '{name}' has its batch in dimension {dimension}, as "
                    f"{_as_text(spec, dimension)}: along dimension 0 the model mixes what it is "
                    "given, and along that one it does not.",
                    _REMEDY,
                )


def _stays_in_place(expected: Mapping[str, Array], found: Mapping[str, Array], size: int) -> bool:
    """Whether, of every output that moved, the first slice of a dimension moved and no other."""
    any_moved = False
    for name, before in expected.items():
        moved = _moved(before, found[name])
        if moved is None:
            return False
        if not moved.any():
            continue
        any_moved = True
        if not any(_is_alone(moved, d, 0) for d in _later(moved, size)):
            return False
    return any_moved


def _later(moved: Array, size: int) -> list[int]:
    """The dimensions of a size behind the first."""
    return [d for d, length in enumerate(moved.shape) if d and length == size]


def _is_alone(moved: Array, dimension: int, position: int) -> bool:
    """Whether nothing moved at another position of a dimension."""
    return not np.delete(moved, position, axis=dimension).any()


def _with_slice(
    x: torch.Tensor, other: torch.Tensor, dimension: int, position: int
) -> torch.Tensor:
    changed = x.clone()
    changed.select(dimension, position).copy_(other.select(dimension, position))
    return changed


def _moved(before: Array, after: Array) -> Array | None:
    """Where an output is another; None if it has another shape."""
    if before.shape != after.shape:
        return None
    if not np.issubdtype(before.dtype, np.floating):
        return np.asarray(before != after)
    scale = float(np.max(np.abs(before), initial=0.0, where=np.isfinite(before)))
    return np.asarray(~np.isclose(before, after, rtol=0, atol=_RELATIVE * scale, equal_nan=True))
