"""Advice on quantization to plain INT8, in the words of the tool that wrote a graph."""

from __future__ import annotations

from trtqat.graph.lint.finding import Advice

# By a part of the name that the tool writes into the file.
_BY_WRITER = {
    "onnx.quantize": Advice(
        "Quantize to signed 8 bits with symmetric ranges, in ONNX Runtime's quantize_static.",
        "quantize_static(..., activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, "
        "extra_options={'ActivationSymmetric': True, 'WeightSymmetric': True})",
    ),
    "brevitas": Advice(
        "Quantize to signed 8 bits with a zero-point of 0, with Brevitas's signed quantizers.",
        "qnn.QuantReLU(act_quant=Int8ActPerTensorFloat)  # not Uint8ActPerTensorFloat",
    ),
    "tf2onnx": Advice(
        "Quantize to signed 8 bits with symmetric ranges: -amax to amax.",
        "tf.quantization.fake_quant_with_min_max_args(x, -amax, amax, narrow_range=True)",
    ),
}
_ANY = Advice(
    "Quantize to signed 8 bits with a zero-point of 0: dtype=torch.qint8 and a symmetric qscheme "
    "in torch.ao, ActivationSymmetric and QInt8 in ONNX Runtime's quantize_static, a signed "
    "quantizer in Brevitas, unsigned=False in pytorch-quantization. trtqat export rewrites what "
    "is the same in INT8, as UINT8 with zero-point 128.",
    "FakeQuantize.with_args(quant_min=-128, quant_max=127, dtype=torch.qint8, "
    "qscheme=torch.per_tensor_symmetric)",
)


def advice_on_int8(writer: str) -> Advice:
    """What to change where codes are not INT8 with zero-point 0.

    Args:
        writer: The tool that wrote the graph, as the file says.
    """
    name = writer.lower()
    return next((advice for key, advice in _BY_WRITER.items() if key in name), _ANY)
