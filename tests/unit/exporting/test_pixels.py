"""``--pixels``: the exported graph takes bytes, and is what the model makes of their floats."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

import trtqat
from tests.support import models
from tests.support.graphs import Graph
from trtqat.errors import DataError, ExportError, GraphError, SourceError, UsageError
from trtqat.exporting import pixels as room
from trtqat.exporting.export import export
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.pixels import with_pixel_inputs
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph.pixels.arithmetic import DIVIDE, HALF, PLANES, TABLE
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.reading import read_model
from trtqat.pixels import Pixels, PixelSpec
from trtqat.plan.header import Target
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BGR = Pixels("nhwc", MEAN, STD, bgr=True)
EXAMPLE = models.EXAMPLES["residual"]
TWO_INPUTS = models.EXAMPLES["two_inputs"]


def exported(folder: Path, pixels: Pixels = BGR, **options: Any) -> ExportResult:
    # Bytes come in behind the exporter, and this one takes a third of the other's time.
    options = {"exporter": "torchscript", **options}
    made = ExportOptions(EXAMPLE.inputs, pixels={"x": pixels}, **options)
    return export_onnx(EXAMPLE.qat(), folder / "m.onnx", made)


def record_of(path: Path) -> dict[str, Any]:
    (record,) = (each.value for each in onnx.load(str(path)).metadata_props)
    found: dict[str, Any] = json.loads(record)
    return found


def weight_types(path: Path) -> set[int]:
    """Of those that convolutions have."""
    return {
        each.data_type
        for each in onnx.load(str(path)).graph.initializer
        if len(each.dims) == 4 and "pixels" not in each.name
    }


@pytest.mark.parametrize("for_", ["10", "11"])
def test_where_int8_weights_were_not_tried_the_way_out_keeps_to_that_tensorrt(
    tmp_path: Path, for_: Target
) -> None:
    (found,) = exported(tmp_path, for_=for_).warnings
    assert found.rule == "int8-weight-behind-bytes"
    assert found.targets[for_] == "unknown"
    assert "For 10 and 11" in found.remedy
    assert "--float-weights" in found.remedy
    assert not exported(tmp_path, for_=for_, improve=ImproveOptions(int8_weights=False)).warnings


def images(count: int = 3, size: int = 16) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels", [BGR, Pixels("nchw", (0.5,), (0.25,), 128.0)], ids=["nhwc-bgr", "nchw"]
)
def test_the_graph_is_what_the_model_makes_of_the_floats(pixels: Pixels, tmp_path: Path) -> None:
    result = exported(tmp_path, pixels)
    assert result.pixels["x"].is_quantized
    assert result.pixels["x"].form.way is (HALF if pixels.layout == "nhwc" else PLANES)
    x = images() if pixels.layout == "nhwc" else images().transpose(0, 3, 1, 2).copy()
    floats = pixels.normalise(x)
    with torch.no_grad():
        expected = EXAMPLE.qat()(torch.from_numpy(floats)).numpy()
    with OnnxModel(result.path, as_written=True) as model:
        (spec,) = model.inputs
        assert isinstance(spec, PixelSpec)
        (found,) = model.session(3).run({"x": x}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert record_of(result.path)["pixels"] == {
        "x": {**asdict(pixels), "mean": list(pixels.mean), "std": list(pixels.std)}
    }


def test_weights_are_float_where_8_6_may_read_it(tmp_path: Path) -> None:
    result = exported(tmp_path)
    assert weight_types(result.path) == {TensorProto.FLOAT}
    assert any("--for 10, 11 or rtx" in note for note in result.notes)
    for target in ("10", "11", "rtx"):
        result = exported(tmp_path, for_=target)
        assert weight_types(result.path) == {TensorProto.INT8}
        assert not any("Weights are float" in note for note in result.notes)
    result = exported(tmp_path, improve=ImproveOptions(int8_weights=True))
    assert weight_types(result.path) == {TensorProto.INT8}
    assert any("takes no INT8 weights behind bytes" in note for note in result.notes)


def test_samples_are_bytes_of_images(tmp_path: Path) -> None:
    """What the graph is verified on: random ones, or those of the data."""
    path = tmp_path / "x.npz"
    np.savez(path, x=images(9).transpose(0, 3, 1, 2))
    assert exported(tmp_path, data=f"npz:{path}").verification.sqnr_db > 90
    np.savez(path, x=images(9).astype(np.float32))
    with pytest.raises(DataError, match="which the graph normalises itself"):
        exported(tmp_path, data=f"npz:{path}")


def test_fp16_around_it(tmp_path: Path) -> None:
    result = exported(tmp_path, opset=19, precision="fp16", for_="11")
    assert result.pixels["x"].is_quantized
    with OnnxModel(result.path) as model:
        assert model.inputs[0].dtype == "uint8"


def test_one_of_two_inputs(tmp_path: Path) -> None:
    made = ExportOptions(TWO_INPUTS.inputs, pixels={"image": BGR}, exporter="torchscript")
    result = export_onnx(TWO_INPUTS.qat(), tmp_path / "m.onnx", made)
    assert result.pixels.keys() == {"image"}
    with OnnxModel(result.path) as model:
        assert {spec.name: spec.dtype for spec in model.inputs} == {
            "image": "uint8",
            "vector": "float32",
        }


def test_a_graph_from_elsewhere_and_once_more(tmp_path: Path) -> None:
    """What an earlier export said of its bytes stays."""
    plain, first, second = (tmp_path / f"{name}.onnx" for name in ("plain", "first", "second"))
    export_onnx(EXAMPLE.qat(), plain, ExportOptions(EXAMPLE.inputs, exporter="torchscript"))
    improve_onnx(plain, first, ExportOptions((), pixels={"x": BGR}))
    assert weight_types(first) == {TensorProto.FLOAT}
    result = improve_onnx(first, second, ExportOptions(()))
    assert result.pixels == {}
    assert record_of(second)["pixels"] == record_of(first)["pixels"]
    assert weight_types(second) == {TensorProto.FLOAT}
    for path in (first, second):
        with OnnxModel(path, as_written=True) as model:
            (found,) = model.session(3).run({"x": images()}).values()
        with OnnxModel(plain, as_written=True) as model:
            (expected,) = model.session(3).run({"x": BGR.normalise(images())}).values()
        # A convolution in place of the Gemm may sum in another order.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(SourceError, match="cannot take the bytes of images"):
        improve_onnx(first, second, ExportOptions((), pixels={"x": BGR}))


class FloatFirst(models.Residual):
    """Scales its input before any quantizer sees it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * 1.5)


