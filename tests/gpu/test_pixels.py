"""Bytes of images on a GPU: the engine's codes are the host's, and sessions take bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import trtqat
from tests.support import models
from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.pixel_graphs import every_byte, quantizing_graph
from tests.support.workloads import Build
from trtqat.errors import BuildError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.pixels.forms import Form, choice_for, forms_for, only
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.numerics import quantize, sqnr_db
from trtqat.pixels import LAYOUTS, Layout, Pixels, PixelSpec
from trtqat.provenance import METADATA_KEY, Provenance
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec, random_arrays

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = 2.64 / 127
EXAMPLE = models.EXAMPLES["residual"]


def differing(form: Form, pixels: Pixels, folder: Path, build_engine: Build) -> tuple[int, int]:
    """How many of the 768 codes differ from the host's on this GPU, and how many may."""
    model = quantizing_graph(SCALE)
    taken = take_pixels(model, {"x": pixels}, only(form)).inputs["x"]
    graph, plan = folder / f"{form.name}.onnx", folder / f"{form.name}.engine"
    # By this the builder knows which nodes make codes of bytes.
    model.metadata_props[METADATA_KEY] = Provenance(pixels={"x": pixels}).to_json()
    ir.save(model, graph)
    build_engine(graph, plan, batch=(1, 1, 1))
    x = every_byte(pixels)
    with Engine(plan) as engine, engine.session(1) as session:
        (found,) = session.run({"x": x}).values()
    codes = np.rint(found / np.float32(SCALE))
    return int((codes != quantize(pixels.normalise(x), SCALE)).sum()), taken.near_borders


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_are_those_of_the_host(layout: Layout, tmp_path: Path, build_engine: Build) -> None:
    """Of each form that this TensorRT builds; what it refuses is for the benchmark to say."""
    pixels = Pixels(layout, MEAN, STD)
    built = set()
    for form in forms_for(layout):
        try:
            wrong, may_be_wrong = differing(form, pixels, tmp_path, build_engine)
        except BuildError:
            continue
        built.add(form)
        assert wrong <= may_be_wrong, form.name
        assert may_be_wrong == 0 or not form.way.is_robust, form.name
    # Half is a form of NHWC alone.
    written = {form for form in choice_for(None, 17).codes if form.takes(layout)}
    assert written
    assert written <= built


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["resnet_basic", "mobilenet_v2", "unet"])
def test_a_network_behind_bytes_gets_the_codes_of_the_host(
    name: str, layout: Layout, tmp_path: Path, build_engine: Build
) -> None:
    """A UNet whose Concat of channels was FP16 was at 26 dB, and at 142 in FP32."""
    architecture = ARCHITECTURES[name]
    (spec,) = architecture.inputs
    samples = batches(architecture, 3, 8)
    model = trtqat.quantize(trained_like(name), samples, for_="8.6").model
    pixels = {spec.name: Pixels(layout, MEAN, STD)}
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    export_onnx(model, graph, ExportOptions(architecture.inputs, for_="8.6", pixels=pixels))
    layers = build_engine(graph, plan, batch=(4, 4, 4)).layers
    with (
        OnnxModel(graph, as_written=True) as reference,
        Engine(plan) as engine,
        reference.session(4) as wanted,
        engine.session(4) as found,
    ):
        inputs = random_arrays(found.input_specs, seed=3)
        outputs = found.run(inputs)
        for output, expected in wanted.run(inputs).items():
            noise = np.square(expected - outputs[output]).sum()
            assert sqnr_db(np.square(expected).sum(), noise) > 60, output
    if layout == "nhwc":
        # What whole numbers are written as; anything else is as right, and slower.
        assert layers is not None
        first = layers["Layers"][0]
        assert "FP16" in first["Outputs"][0]["Format/Datatype"], first


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, build_engine: Build) -> Path:
    folder = tmp_path_factory.mktemp("pixels")
    pixels = {"x": Pixels("nhwc", MEAN, STD, bgr=True)}
    export_onnx(EXAMPLE.qat(), folder / "m.onnx", ExportOptions(EXAMPLE.inputs, pixels=pixels))
    build_engine(folder / "m.onnx", folder / "m.engine", batch=(1, 4, 4))
    return folder


def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)


def test_an_engine_takes_bytes(made: Path) -> None:
    x = images()
    with OnnxModel(made / "m.onnx", as_written=True) as graph:
        (expected,) = graph.session(4).run({"x": x}).values()
    with Engine(made / "m.engine") as engine:
        (spec,) = engine.inputs
        assert isinstance(spec, PixelSpec)
        assert spec.shape == (-1, 16, 16, 3)
        with engine.session(4) as session:
            (buffer,) = session.inputs.values()
            assert (buffer.dtype, buffer.nbytes) == (np.dtype(np.uint8), x.nbytes)
            (found,) = session.run({"x": x}).values()
            np.testing.assert_allclose(found, expected, atol=0.05)
            buffer[...] = x
            session.submit()
            np.testing.assert_array_equal(next(iter(session.collect().values())), found)
            with pytest.raises(UsageError, match="takes uint8, and was given float32"):
                session.run({"x": x.astype(np.float32)})


def test_pytorch_normalises_on_the_gpu_as_the_host_does(made: Path) -> None:
    """Division is IEEE's there, too, as long as no reciprocal takes its place."""
    import torch

    class Handed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1

    for layout in LAYOUTS:
        pixels = Pixels(layout, MEAN, STD, bgr=True)
        spec = pixels.of_floats(TensorSpec("x", (-1, 3, 16, 16)))
        x = every_byte(pixels)
        with (
            PyTorchModel(Handed(), [spec], device="cuda") as model,
            model.session(1) as session,
        ):
            (found,) = session.run({"x": x}).values()
        np.testing.assert_array_equal(found, pixels.normalise(x))
