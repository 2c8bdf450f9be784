"""What ``run_decompositions`` does to single operators: the tables of ``decomposing.py``.

Each of them is compared with what PyTorch itself writes, by ``test_kept_operators.py``. What is not
here is left to PyTorch.
"""

from __future__ import annotations

import operator
from typing import Any

import torch

# Importing it registers the operator.
from trtqat.quant import fake_quantize as _fake_quantize

_ATEN = torch.ops.aten

# They return memory of what they are given.
VIEWS: frozenset[Any] = frozenset(
    {
        operator.getitem,
        _ATEN.expand.default,
        _ATEN.permute.default,
        _ATEN.select.int,
        _ATEN.slice.Tensor,
        _ATEN.squeeze.dim,
        _ATEN.transpose.int,
        _ATEN.unbind.int,
        _ATEN.unsqueeze.default,
        _ATEN.view.default,
    }
)

# They stay as they are, as long as the exporter can translate them.
BY_ITSELF: frozenset[Any] = VIEWS | {
    _fake_quantize.fake_quantize._opoverload,
    _ATEN.abs.default,
    _ATEN.add.Tensor,
    _ATEN.amax.default,
    _ATEN.avg_pool2d.default,
    _ATEN.cat.default,
    _ATEN.conv1d.default,
    _ATEN.conv2d.default,
    _ATEN.conv3d.default,
    _ATEN.div.Tensor,
    _ATEN.embedding.default,
    _ATEN.exp.default,
    _ATEN.gelu.default,
    _ATEN.group_norm.default,
    _ATEN.hardsigmoid.default,
    _ATEN.hardswish.default,
    _ATEN.hardtanh.default,
    _ATEN.layer_norm.default,
    _ATEN.leaky_relu.default,
    _ATEN.linear.default,
    _ATEN.matmul.default,
    _ATEN.max_pool2d.default,
    _ATEN.mean.dim,
    _ATEN.mul.Tensor,
    _ATEN.neg.default,
    _ATEN.pow.Tensor_Scalar,
    _ATEN.prelu.default,
    _ATEN.relu.default,
    _ATEN.rsqrt.default,
    _ATEN.sigmoid.default,
    _ATEN.silu.default,
    _ATEN.softmax.int,
    _ATEN.sqrt.default,
    _ATEN.sub.Tensor,
    _ATEN.tanh.default,
    _ATEN.upsample_bilinear2d.vec,
    _ATEN.upsample_nearest2d.vec,
}

# The operator that returns what the other one writes in place.
IN_PLACE: dict[Any, Any] = {
    _ATEN.add_.Tensor: _ATEN.add.Tensor,
    # As a residual sum that a model writes in place is quantized.
    _ATEN.copy_.default: _ATEN.copy.default,
    _ATEN.hardsigmoid_.default: _ATEN.hardsigmoid.default,
    _ATEN.hardswish_.default: _ATEN.hardswish.default,
    _ATEN.hardtanh_.default: _ATEN.hardtanh.default,
    _ATEN.leaky_relu_.default: _ATEN.leaky_relu.default,
    _ATEN.mul_.Tensor: _ATEN.mul.Tensor,
    _ATEN.relu_.default: _ATEN.relu.default,
    _ATEN.sigmoid_.default: _ATEN.sigmoid.default,
    _ATEN.silu_.default: _ATEN.silu.default,
    _ATEN.sub_.Tensor: _ATEN.sub.Tensor,
    _ATEN.tanh_.default: _ATEN.tanh.default,
}
