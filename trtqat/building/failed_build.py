"""What TensorRT's log says of a failed build, and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from trtqat.building.options import BuildOptions
from trtqat.building.source_graph import SourceGraph
from trtqat.files import is_file
from trtqat.host.plugins import PluginFile
from trtqat.host.tensorrt_log import Messages
from trtqat.plan.header import Library


def is_refused_cache(messages: Messages, cache: Path | None) -> bool:
    """Whether a build may have failed because of what another one left in the timing cache.

    Seen with 8.6.0: a cache with entries of convolutional networks fails the build of a vision
    transformer ("myelinCache.h::deserializeFromBuffer: Myelin error from unknown graph"). It says
    so in builds that succeed, too, so the reason may be another one: only a build without the cache
    tells.
    """
    return cache is not None and is_file(cache) and "myelinCache" in " ".join(messages.errors)


def advice_on_reading(
    reasons: Sequence[str],
    foreign_operators: Sequence[str] = (),
    plugins: Sequence[PluginFile] = (),
) -> str:
    """The way out of a graph that the parser refuses, as a sentence.

    Args:
        reasons: What the parser says, for each error.
        foreign_operators: Of the graph, those that are none of ONNX's.
        plugins: The libraries of plugins that were loaded.
    """
    said = " ".join(reasons)
    if on_codes := _ON_CODES.search(said):
        return (
            f"{on_codes[1]} computes on codes, where TensorRT takes Q/DQ pairs: use ONNX Runtime's "
            "quantize_static with quant_format=QuantFormat.QDQ, or trtqat quantize on the float "
            "file."
        )
    if _NO_PLUGIN in said:
        return _advice_on_plugins(foreign_operators, plugins, said)
    for words, advice in _READING.items():
        if words in said:
            return advice
    return "Change that operation in the model, or use a newer TensorRT."


_BYTES = (
    "TensorRT takes bytes as an input alone, for a Cast to read: trtqat export model.onnx -o "
    "mended.onnx casts them before they are moved."
)
_UINT8_CODES = (
    "Codes are UINT8 there, and TensorRT's are INT8: quantize to signed 8 bits with symmetric "
    "ranges. Where that is the same, it is written by: trtqat export model.onnx -o mended.onnx"
)
# What the parser of TensorRT for RTX 1.7.1.116 said of graphs that break a rule of lint, and what
# 8.6.0's says of a kernel whose shape is not written.
_READING = {
    "misaligns with the input kernel shape": (
        "A convolution does not write its kernel_shape: trtqat export model.onnx -o mended.onnx "
        "does."
    ),
    "does not support UINT8 types for intermediate": _BYTES,
    # Before that of bytes, which the same operator says of another input.
    "(DequantizeLinear): Assertion failed: status.is_success(): Found unsupported input type of "
    "UINT8": _UINT8_CODES,
    "unsupported input type of UINT8": _BYTES,
    "has type UInt8 but must": _BYTES,
    "Scale coefficients must all be positive": (
        "A quantizer's scale is zero, negative or NaN: calibrate the model again."
    ),
    "Non-zero zero point": (
        "Quantize with symmetric ranges: the zero-point must be 0. Where that is the same, as with "
        "UINT8 and a zero-point of 128, it is written by: trtqat export model.onnx -o mended.onnx"
    ),
    "has type Int32 but must": (
        "A bias is quantized: trtqat export model.onnx -o mended.onnx makes it float."
    ),
    "number of scales": "Quantize the weight along its output channels, with an explicit axis.",
    "must be of same type": (
        "Let both operands of the layer have scales of one type: export the model again."
    ),
    "Failed to import initializer": (
        "TensorRT does not read numbers of that type: codes are INT8, and trtqat lint model.onnx "
        "names those that are not."
    ),
    "Failed attempt to rename a layer": (
        "Layers of one name stand in it, as a function does that is called twice: trtqat export "
        "model.onnx -o mended.onnx inlines functions."
    ),
    "Could not create the plugin": (
        "The plugin is there, and refuses what the node gives it, or this host: -v shows its log."
    ),
}
_NO_PLUGIN = "Plugin not found"
# What ONNX Runtime's optimizers make of several nodes, and quantize_static quantizes around.
_FUSED = re.compile(
    r"Fused(Conv|Gemm|MatMul|MatMulActivation)|Bias(Gelu|SplitGelu|Add|Softmax)|(Fast|Quick)Gelu|"
    r"(Skip|SkipSimplified|Embed)LayerNormalization|SkipGroupNorm|Nhwc(FusedConv|MaxPool)"
)
# Of ONNX, and of ONNX Runtime's domain.
_ON_CODES = re.compile(r"\((QLinear\w+|QGemm|ConvInteger|MatMulInteger\w*|DynamicQuantize\w+)\)")


def _advice_on_plugins(operators: Sequence[str], plugins: Sequence[PluginFile], said: str) -> str:
    """The parser names the node; which of the graph's operators it is stands in brackets there."""
    named = [each for each in operators if f"({each})" in said] or list(operators)
    what = f"{', '.join(named)} is" if len(named) == 1 else f"{', '.join(named)} are"
    if plugins:
        given = ", ".join(f"'{each.path}'" for each in plugins)
        return (
            f"{what} no plugin of {given}, by that name, version and namespace: give the library "
            "that has it."
        )
    if named and all(map(_FUSED.fullmatch, named)):
        return (
            f"{what} of ONNX Runtime's optimizer: give the graph that it was made of, or one of "
            "the level ORT_ENABLE_BASIC, which has ONNX's operators alone."
        )
    return (
        f"{what or 'That operation is'} none of ONNX's: name the library that has it as a plugin "
        "(--plugins lib.so), or change it in the model."
    )


