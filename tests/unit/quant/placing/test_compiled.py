"""A quantized model in ``torch.compile``: one graph, the same numbers, the same gradients."""

from __future__ import annotations

import copy

import pytest
import torch

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, trained_like

pytestmark = pytest.mark.usefixtures("one_thread")


# PyTorch's compiler looks at .grad and makes an object of a Function, of which PyTorch warns.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:[\\s]*Dynamo:UserWarning")
# nn.MultiheadAttention runs between two graphs: what it becomes has globals of its own.
@pytest.mark.parametrize(
    ("name", "whole"), [("resnet_basic", True), ("vit_sdpa", True), ("vit_multihead", False)]
)
def test_it_is_compiled_and_trains_alike(name: str, whole: bool) -> None:
    (batch,) = batches(ARCHITECTURES[name], 1, 4)
    model = trtqat.quantize(trained_like(name), [batch]).model
    other = copy.deepcopy(model)
    compiled = torch.compile(model, backend="eager", fullgraph=whole)
    for run in (compiled, other):
        run(*batch).square().mean().backward()
    torch.compiler.reset()
    gradients = {key: each.grad for key, each in other.named_parameters()}
    for key, parameter in model.named_parameters():
        expected = gradients[key]
        assert (parameter.grad is None) == (expected is None), key
        if parameter.grad is not None and expected is not None:
            # A sum in another order moves a value across the border of a code here and there.
            assert (parameter.grad - expected).norm() <= 0.02 * expected.norm(), key
