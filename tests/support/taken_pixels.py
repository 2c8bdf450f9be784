"""Forms in which a graph takes bytes, and what it then computes."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.pixels.arithmetic import AFFINE, CHANNELS, DIVIDE, HALF, PLANES, TABLE
from trtqat.graph.pixels.forms import Form, only
from trtqat.graph.pixels.take_pixels import TakenInput, take_pixels
from trtqat.graph_file.serialized import serialize
from trtqat.pixels import Pixels
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AFFINE_FIRST, TABLE_FIRST, DIVIDE_FIRST = Form(AFFINE), Form(TABLE), Form(DIVIDE)
BY_CHANNELS, BY_PLANES, BY_HALVES = Form(CHANNELS), Form(PLANES), Form(HALF)


def run(model: ir.Model, x: Array, *, as_written: bool) -> Array:
    """The only output for one image ``x``."""
    with OnnxModel(serialize(model), as_written=as_written) as loaded:
        (y,) = loaded.session(1).run({"x": x}).values()
    return y


def taken(model: ir.Model, pixels: Pixels, *forms: Form) -> TakenInput:
    """Has the graph take bytes in the first of these forms that fits."""
    return take_pixels(model, {"x": pixels}, only(*forms)).inputs["x"]
