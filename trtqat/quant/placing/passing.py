"""Functions that no quantizer stands at, and that a quantized value passes through, by name."""

from __future__ import annotations

# Behind these, and behind what moves values, a pair still quantizes what stands before them: in a
# graph passes_on of graph/lenses/view.py says so.
ACTIVATIONS = frozenset(
    (
        "relu",
        "relu_",
        "relu6",
        "hardtanh",
        "hardtanh_",
        "clamp",
        "clamp_",
        "clip",
        "leaky_relu",
        "leaky_relu_",
        "prelu",
        "sigmoid",
        "sigmoid_",
        "hardsigmoid",
        "hardswish",
        "tanh",
        "tanh_",
        "elu",
        "elu_",
    )
)
REARRANGING = frozenset(
    (
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "contiguous",
        "t",
        "swapaxes",
        "movedim",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
    )
)
MOVING = REARRANGING | frozenset(
    (
        "__getitem__",
        "chunk",
        "split",
        "tensor_split",
        "unbind",
        "narrow",
        "expand",
        "expand_as",
        "repeat",
        "tile",
        "select",
        "pixel_shuffle",
        "pixel_unshuffle",
        "index_select",
        "interpolate",
        "upsample",
    )
)
# Between a layer and its sum, TensorRT fuses these into the layer.
FOLDED = frozenset(["batch_norm", "add", "mul", "sub", "div", "dropout"])
