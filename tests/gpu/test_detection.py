"""The detector of scripts/tasks is built, and an engine with its end finds the graph's boxes.

Nothing is trained here. What is compared stands behind a small backbone, whose heads are stretched
so that there are peaks and sides of some pixels: the large one without training answers otherwise
at the slightest noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import trtqat
from scripts.bench.refusals import Small, write_graph
from scripts.models.untrained import with_statistics
from scripts.tasks.detection import BOXES, Detector
from scripts.tasks.shapes import KINDS, SIZE, Scenes
from tests.support.workloads import Build
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Arrays

BATCH = 16
# What TensorRT refuses it refuses at each level, and both took four minutes at its own.
LEVEL = 1
# A box whose score is so far above the last one's is among the best of whoever rounds otherwise.
_APART = 0.05
_NEAR_SCORE, _NEAR_PIXELS = 0.04, 1.5


def stretched(images: torch.Tensor) -> Small:
    """Logits are -3, give or take 1.5, and sides 0, give or take 8 pixels."""
    torch.manual_seed(0)
    model = with_statistics(Small(Detector().decode), [images])
    x = model.body(images)
    with torch.no_grad():
        for head, middle, deviation in ((model.heat, -3.0, 1.5), (model.sides, 0.0, 8.0)):
            assert head.bias is not None
            output = head(x)
            mean, size = output.mean((0, 2, 3)), deviation / output.std((0, 2, 3))
            head.weight.mul_(size.reshape(-1, 1, 1, 1))
            head.bias.copy_((head.bias - mean) * size + middle)
    return model


def found_share(expected: Arrays, actual: Arrays) -> float:
    """How many of the boxes that are surely among the best are among the others', too."""
    scores = expected["scores"]
    found = []
    for image, place in np.argwhere(scores > scores[:, -1:] + _APART):
        far = np.abs(actual["boxes"][image] - expected["boxes"][image, place]).max(axis=1)
        alike = np.abs(actual["scores"][image] - scores[image, place]) < _NEAR_SCORE
        same = actual["classes"][image] == expected["classes"][image, place]
        found.append(bool(((far < _NEAR_PIXELS) & alike & same).any()))
    assert len(found) > 4 * BATCH
    return sum(found) / len(found)


def test_the_engine_finds_the_boxes_of_the_graph(tmp_path: Path, build_engine: Build) -> None:
    images = Scenes(BATCH).images(0, BATCH)
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    batches = [torch.from_numpy(images)]
    quantized = trtqat.quantize(stretched(batches[0]), batches, for_="8.6").model
    trtqat.export(quantized, graph, inputs=[f"images:1x3x{SIZE}x{SIZE}"])
    built = build_engine(graph, plan, batch=(1, BATCH, BATCH), optimization_level=LEVEL)
    assert built.coverage is not None
    assert len(built.coverage.wanted) == 4
    with OnnxModel(graph, as_written=True) as reference, reference.session(BATCH) as session:
        expected = session.run({"images": images})
    with Engine(plan) as engine, engine.session(BATCH) as session:
        actual = session.run({"images": images})
    assert actual["boxes"].shape == (BATCH, BOXES, 4)
    assert (np.diff(actual["scores"]) <= 0).all()
    assert found_share(expected, actual) > 0.9


def test_the_whole_detector_is_built(tmp_path: Path, build_engine: Build) -> None:
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    write_graph("the task", graph)
    built = build_engine(graph, plan, batch=(1, 4, 4), optimization_level=LEVEL)
    assert built.coverage is not None
    assert len(built.coverage.wanted) == 17
    with Engine(plan) as engine, engine.session(4) as session:
        found = session.run({"images": Scenes(4).images(0, 4)})
    assert {name: each.shape for name, each in found.items()} == {
        "boxes": (4, BOXES, 4),
        "scores": (4, BOXES),
        "classes": (4, BOXES),
    }
    assert ((found["scores"] >= 0) & (found["scores"] <= 1)).all()
    assert set(found["classes"].flat) <= set(range(len(KINDS)))
