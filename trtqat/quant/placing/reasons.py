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
