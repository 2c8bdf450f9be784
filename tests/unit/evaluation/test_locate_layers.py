"""The layer whose quantizer is wrong is the one that is named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support import models
from tests.support.examples import Images, exported
from trtqat.errors import GraphError
from trtqat.evaluation.locate_layers import LayerLoss, first_layer_below, locate_in_layers
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx


def spoil(path: Path, layer: str, factor: float) -> None:
    """Multiplies the scale of the pair on a layer's data."""
    model = onnx.load(str(path))
    producers = {output: node for node in model.graph.node for output in node.output}
    node = next(node for node in model.graph.node if node.name == layer)
    dequantize = producers[node.input[0]]
    quantize = producers[dequantize.input[0]]
    old = next(i for i in model.graph.initializer if i.name == dequantize.input[1])
    scale = numpy_helper.to_array(old)
    model.graph.initializer.append(
        numpy_helper.from_array((scale * factor).astype(np.float32), "spoiled")
    )
    quantize.input[1] = dequantize.input[1] = "spoiled"
    onnx.save(model, str(path))


@pytest.mark.parametrize("layer", ["/conv1/Conv", "/conv2/Conv", "/fc/Gemm"])
@pytest.mark.parametrize("factor", [0.02, 80.0])
def test_a_wrong_scale_is_found(layer: str, factor: float, tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    spoil(path, layer, factor)
    losses = locate_in_layers(path, images, batch_size=7)
    assert max(losses, key=lambda each: each.lost_db).name == layer
    first = first_layer_below(losses)
    assert first is not None
    assert first.name == layer


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_a_sound_graph_loses_little_everywhere(name: str, tmp_path: Path) -> None:
    path, images = exported(name, tmp_path)
    seen: list[tuple[int, int]] = []
    losses = locate_in_layers(path, images, progress=lambda done, total: seen.append((done, total)))
    assert first_layer_below(losses) is None
    assert all(each.sqnr_db > 20 for each in losses)
    assert seen[-1] == (len(losses), len(losses))


def test_an_fp16_graph_is_looked_into(tmp_path: Path) -> None:
    """Its input is float32, so its first pair goes from one type to the other."""
    example, path = models.EXAMPLES["residual"], tmp_path / "m.onnx"
    options = ExportOptions(example.inputs, precision="fp16", opset=19, exporter="torchscript")
    export_onnx(example.qat(), path, options)
    losses = locate_in_layers(path, Images(example, 24))
    assert all(20 < each.sqnr_db < 80 for each in losses)


def test_batches_do_not_matter(tmp_path: Path) -> None:
    path, images = exported("depthwise", tmp_path)
    one, other = (
        locate_in_layers(path, images, batch_size=24),
        locate_in_layers(path, images, batch_size=5),
    )
    for first, second in zip(one, other, strict=True):
        assert first.name == second.name
        assert first.sqnr_db == pytest.approx(second.sqnr_db, rel=1e-4)


def test_a_static_batch_that_the_images_do_not_fill(tmp_path: Path) -> None:
    example = models.EXAMPLES["depthwise"]
    path = tmp_path / "static.onnx"
    fixed = tuple(spec.with_batch(5) for spec in example.inputs)
    export_onnx(
        example.qat(), path, ExportOptions(fixed, static_batch=True, exporter="torchscript")
    )
    dynamic, images = exported("depthwise", tmp_path)
    found = locate_in_layers(path, images, batch_size=5)
    for one, other in zip(found, locate_in_layers(dynamic, images, batch_size=5), strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, rel=1e-4)


def test_a_layer_that_makes_nan_has_lost_everything(tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    spoil(path, "/conv2/Conv", math.nan)
    worst = max(locate_in_layers(path, images), key=lambda each: each.lost_db)
    assert worst.name == "/conv2/Conv"
    assert math.isinf(worst.lost_db)


def loss(name: str, sqnr_db: float) -> LayerLoss:
    return LayerLoss(name, "Conv", sqnr_db, 0.0, ())


def test_the_first_and_not_the_worst() -> None:
    losses = (loss("a", 30.0), loss("b", 19.0), loss("c", 5.0))
    found = first_layer_below(losses)
    assert found is not None
    assert found.name == "b"
    # A layer that makes NaN loses everything, too.
    nan = first_layer_below((loss("a", 30.0), loss("b", math.nan)))
    assert nan is not None
    assert nan.name == "b"
    assert first_layer_below((loss("a", math.inf),)) is None


def test_a_graph_without_layers(tmp_path: Path) -> None:
    path, images = exported("depthwise", tmp_path)
    model = onnx.load(str(path))
    kept = [n for n in model.graph.node if n.op_type == "QuantizeLinear"][:1]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=kept[0].output[0]))
    onnx.save(model, str(path))
    with pytest.raises(GraphError, match="no layer to compare"):
        locate_in_layers(path, images)