def advice_on_building(
    messages: Messages, source: SourceGraph, options: BuildOptions, library: Library = "tensorrt"
) -> str:
    """The way out, as a sentence.

    Args:
        messages: What TensorRT logged.
        source: The graph.
        options: What it was built with.
        library: Which library built it.
    """
    if library == "rtx":
        return _advice_on_rtx(messages, source, options)
    log = " ".join(messages.errors)
    transposed = [name for name, operator in source.nodes if operator == "ConvTranspose"]
    if "Assertion engine failed" in log and transposed:
        # Seen with 8.6.0 for quantized ConvTranspose of every kind: per-tensor and per-channel
        # weights, 8 and 32 channels, kernels of 2 and 4. With the same layer in floating
        # point the engine builds.
        return (
            f"TensorRT 8.6 fails so on quantized transposed convolutions, here '{transposed[0]}': "
            "leave them in floating point, as insert_quantizers does without transposed=True, or "
            "build with TensorRT 10."
        )
    if "convertMyelinWeightsToFp32" in log:
        return (
            "TensorRT 8.6 stops so at an INT8 initializer that a MatMul reads, or beside an input "
            "of bytes: export the graph without --int8-weights, and with --for 8.6."
        )
    if "chooseHigherPrecision" in log:
        return (
            "TensorRT 8.6.0 stops so at INT8 initializers of equal layers that read one quantized "
            f"tensor, as the heads of a detector. trtqat lint {quote(str(source.path))} --for 8.6 "
            "names them; trtqat export keeps their weights float."
        )
    if "candidateRequirements" in log and source.provenance.pixels:
        return (
            "TensorRT 8.6.0 was seen to refuse so what makes codes of bytes: export the graph "
            "again with --for 8.6. Where it was, leave out --pixels, and normalise on the host."
        )
    if "Could not find any implementation" in log:
        if options.optimization_level == 0:
            # Seen with 8.6.0: MaxPool in FP16 has no kernel then, and has one at level 3.
            return "Raise --builder-optimization-level: 0 leaves out most kernels."
        # The default is all of the device's memory.
        is_limited = options.workspace_bytes is not None
        if source.qdq_pairs == 0:
            return f"{'Raise --workspace, or use' if is_limited else 'Use'} a newer TensorRT."
        return (
            f"{'Raise --workspace; if it stays, the' if is_limited else 'The'} Q/DQ pairs around "
            "the named layer may be placed where TensorRT has no INT8 kernel."
        )
    if "scale" in log.lower():
        return "A quantizer's scale is zero or not finite: calibrate the model again."
    # Out of memory 8.6.0 can leave no more in its log than "1:".
    if "memory" in log.lower() or not any(map(str.isalpha, log)):
        return (
            "Most often device memory is short (nvidia-smi lists who has it): free it, or lower "
            "--workspace or the largest batch."
        )
    if name := _last_named(messages, [name for name, _ in source.nodes]):
        return (
            f"The last layer that TensorRT's log names before is '{name}': that one, or what "
            "stands around it, may be what to change in the model."
        )
    return "Run it with -v to see TensorRT's log."


def _last_named(messages: Messages, names: Sequence[str]) -> str:
    """The node that the log named last before its first error; empty if it named none.

    Args:
        messages: What TensorRT logged.
        names: Of the graph's nodes.
    """
    known = set(filter(None, names))
    for line in reversed(messages.before_error):
        words = reversed(_BETWEEN_NAMES.split(line))
        if found := next((word for word in words if word in known), ""):
            return found
    return ""


# What TensorRT puts around names of nodes, also of several that it fused or compiled together.
_BETWEEN_NAMES = re.compile(r"[\s,;+()\[\]{}'\"]+|\.{3}")


def _advice_on_rtx(messages: Messages, source: SourceGraph, options: BuildOptions) -> str:
    """As 1.7.1.116 fails; the limits of TensorRT 8.6 are none of its."""
    log = " ".join(messages.errors)
    if "FP32 GEMM is not supported" in log:
        return (
            "Turing (sm75) has no products that write FP32: leave sm75 out of --targets, or export "
            "with --precision fp16 --opset 19."
        )
    if "HW-specific datatypes: fp8" in log:
        return (
            "GPUs have FP8 from compute capability 8.9 on: --targets sm89,sm120. For others, "
            "quantize to INT8."
        )
    if "no tactics to implement" in log:
        return "Raise --workspace."
    if "CHECK(dtype == W.type())" in log or "have to be the same type" in log:
        return (
            "The operands of a layer have codes of different types: quantize both to INT8. It is "
            f"named by: trtqat lint {quote(str(source.path))} --for rtx"
        )
    # Seen where the weight alone of a packed projection is quantized, and where one is in blocks.
    if "CHECK(is_value())" in log or "CHECK(is_constant())" in log:
        return (
            "Most often a layer has one quantized operand alone, or scales for blocks of a weight: "
            "quantize both, a weight by its output channels. They are named by: trtqat lint "
            f"{quote(str(source.path))} --for rtx"
        )
    if "is only allowed before DQ" in log:
        return (
            "Codes stand there where TensorRT takes none, as those of a single number or a Clip's "
            "bounds: trtqat export model.onnx -o mended.onnx rewrites what has an equal."
        )
    if "kOPT values are not self-consistent" in log or "contradictory IOptimizationProfile" in log:
        return (
            "Two inputs have a dimension of one name, and different sizes there: give both the "
            "same one in --shapes, and leave out --batch."
        )
    # Not a source file that the log names, as memoryComputation.cpp.
    if re.search(r"memory\b", log, re.IGNORECASE):
        return "Memory of the host is short: free it, or lower --workspace or the largest batch."
    if options.workspace_bytes is not None:
        return "Raise --workspace, and run it with -v to see the builder's log."
    return "Run it with -v to see the builder's log."
