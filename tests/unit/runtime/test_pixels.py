"""Runtimes whose graph takes the bytes of images, and PyTorch beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.cuda_streams import Device, open_session
from tests.support.pixel_graphs import every_byte, quantizing_graph
from trtqat.errors import InferenceError, UsageError
from trtqat.graph.pixels.forms import choice_for
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.serialized import serialize
from trtqat.pixels import Pixels, PixelSpec
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYOUTS = [
    Pixels("nhwc", MEAN, STD),
    Pixels("nchw", MEAN, STD),
    Pixels("nhwc", (0.5,), (0.25,), 127.5, bgr=True),
    Pixels("nchw", MEAN, (0.3,), 3.0, bgr=True),
]


def graph(pixels: Pixels) -> OnnxModel:
    model = quantizing_graph(0.02)
    take_pixels(model, {"x": pixels}, choice_for(None, 17))
    model.metadata_props[METADATA_KEY] = Provenance(pixels={"x": pixels}).to_json()
    return OnnxModel(serialize(model))


@pytest.mark.parametrize("pixels", LAYOUTS, ids=str)
def test_a_graph_says_what_its_bytes_mean(pixels: Pixels) -> None:
    with graph(pixels) as model:
        (spec,) = model.inputs
        assert isinstance(spec, PixelSpec)
        assert (spec.pixels, spec.dtype) == (pixels, "uint8")
        assert spec.floats.shape == (-1, 3, 16, 16)
        assert model.session_inputs == model.inputs


def test_a_graph_takes_no_floats() -> None:
    pixels = LAYOUTS[0]
    with graph(pixels) as model, pytest.raises(InferenceError, match="uint8"):
        model.session(1).run({"x": every_byte(pixels).astype(np.float32)})


def test_a_session_of_an_engine_says_which_type_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy would cast no floats to bytes either, but with a traceback."""
    with open_session(monkeypatch, Device(7001)) as session:
        with pytest.raises(UsageError, match="takes float32, and was given complex64"):
            session.run({"x": np.zeros(4, np.complex64)})
        assert session.run({"x": np.arange(4.0)})["y"].tolist() == [0, 1, 4, 9]


class Handed(nn.Module):
    """Hands on what it gets."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1


@pytest.mark.parametrize("pixels", LAYOUTS, ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_pytorch_gets_the_floats_of_the_same_bytes(
    pixels: Pixels, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit those of the host, in NCHW and in the model's order."""
    if compiled:
        # The compiler itself is not what is asked about.
        monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    spec = pixels.of_floats(TensorSpec("x", (-1, 3, 16, 16)))
    x = every_byte(pixels)
    expected = pixels.normalise(x)
    with PyTorchModel(Handed(), [spec], device="cpu", compiled=compiled) as model:
        with model.session(1) as session:
            (found,) = session.run({"x": x}).values()
            np.testing.assert_array_equal(found, expected)
            session.load({"x": x})
            assert len(session.compute_times_ms(2)) == 2
        if not compiled:
            (observed,) = model.observe({"x": x}, [])[0].values()
            np.testing.assert_array_equal(observed, expected)
