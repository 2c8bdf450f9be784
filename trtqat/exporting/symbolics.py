"""The FakeQuantize node for the TorchScript exporter.

A model with stand-ins has ``trtqat::fake_quantize``. A TorchScript file has what its own
quantizers were traced to: any of PyTorch's ``fake_quantize`` operators, whose scale, zero-point
and switches are parameters of the module or constants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch.onnx import utils
from torch.onnx.symbolic_helper import parse_args

from trtqat.errors import QuantizerError
from trtqat.exporting.script_outputs import own_path
from trtqat.graph.passes.expand_fake_quantize import DOMAIN, OP_TYPE
from trtqat.quant.fake_quantize import PER_TENSOR
from trtqat.quant.state import codes_without_zero_point
from trtqat.quant.toolkits.torch_ao import fused_parameters

# The exporter's graph and the values in it, which PyTorch's stubs do not know.
_Graph: TypeAlias = Any
_Value: TypeAlias = Any
# Translations are functions that PyTorch knows globally, while it exports; so is what they know
# of the model: its parameters and buffers, whose names the exporter keeps, and which quantizers
# were met so far.
_tensors: dict[str, torch.Tensor] = {}
_quantizers: dict[str, tuple[object, ...]] = {}


@contextlib.contextmanager
def registered_symbolics(opset: int, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Registers the translations of all fake quantization while the exporter runs.

    Args:
        opset: That of the export.
        tensors: The model's parameters and buffers by their dotted names.
    """
    symbolics: dict[str, Callable[..., Any]] = {
        "trtqat::fake_quantize": parse_args("v", "v", "i", "f", "f", "s")(_own),
        "aten::fake_quantize_per_tensor_affine": _per_tensor,
        "aten::fake_quantize_per_channel_affine": _per_channel,
        "aten::fused_moving_avg_obs_fake_quant": _fused,
        "aten::fake_quantize_per_tensor_affine_cachemask": _with_mask(_per_tensor),
        "aten::fake_quantize_per_channel_affine_cachemask": _with_mask(_per_channel),
        "aten::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": _with_mask(_switched),
        "aten::_fused_moving_avg_obs_fq_helper": _with_mask(_fused),
    }
    for name, symbolic in symbolics.items():
        utils.register_custom_op_symbolic(name, symbolic, opset)
    _tensors.update(tensors)
    try:
        yield
    finally:
        _tensors.clear()
        _quantizers.clear()
        for name in symbolics:
            utils.unregister_custom_op_symbolic(name, opset)


def _own(
    g: _Graph,
    x: _Value,
    scale: _Value,
    axis: int,
    low: float,
    high: float,
    quantizer: str,
) -> _Value:
    return _made(g, [x, scale], axis, low, high, quantizer)


@parse_args("v", "v", "v", "i", "i")
def _per_tensor(
    g: _Graph,
    x: _Value,
    scale: _Value,
    zero_point: _Value,
    quant_min: int,
    quant_max: int,
) -> _Value:
    return _node(g, x, scale, zero_point, PER_TENSOR, quant_min, quant_max)


@parse_args("v", "v", "v", "i", "i", "i")
def _per_channel(
    g: _Graph,
    x: _Value,
    scale: _Value,
    zero_point: _Value,
    axis: int,
    quant_min: int,
    quant_max: int,
) -> _Value:
    return _node(g, x, scale, zero_point, axis, quant_min, quant_max)


@parse_args("v", "v", "v", "v", "i", "i")
def _switched(
    g: _Graph,
    x: _Value,
    scale: _Value,
    zero_point: _Value,
    enabled: _Value,
    quant_min: int,
    quant_max: int,
) -> _Value:
    if not _switch(g, scale, enabled):
        return x
    return _node(g, x, scale, zero_point, PER_TENSOR, quant_min, quant_max)


