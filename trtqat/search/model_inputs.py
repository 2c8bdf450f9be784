"""The model's inputs, from what the user says or from the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trtqat.data.shapes import specs_from_data
from trtqat.exporting.given_inputs import take_given
from trtqat.exporting.samples import forward_parameters, order_inputs
from trtqat.tensors import DYNAMIC, TensorSpec


def find_inputs(
    model: torch.nn.Module, data: str, given: Sequence[TensorSpec] = ()
) -> tuple[TensorSpec, ...]:
    """The inputs of a model in the order of its forward, their first dimension open.

    Args:
        model: In eval mode. It takes them by position afterwards.
        data: What it is calibrated on, as ``open_dataset`` reads it.
        given: What the user says of them; empty to see what the data holds.

    Raises:
        SourceError: Neither tells the shape of an input, or forward has no such parameter.
        DataError: The data is missing or damaged, or has nothing for an input.
    """
    specs = list(given) or specs_from_data(data, forward_parameters(model))
    ordered = order_inputs(model, specs)
    take_given(model, [spec.name for spec in ordered])
    return tuple(spec.with_batch(DYNAMIC) for spec in ordered)
