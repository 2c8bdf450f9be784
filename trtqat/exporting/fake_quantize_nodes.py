"""Finds the fake quantization in the graph of a ``torch.export`` program.

A program holds operators, no modules: a quantizer is one of PyTorch's ``fake_quantize_*``
operators, a pair of quantize and dequantize (what ``convert_pt2e`` leaves), or trtqat's own.
Each becomes a ``FakeQuantize`` module of the same scale and codes, called in its place, so that
from there on a program is a model with quantizers like any other.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from trtqat.errors import QuantizerError
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.state import codes_without_zero_point
from trtqat.quant.toolkits.torch_ao import fused_parameters

_ATEN = torch.ops.aten

# Operators whose result is the fake-quantized tensor.
_FAKE_QUANTIZE = {
    _ATEN.fake_quantize_per_tensor_affine.default,
    _ATEN.fake_quantize_per_tensor_affine.tensor_qparams,
    _ATEN.fake_quantize_per_channel_affine.default,
    _ATEN.fused_moving_avg_obs_fake_quant.default,
    torch.ops.trtqat.fake_quantize.default,
}
# Operators that return it with a mask for the gradient.
_WITH_MASK = {
    _ATEN.fake_quantize_per_tensor_affine_cachemask.default,
    _ATEN.fake_quantize_per_channel_affine_cachemask.default,
    _ATEN._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default,
    _ATEN._fused_moving_avg_obs_fq_helper.default,
    _ATEN._fused_moving_avg_obs_fq_helper_functional.default,
}
# The last of them returns its observer's state too: the positions of what it returns unchanged
# while it does not observe.
_STATE_OF_HELPER = {2: "running_min", 3: "running_max", 4: "scale", 5: "zero_point"}


def replace_fake_quantization(module: fx.GraphModule) -> None:
    """Puts a call of a ``FakeQuantize`` in the place of all that quantizes and dequantizes.

    Args:
        module: Changed in place. Its parameters and buffers are attributes, as
            ``ExportedProgram.module()`` makes them.

    Raises:
        QuantizerError: A quantizer is no signed symmetric INT8 of constant scale.
    """
    graph = module.graph
    calls: list[tuple[fx.Node, FakeQuantize, str]] = []
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _FAKE_QUANTIZE or node.target in _WITH_MASK:
            quantizer = _read_fake_quantize(module, node)
            source = _source(node)
        elif _is_decomposed(node, "dequantize_per_"):
            quantizer, source = _read_dequantize(module, node)
        else:
            continue
        result = source
        if quantizer is not None:
            with graph.inserting_before(node):
                # Where it is registered is decided when all are found.
                result = graph.create_node("call_module", node.name, (source,), name=node.name)
            result.meta.update(node.meta)
            calls.append((result, quantizer, node.name))
        _use_instead(node, result)
    for node in reversed(graph.nodes):
        if not node.users and not _has_effect(node):
            graph.erase_node(node)
    _name_quantizers(module, [call for call in calls if call[0] in graph.nodes])
    graph.lint()
    module.recompile()


def _read_fake_quantize(module: fx.GraphModule, node: fx.Node) -> FakeQuantize | None:
    """The quantizer of one operator; None if it is switched off."""
    name, given = _label(node), arguments(node)
    if node.target is torch.ops.trtqat.fake_quantize.default:
        scale = _tensor(module, name, given["scale"])
        return FakeQuantize(given["quantizer"], scale, given["axis"], given["low"], given["high"])
    enabled = given.get("fake_quant_enabled", given.get("fake_quant_on"))
    if enabled is not None and not _tensor(module, name, enabled).any():
        return None
    observing = given.get("observer_on")
    if observing is not None and _tensor(module, name, observing).any():
        raise QuantizerError(
            f"Quantizer '{name}' still observes, so its scale changes with every batch.",
            "Call model.apply(torch.ao.quantization.disable_observer) before torch.export.export.",
        )
    return _quantizer(module, node)


def _read_dequantize(module: fx.GraphModule, node: fx.Node) -> tuple[FakeQuantize, fx.Node]:
    """The quantizer of a pair, and what the pair quantizes.

    A weight may be stored as its codes, without the first half. Then it is dequantized here: to
    quantize it again changes nothing.
    """
    codes = _source(node)
    quantizer = _quantizer(module, node)
    if _is_decomposed(codes, "quantize_per_"):
        if _parameters(_quantizer(module, codes)) != _parameters(quantizer):
            raise QuantizerError(
                f"Quantizer '{_label(codes)}' quantizes by other parameters than "
                f"'{_label(node)}' dequantizes by.",
                "Export the program before its integer operators are fused or moved.",
            )
        return quantizer, _source(codes)
    try:
        weight = _evaluate(module, node)
    except _NotConstantError as error:
        raise QuantizerError(
            f"'{_label(node)}' dequantizes the codes that '{codes.name}' computes; a Q/DQ pair "
            "has nothing between its halves.",
            "Export the program with fake quantization, or right after convert_pt2e.",
        ) from error
    attribute = f"{codes.name}_dequantized"
    module.register_buffer(attribute, weight)
    with module.graph.inserting_before(node):
        source = module.graph.get_attr(attribute)
    return quantizer, source


def _quantizer(module: fx.GraphModule, node: fx.Node) -> FakeQuantize:
    """What an operator's scale, zero-point, axis and codes say."""
    name, given = _label(node), arguments(node)
    axis = given["ch_axis"] if given.get("per_row_fake_quant") else given.get("axis")
    least, most = (int(_tensor(module, name, given[each])) for each in ("quant_min", "quant_max"))
    if "running_min" in given:
        scale, zero = fused_parameters(
            _tensor(module, name, given["running_min"]),
            _tensor(module, name, given["running_max"]),
            least,
            most,
            axis=axis,
            symmetric=given["symmetric_quant"],
        )
    else:
        scale = _tensor(module, name, given.get("scale", given.get("scales"))).float()
        zero_point = given.get("zero_point", given.get("zero_points"))
        zero = torch.zeros(()) if zero_point is None else _tensor(module, name, zero_point)
    low, high = codes_without_zero_point(name, least, most, zero)
    if axis is not None and axis < 0:
        axis += node.meta["val"].dim()
    return FakeQuantize(name, scale if axis is not None else scale.reshape(()), axis, low, high)