def test_an_input_that_no_quantizer_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    example = models.Example(FloatFirst, EXAMPLE.inputs, pairs=10)
    made = ExportOptions(example.inputs, exporter="torchscript", pixels={"x": BGR})
    for options, way in ((made, TABLE), (replace(made, for_="rtx"), DIVIDE)):
        result = export_onnx(example.qat(), tmp_path / "m.onnx", options)
        assert not result.pixels["x"].is_quantized
        assert result.pixels["x"].form.way is way
        assert ("'x' is not quantized as it is" in caplog.text) == (way is DIVIDE)


def test_an_input_that_is_an_output_too_is_refused(tmp_path: Path) -> None:
    graph = Graph((2, 3, 8, 8))
    graph.conv(graph.pair("x", 0.1), "y", (32, 3))
    path = tmp_path / "model.onnx"
    proto = graph.proto("y", "x")
    proto.graph.output[1].CopyFrom(proto.graph.input[0])
    onnx.save(proto, path)
    with pytest.raises(GraphError, match="Input 'x' is an output, too") as caught:
        trtqat.export(path, tmp_path / "m.onnx", pixels=["x:nhwc"], mean=0.5, std=0.25)
    assert "extract_model" in caught.value.remedy
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("source", ["a model", "a graph"])
def test_how_large_bytes_are_is_known(source: str, tmp_path: Path) -> None:
    """So no note asks for data, where the graph becomes FP16."""
    example = models.Example(FloatFirst, EXAMPLE.inputs, pairs=10)
    plain = ExportOptions(example.inputs, exporter="torchscript")
    options = replace(plain, opset=19, precision="fp16", for_="10")
    notes = []
    for pixels in ({}, {"x": BGR}):
        made = replace(options, pixels=pixels)
        if source == "a model":
            notes.append(export_onnx(example.qat(), tmp_path / "m.onnx", made).notes)
            continue
        export_onnx(example.qat(), tmp_path / "from.onnx", plain)
        notes.append(improve_onnx(tmp_path / "from.onnx", tmp_path / "m.onnx", made).notes)
    asking = [["Give --data" in " ".join(each)] for each in notes]
    assert asking == [[True], [False]]


