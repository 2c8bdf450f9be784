"""Says why a model has no quantizer that runs, before a tracer fails on what it has instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx

from trtqat.errors import SourceError
from trtqat.quant.toolkits.quantizers import Quantizer, quantizers_of

# Packages of modules that compute with integer kernels, after PyTorch's convert steps.
_CONVERTED_PACKAGES = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.sparse.quantized",
    "torch.nn.quantized",
    "torch.nn.intrinsic.quantized",
)
# Those of such a package that compute in floats: they stand for an addition before the convert.
_FLOAT = ("FloatFunctional", "FXFloatFunctional")
# PyTorch's fused attention, in a file that was traced through it.
_FUSED = ("_transformer_encoder_layer_fwd", "_native_multi_head_attention")

NO_QUANTIZER = "The model has no active quantizer that is known, so its engine would not be INT8."
OWN_QUANTIZERS = (
    "Quantize it first, with trtqat quantize or trtqat.quantize; your own quantizers are seen "
    "where they call torch.fake_quantize_per_tensor_affine or …_per_channel_affine."
)


def check_not_converted(model: torch.nn.Module) -> None:
    """Refuses a model whose fake quantization has become something else.

    Args:
        model: Module, ScriptModule or the module of a program.

    Raises:
        SourceError: It has been converted to integer kernels, or it is a trace of PyTorch's
            fused attention, which left out the quantizers of its layers.
    """
    for name, module in model.named_modules():
        kind = type(module)
        is_quantized = any(f"{kind.__module__}.".startswith(f"{p}.") for p in _CONVERTED_PACKAGES)
        if is_quantized and kind.__name__ not in _FLOAT:
            converted = f"'{name}' is {kind.__module__}.{kind.__name__}, an integer layer"
            raise _converted(converted)
    for operator in _operators(model):
        namespace, _, name = operator.partition("::")
        if namespace == "quantized" or (namespace == "aten" and name.startswith("quantize_per_")):
            raise _converted(f"it computes '{operator}'")
        if namespace == "aten" and name in _FUSED:
            raise SourceError(
                f"The model was traced through PyTorch's fused '{operator}', which skips the "
                "quantizers of the layers inside.",
                "Trace or export it again behind torch.backends.mha.set_fastpath_enabled(False).",
            )


def check_has_active(model: torch.nn.Module, quantizers: Mapping[str, Quantizer | None]) -> None:
    """Refuses a model without a quantizer that is on.

    Args:
        model: Module. The quantizers of a ScriptModule are operators, which may all be off.
        quantizers: As ``read_quantizers`` returns them.

    Raises:
        SourceError: There is none, or all are disabled.
    """
    if any(each is not None for each in quantizers.values()):
        return
    if isinstance(model, torch.jit.ScriptModule):
        if any("fake_quant" in each for each in _operators(model)):
            return
        raise SourceError(NO_QUANTIZER, OWN_QUANTIZERS)
    if quantizers:
        raise SourceError(
            f"All {len(quantizers)} quantizers of the model are disabled, as "
            f"'{next(iter(quantizers))}', so its engine would not be INT8.",
            f"Enable them after the calibration: {_enabling(model)}.",
        )
    raise SourceError(
        NO_QUANTIZER,
        "Quantize it first, with trtqat quantize or trtqat.quantize; what calls "
        "torch.fake_quantize_per_tensor_affine or …_per_channel_affine itself is seen in "
        "TorchScript: torch.jit.trace(model.eval(), x).save('model.ts').",
    )


def _enabling(model: torch.nn.Module) -> str:
    toolkits = {
        "pytorch_quantization": "quantizer.enable() and quantizer.enable_quant()",
        "modelopt": "mtq.enable_quantizer(model, '*')",
        "torch_ao": "model.apply(torch.ao.quantization.enable_fake_quant)",
    }
    _, _, reader = next(quantizers_of(model))
    name = getattr(reader, "__name__", "").rpartition(".")[2]
    return toolkits.get(name, "see the toolkit's manual")


def _converted(what: str) -> SourceError:
    return SourceError(
        f"The model is already converted to PyTorch's integer kernels: {what}.",
        "Give the model before convert, with its fake quantizers: what prepare_qat, "
        "prepare_qat_fx or prepare_qat_pt2e returned, trained and with its observers off.",
    )


def _operators(model: torch.nn.Module) -> Iterator[str]:
    """Names of the operators of a model that is a graph, ``namespace::name``."""
    if isinstance(model, torch.jit.ScriptModule):
        blocks: list[Any] = [model.inlined_graph]
        while blocks:
            for node in blocks.pop().nodes():
                yield node.kind()
                blocks.extend(node.blocks())
        return
    for module in model.modules():
        if not isinstance(module, fx.GraphModule):
            continue
        for node in module.graph.nodes:
            if node.op != "call_function":
                continue
            if isinstance(node.target, torch._ops.OpOverload):
                yield node.target._schema.name
            elif isinstance(node.target, torch._ops.OpOverloadPacket):
                yield node.target._qualified_op_name
            elif node.target is torch.quantize_per_tensor:
                yield "aten::quantize_per_tensor"
            elif node.target is torch.quantize_per_channel:
                yield "aten::quantize_per_channel"
