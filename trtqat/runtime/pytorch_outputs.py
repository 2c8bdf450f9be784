"""What a PyTorch model returns, under the names that the exported graph has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from trtqat.errors import SourceError
from trtqat.io_names import ByPosition
from trtqat.tensors import Array


def name_outputs(result: Any, inputs: Collection[str] = ()) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Names what a model returns, as the exported graph does.

    1. A single tensor is ``output``, members of a sequence are ``output_0``…, those of a mapping
       have its keys.
    2. What lies deeper is named after the way there: ``boxes_0`` for the first member of the
       sequence ``boxes``, ``head.y`` for the key ``y`` of the mapping ``head``.
    3. None is left out, and keeps its number.
    4. Where a graph has no place for a name (an input has it, or an earlier output, or it is
       empty), the output is called after it: ``x_output`` for ``x``, ``y_1`` for a second ``y``.

    Args:
        result: What forward returned.
        inputs: Names of the model's inputs.

    Returns:
        Tensors by name, in the order in which PyTorch's exporters write them; ``ByPosition`` where
        the model names none.

    Raises:
        SourceError: A part of it is something else than a tensor, or there is no tensor.
    """
    found = _found(result)
    wanted = [name for name, _ in found]
    names = _unique_names(wanted, inputs)
    # Detached, as a parameter may be returned.
    named = {name: tensor.detach() for name, (_, tensor) in zip(names, found, strict=True)}
    return named if isinstance(result, Mapping) else ByPosition(named)


def to_arrays(outputs: dict[str, torch.Tensor]) -> dict[str, Array]:
    """Outputs of ``name_outputs`` in host memory, floats as float32; ``ByPosition`` stays so."""
    arrays = {name: each.cpu().numpy() for name, each in as_plain_floats(outputs).items()}
    return ByPosition(arrays) if isinstance(outputs, ByPosition) else arrays


def as_plain_floats(outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs of ``name_outputs`` contiguous, floats as float32; ``ByPosition`` stays so.

    Copying such a tensor to the host is nothing else than copying.
    """
    plain = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in outputs.items()
    }
    return ByPosition(plain) if isinstance(outputs, ByPosition) else plain


def notes_on_names(result: Any, inputs: Collection[str]) -> list[str]:  # noqa: ANN401
    """A sentence for each output whose name in the graph is another than in the model.

    Args:
        result: What forward returned.
        inputs: Names of the model's inputs.
    """
    wanted = [name for name, _ in _found(result)]
    names = _unique_names(wanted, inputs)
    return [
        f"The model's output '{old}' is called '{new}' in the graph, where "
        f"{'an input has that name' if old in inputs else 'that name is empty or taken'}."
        for old, new in zip(wanted, names, strict=True)
        if old != new
    ]


def _found(result: Any) -> list[tuple[str, torch.Tensor]]:  # noqa: ANN401
    found = list(_flattened(result, ""))
    if not found:
        raise SourceError(
            f"The model returns a {type(result).__name__} without a tensor; an engine has tensors "
            "as outputs.",
            _REMEDY,
        )
    return found


def _unique_names(wanted: Sequence[str], inputs: Collection[str]) -> list[str]:
    """The names wanted, and others for those that come twice, are an input's or are empty."""
    kept = {name for name in wanted if name and name not in inputs}
    names: list[str] = []
    for name in wanted:
        if name in kept and name not in names:
            names.append(name)
            continue
        stem = f"{name}_output" if name in inputs else name or "output"
        unique, number = stem, 0
        while unique in kept or unique in names or unique in inputs:
            number += 1
            unique = f"{stem}_{number}"
        names.append(unique)
    return names


_REMEDY = "Wrap the model so that forward returns tensors, alone or in tuples, lists or dicts."


def _flattened(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:  # noqa: ANN401
    """The tensors in nested containers, with the ways to them."""
    if isinstance(value, torch.Tensor):
        path = path or "output"
        if value.layout != torch.strided or value.is_nested or value.is_quantized:
            raise SourceError(
                f"The model's output '{path}' is a sparse, nested or quantized tensor; an engine "
                "returns plain ones.",
                "Convert it in forward: .to_dense(), .to_padded_tensor(0.0) or .dequantize().",
            )
        yield path, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _flattened(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (tuple, list)):
        for index, member in enumerate(value):
            yield from _flattened(member, f"{path or 'output'}_{index}")
    elif value is not None:
        which = f" '{path}'" if path else ""
        raise SourceError(
            f"The model's output{which} is of type {type(value).__name__}; an engine has tensors "
            "as outputs.",
            _REMEDY,
        )