def _parameters(quantizer: FakeQuantize) -> tuple[object, ...]:
    return (quantizer.scale.tolist(), quantizer.axis, quantizer.low, quantizer.high)


def _use_instead(node: fx.Node, result: fx.Node) -> None:
    """Lets the users of an operator use ``result``; what returns a tuple is used by its items."""
    if node.target not in _WITH_MASK:
        node.replace_all_uses_with(result)
        return
    given = arguments(node)
    for item in list(node.users):
        position = item.args[1]
        if position == 0:
            item.replace_all_uses_with(result)
        elif isinstance(position, int) and position in _STATE_OF_HELPER:
            item.replace_all_uses_with(given[_STATE_OF_HELPER[position]])


def _has_effect(node: fx.Node) -> bool:
    """Whether a node that nothing uses must stay: it changes a buffer, and not into itself."""
    if node.op == "call_module":
        return False
    if node.target is _ATEN.copy_.default:
        return node.args[0] is not node.args[1]
    return node.is_impure() and node.target not in _FAKE_QUANTIZE | _WITH_MASK


def _name_quantizers(
    module: fx.GraphModule, calls: list[tuple[fx.Node, FakeQuantize, str]]
) -> None:
    """Registers each quantizer under the path of the module that it came from.

    One module that ran several times is one quantizer again. Where a module has several, or
    weights beside it, the name of the operator is added to its path.
    """
    occupied = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    by_path: dict[str, list[FakeQuantize]] = {}
    for _, quantizer, _ in calls:
        by_path.setdefault(quantizer.name, []).append(quantizer)
    for node, quantizer, operator_name in calls:
        path, first = quantizer.name, by_path[quantizer.name][0]
        several = any(_parameters(each) != _parameters(first) for each in by_path[path])
        if several or any(f"{name}.".startswith(f"{path}.") for name in occupied):
            target, first = f"{path}.{operator_name}", quantizer
        else:
            target = path
        node.target = first.name = target
        module.add_submodule(target, first)


def _label(node: fx.Node) -> str:
    """The dotted path of the module that an operator came from, or the operator's own name."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return paths[-1] if paths and paths[-1] else node.name


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operator by name, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    given = {argument.name: argument.default_value for argument in schema}
    given.update(zip((argument.name for argument in schema), node.args, strict=False))
    given.update(node.kwargs)
    return given


def _source(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _is_decomposed(node: fx.Node, start: str) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    namespace, _, name = node.target._schema.name.partition("::")
    return namespace == "quantized_decomposed" and name.startswith(start)


class _NotConstantError(Exception):
    """A value depends on an input of the program."""


def _tensor(module: fx.GraphModule, name: str, value: object) -> torch.Tensor:
    """A constant argument as a tensor."""
    try:
        return torch.as_tensor(_evaluate(module, value)).detach()
    except _NotConstantError as error:
        raise QuantizerError(
            f"Quantizer '{name}' computes its scale while the program runs.",
            "Export a model whose quantizers are calibrated and frozen.",
        ) from error


def _evaluate(module: fx.GraphModule, value: object) -> Any:  # noqa: ANN401
    """The value of a node that depends on parameters, buffers and constants only."""
    if not isinstance(value, fx.Node):
        return value
    if value.op == "get_attr":
        return operator.attrgetter(str(value.target))(module)
    if value.op != "call_function" or value.is_impure():
        raise _NotConstantError
    args, kwargs = fx.node.map_arg((value.args, value.kwargs), lambda node: _evaluate(module, node))
    assert callable(value.target)
    with torch.no_grad():
        return value.target(*args, **kwargs)