def test_a_graph_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a form had forgotten the order of the channels."""
    model_path = tmp_path / "m.onnx"
    export_onnx(EXAMPLE.qat(), model_path, ExportOptions(EXAMPLE.inputs, exporter="torchscript"))

    def forgetful(model: Any, pixels: Any, forms: Any) -> Any:
        return take_pixels(model, {"x": Pixels("nhwc", MEAN, STD)}, forms)

    monkeypatch.setattr(room, "take_pixels", forgetful)
    batch = {"x": np.zeros((1, 3, 16, 16), np.float32)}
    options = ExportOptions((), pixels={"x": BGR})
    with pytest.raises(ExportError, match="Of bytes the graph computes another"):
        with_pixel_inputs(read_model(model_path), options, [batch])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixels": ["y:nhwc"]}, "There is no input 'y' that could take bytes; there is x"),
        ({"std": (0.1, 0.2)}, "The mean has 3 numbers, and the std 2"),
        ({"mean": (1, 2), "std": "1"}, "The mean has 2 numbers, but input 'x' has 3 channels"),
        ({"quantized_input": True}, "or the codes that the caller made"),
        ({"for_": "8.6", "opset": 19}, "opset 19 is not for TensorRT 8.6"),
        ({"for_": "9"}, "for_ is '9', which is no choice"),
        ({"pixels": {"x": BGR}}, "pixels says by itself what bytes mean"),
        ({"pixels": {"x": "nhwc"}, "mean": (), "std": ()}, "Pixels of ExportOptions is 'nhwc'"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    called = {"pixels": ["x:nhwc"], "mean": MEAN, "std": STD, **given}
    with pytest.raises(UsageError, match=message):
        export(EXAMPLE.qat(), tmp_path / "m.onnx", inputs=["x:1x3x16x16"], **called)
    assert not (tmp_path / "m.onnx").exists()


def test_an_input_that_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'vector:1x8:float32' cannot take the bytes"):
        export(
            TWO_INPUTS.qat(),
            tmp_path / "m.onnx",
            inputs=TWO_INPUTS.inputs,
            pixels=["vector:nchw"],
            mean=0,
            std=1,
        )


class WithDepth(nn.Module):
    """An image in colour, and one of a channel beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.depth = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)

    def forward(self, image: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.image(image) + self.depth(depth)
        return y


def test_one_of_two_inputs_is_bgr(tmp_path: Path) -> None:
    torch.manual_seed(0)
    samples = torch.rand(4, 3, 8, 8), torch.rand(4, 1, 8, 8)
    model, path = trtqat.quantize(WithDepth().eval(), [samples]).model, tmp_path / "m.onnx"
    inputs = ["image:1x3x8x8", "depth:1x1x8x8"]
    both: dict[str, Any] = {"pixels": ["image:nhwc", "depth:nhwc"], "mean": 0.5, "std": 0.25}
    # Its way out is what comes next.
    with pytest.raises(UsageError, match=r"input 'depth' has 1\..* bgr=True\)"):
        trtqat.export(model, path, inputs=inputs, bgr=True, **both)
    one = {
        "image": trtqat.Pixels("nhwc", (0.5,), (0.25,), bgr=True),
        "depth": trtqat.Pixels("nhwc", (0.5,), (0.25,)),
    }
    trtqat.export(model, path, inputs=inputs, pixels=one, exporter="torchscript")
    with OnnxModel(path) as graph:
        found = {each.name: each for each in graph.inputs}
    assert [found[name].pixels.bgr for name in one] == [True, False]  # type: ignore[attr-defined]


def test_numbers_in_whatever_form(tmp_path: Path) -> None:
    """Texts as the command line has them, numbers, or one for each input."""
    found = []
    for mean, std in (
        ("0.5,0.25,0.75", "0.5"),
        ((0.5, 0.25, 0.75), 0.5),
        (["0.5,0.25,0.75"], [(0.5,)]),
    ):
        path = tmp_path / "m.onnx"
        export(
            *(EXAMPLE.qat(), path),
            inputs=EXAMPLE.inputs,
            pixels=["x:nchw"],
            mean=mean,
            std=std,
            exporter="torchscript",
        )
        found.append(record_of(path)["pixels"])
    assert found[0] == found[1] == found[2]
    assert found[0]["x"]["mean"] == [0.5, 0.25, 0.75]
