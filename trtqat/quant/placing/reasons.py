"""Why a layer stays in floating point, in words: the same for a PyTorch model and a graph."""

from __future__ import annotations

from collections.abc import Mapping

AS_ASKED = "as asked"
COMPUTED_WEIGHT = "its weight is computed from the input"
DID_NOT_RUN = "it did not run on the first samples"
ON_WEIGHTS = "it computes on weights alone"
OTHER = "it multiplies in a way that takes no quantizer"
RECURS = "TensorRT has no INT8 for what recurs"
SCRIPTED = "it is TorchScript, into which nothing can be put"
VECTOR = "one of its operands is a vector"

# By the TensorRT that a model is for; the others quantize it.
NO_TRANSPOSED: Mapping[str | None, str] = {
    None: "TensorRT 8.6 builds no quantized transposed convolution",
    "8.6": "TensorRT 8.6 builds no quantized transposed convolution",
    "rtx": "TensorRT for RTX runs a quantized transposed convolution in floating point",
}

_NO_GROUPS = (
    "TensorRT 8.6 has no INT8 kernel for groups of fewer than four channels that make more than "
    "they take"
)
_FEW_CHANNELS = 4


def of_convolution(for_: str | None, groups: int, taken: int, made: int) -> str:
    """Why a convolution, not a transposed one, stays in floating point; empty if it does not.

    Seen with 8.6.0 on an H200, of kernels of 3x3 and 5x5: it refused groups of one channel that
    make two or three, and of two that make four. It built depthwise ones, of one that makes one.

    Args:
        for_: The TensorRT that the model is for; None for what each can build.
        groups: How many there are.
        taken: Input channels of each.
        made: Output channels of each.
    """
    is_refused = groups > 1 and taken < _FEW_CHANNELS and made > taken
    return _NO_GROUPS if is_refused and for_ in (None, "8.6") else ""
