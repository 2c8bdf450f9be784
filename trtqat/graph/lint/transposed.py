"""Advice on transposed convolutions, in what holds for the TensorRT that a graph is for."""

from __future__ import annotations

from trtqat.graph.lint.finding import Advice
from trtqat.graph.lint.targets import TARGET_NAMES

_NAMES: dict[str, str] = dict(TARGET_NAMES.items())
_QUANTIZE = "trtqat quantize model.py:fp32 --data npz:train.npz"
_FOR_8_6 = f"{_QUANTIZE} --for 8.6 -o int8.pt"
_FOR_RTX = f"{_QUANTIZE} --for rtx -o int8.pt"

ON_QUANTIZED = Advice(
    "Leave transposed convolutions in floating point for TensorRT 8.6.0, which builds no quantized "
    "one (seen on an H200 in five variants): trtqat quantize does so by itself. For TensorRT 10 "
    "and later export with --opset 19, which says that 8.6 is not meant. TensorRT for RTX 1.7 "
    "builds it in floating point.",
    _FOR_8_6,
)
_ON_FLOAT = Advice(
    "Leave it in floating point for TensorRT 8.6, which builds no quantized one, and for TensorRT "
    "for RTX 1.7, which builds a quantized one so. For TensorRT 10 and later quantize it, and "
    "export with --opset 19.",
    f"{_QUANTIZE} --for 10 -o int8.pt",
)


def advice_on_quantized(target: str) -> Advice:
    """What to do about a quantized one.

    Args:
        target: The TensorRT that the graph is for; empty for all.
    """
    if not target:
        return ON_QUANTIZED
    if target == "8.6":
        return Advice(
            "Leave it in floating point: TensorRT 8.6.0 builds no quantized transposed convolution "
            "(seen on an H200 in five variants). trtqat quantize does so by itself.",
            _FOR_8_6,
        )
    if target == "rtx":
        return Advice(
            "Leave it in floating point: TensorRT for RTX 1.7 builds a quantized transposed "
            "convolution so, and its pairs round for nothing. trtqat quantize --for rtx does so by "
            "itself.",
            _FOR_RTX,
        )
    return Advice(
        f"Nothing, unless the build fails: whether {_NAMES[target]} builds a quantized "
        "transposed convolution was not seen. trtqat quantize without --for leaves it in floating "
        "point.",
        f"{_QUANTIZE} -o int8.pt",
    )


def advice_on_float(target: str) -> Advice:
    """What to do about one that is not quantized.

    Args:
        target: The TensorRT that the graph is for; empty for all.
    """
    if not target:
        return _ON_FLOAT
    if target == "8.6":
        return Advice("Nothing: TensorRT 8.6.0 builds no quantized transposed convolution.")
    if target == "rtx":
        return Advice(
            "Nothing: TensorRT for RTX 1.7 builds a quantized one in floating point, too."
        )
    return Advice(
        f"Quantize it, if accuracy allows: trtqat quantize --for {target} does. Whether "
        f"{_NAMES[target]} builds a quantized one was not seen.",
        f"{_QUANTIZE} --for {target} -o int8.pt",
    )