@parse_args("v", "v", "v", "v", "v", "v", "v", "f", "i", "i", "i", "b", "b")
def _fused(
    g: _Graph,
    x: _Value,
    observing: _Value,
    enabled: _Value,
    running_min: _Value,
    running_max: _Value,
    scale: _Value,
    zero_point: _Value,
    averaging_constant: float,
    quant_min: int,
    quant_max: int,
    axis: int,
    per_channel: bool,
    symmetric: bool,
) -> _Value:
    if _switch(g, scale, observing):
        raise QuantizerError(
            f"Quantizer '{_name(g, scale)}' still observes, so its scale changes with every batch.",
            "Call model.apply(torch.ao.quantization.disable_observer) before tracing.",
        )
    if not _switch(g, scale, enabled):
        return x
    least, most = _known(running_min), _known(running_max)
    if least is None or most is None:
        raise QuantizerError(
            f"Quantizer '{_name(g, scale)}' computes its scale while the model runs.",
            "Trace a model whose quantizers are calibrated and frozen.",
        )
    step, zero = fused_parameters(
        least, most, quant_min, quant_max, axis=axis if per_channel else None, symmetric=symmetric
    )
    name = _name(g, scale)
    return _known_node(
        g, x, name, step, zero, axis if per_channel else PER_TENSOR, quant_min, quant_max
    )


def _with_mask(symbolic: Callable[..., Any]) -> Callable[..., Any]:
    """For an operator that also returns a mask, which only a gradient would read."""

    def translate(g: _Graph, *arguments: _Value) -> _Value:
        output = symbolic(g, *arguments)
        return output, output

    return translate


def _node(
    g: _Graph,
    x: _Value,
    scale: _Value,
    zero_point: _Value,
    axis: int,
    quant_min: int,
    quant_max: int,
) -> _Value:
    name = _name(g, scale)
    step, zero = _known(scale), _known(zero_point)
    if step is not None and zero is not None:
        return _known_node(g, x, name, step, zero, axis, quant_min, quant_max)
    # The pass that expands the node refuses what is no constant there.
    return _made(g, [x, scale, zero_point], axis, float(quant_min), float(quant_max), name)


def _made(
    g: _Graph,
    inputs: list[_Value],
    axis: int,
    low: float,
    high: float,
    quantizer: str,
) -> _Value:
    attributes = {"axis_i": axis, "low_f": low, "high_f": high, "quantizer_s": quantizer}
    return g.op(f"{DOMAIN}::{OP_TYPE}", *inputs, **attributes).setType(inputs[0].type())


def _known_node(
    g: _Graph,
    x: _Value,
    name: str,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    axis: int,
    quant_min: int,
    quant_max: int,
) -> _Value:
    low, high = codes_without_zero_point(name, quant_min, quant_max, zero_point)
    unique = _unique(name, (scale.flatten().tolist(), axis, low, high))
    # A constant, not the parameter: that has the name that the Q/DQ pair will need for its own.
    constant = g.op("Constant", value_t=scale.float())
    return _own(g, x, constant, axis, low, high, unique)


def _known(value: _Value) -> torch.Tensor | None:
    """A parameter of the module or a constant as a tensor; None if it is computed."""
    if value.debugName() in _tensors:
        return _tensors[value.debugName()].detach()
    node = value.node()
    if not node.kind().endswith("::Constant") or "value" not in node.attributeNames():
        return None
    return torch.as_tensor(getattr(node, node.kindOf("value"))("value"))


def _switch(g: _Graph, scale: _Value, value: _Value) -> bool:
    known = _known(value)
    if known is None:
        raise QuantizerError(
            f"Quantizer '{_name(g, scale)}' is switched on or off while the model runs.",
            "Trace the model in eval mode, its observers off and its quantizers on.",
        )
    return bool(known.any())


def _name(g: _Graph, scale: _Value) -> str:
    """The path of the module that has the scale, or else of the one that ran the operator.

    ``"net.Net::/nn.Conv2d::conv/q.Quantizer::_input"`` is ``"conv._input"``. A quantizer that runs
    in a forward hook, as those of prepare_qat, has only the last part of its path there.
    """
    path = scale.debugName().rpartition(".")[0] if scale.debugName() in _tensors else ""
    names = [part.rpartition("::")[2] for part in g.original_node.scopeName().split("/")]
    return own_path(path or ".".join(name for name in names if name)) or "fake_quantize"


def _unique(name: str, parameters: tuple[object, ...]) -> str:
    """The name, with a number where another quantizer has it: what is named alike is shared."""
    number, unique = 0, name
    while _quantizers.setdefault(unique, parameters) != parameters:
        number += 1
        unique = f"{name}_{number}"
    return unique
