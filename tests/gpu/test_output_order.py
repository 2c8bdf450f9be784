"""Outputs of one shape on a real engine, which lists them in an order of its own.

Of the models below TensorRT must list at least one otherwise than its graph: otherwise nothing here
would tell matching by name from matching by position, and the test fails rather than passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import models
from tests.support.measured import agreement, lined_up
from tests.support.workloads import Build
from trtqat.data.dataset import open_dataset
from trtqat.evaluation.accuracy import measure_accuracy
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.host.tensorrt_library import load_tensorrt
from trtqat.host.tensorrt_log import make_logger
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

IMAGE = TensorSpec("image", (1, 8, 12, 12))
VECTOR = TensorSpec("vector", (1, 8))


class Deep(nn.Module):
    """The first output is computed last, behind the others."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(5))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = []
        for layer in self.layers:
            image = torch.relu(layer(image))
            found.append(image)
        return found[4], -3 * found[0], 7 * found[2]


class Heads(nn.Module):
    """Names against their alphabet, and heads of different depth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(8, 16, 3, padding=1)
        self.long = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1)
        )
        self.short = nn.Conv2d(16, 4, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.stem(image))
        return {"zeta": self.long(x).mean((2, 3)), "alpha": 5 - self.short(x).mean((2, 3))}


class Joined(nn.Module):
    """Two inputs, and a Concat in the middle; both outputs are ``(N, 4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Linear(8, 8)
        self.joined = nn.Linear(16, 4)
        self.alone = nn.Linear(8, 4)

    def forward(self, vector: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = torch.relu(self.conv(image)).mean((2, 3))
        y = torch.relu(self.linear(vector))
        return self.joined(torch.cat([x, y], 1)), 10 * self.alone(y)


class Mapped(nn.Module):
    """Of the shapes that were seen to be listed the other way round, and one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Linear(8, 8)
        self.map = nn.Conv2d(16, 4, 3, padding=1)
        self.fc = nn.Linear(4, 4)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = torch.relu(self.conv(image))
        y = torch.relu(self.linear(vector))[:, :, None, None].expand(-1, -1, 12, 12)
        maps = self.map(torch.cat([x, y], 1))
        return self.fc(maps.mean((2, 3))), maps, 4 - 2 * torch.relu(maps)


MODELS = {
    "deep": models.Example(Deep, (IMAGE,), 10),
    "heads": models.Example(Heads, (IMAGE,), 8),
    "joined": models.Example(Joined, (VECTOR, IMAGE), 8),
    "mapped": models.Example(Mapped, (IMAGE, VECTOR), 8),
}


def listed_by_tensorrt(plan: Path) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs in the engine's own order."""
    trt = load_tensorrt("This test")
    logger, _ = make_logger(trt)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return inputs, [name for name in names if name not in inputs]


@pytest.fixture(scope="module")
def engines(work: Path, build_engine: Build) -> dict[str, tuple[Path, Path]]:
    """Graph and plan by name of the model."""
    made = {}
    for name, example in MODELS.items():
        graph, plan = work / f"order-{name}.onnx", work / f"order-{name}.engine"
        export_onnx(example.qat(), graph, ExportOptions(example.inputs))
        build_engine(graph, plan, batch=(1, 8, 8))
        made[name] = graph, plan
    return made


def names(model: Engine | OnnxModel) -> list[str]:
    return [spec.name for spec in model.outputs]


def test_tensorrt_lists_outputs_in_another_order(
    engines: dict[str, tuple[Path, Path]],
) -> None:
    """What makes the tests below mean something; if it fails, find a model for this TensorRT."""
    orders = {
        name: (names(OnnxModel(graph)), listed_by_tensorrt(plan)[1])
        for name, (graph, plan) in engines.items()
    }
    for graph_order, engine_order in orders.values():
        assert sorted(graph_order) == sorted(engine_order)
    assert any(graph_order != engine_order for graph_order, engine_order in orders.values()), (
        f"TensorRT kept the graph's order in all of {orders}, so position and name are the same "
        "here, and nothing shows that outputs are matched by name."
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_output_is_compared_with_its_own(
    engines: dict[str, tuple[Path, Path]], name: str
) -> None:
    graph, plan = engines[name]
    example = MODELS[name]
    engine, reference = Engine(plan), OnnxModel(graph, as_written=True)
    assert names(engine) == names(reference)
    assert [spec.name for spec in engine.inputs] == [spec.name for spec in example.inputs]
    report = evaluate(
        engine,
        open_dataset("random:40", engine.inputs),
        EvaluateOptions(8, None, min_sqnr_db=20.0),
        baseline=PyTorchModel(example.qat(), engine.inputs, device="cuda"),
        steps=[reference],
    )
    found = agreement(report)
    assert found is not None
    assert [each.name for each in found.outputs] == names(reference)
    assert report.failed_gates == ()
    assert report.subject.predictions.output == names(reference)[0]
    # Outputs of one shape are so far apart that one in another's place is seen.
    session = engine.session(8)
    batch = open_dataset("random:8", engine.inputs).batch(0, 8)
    arrays = list(session.run(batch.inputs).values())
    session.close()
    assert not any_alike(arrays)


def any_alike(arrays: Sequence[np.ndarray]) -> bool:
    """Whether two of one shape are nearer than the gate lets pass."""
    for index, one in enumerate(arrays):
        for other in arrays[index + 1 :]:
            if one.shape == other.shape and np.sum((one - other) ** 2) < 0.1 * np.sum(one**2):
                return True
    return False


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_metric_reads_the_output_that_it_names(
    engines: dict[str, tuple[Path, Path]], index: int, tmp_path: Path
) -> None:
    """Several queries in flight: the figure is that of one at a time, so nothing is overwritten."""
    _, plan = engines["mapped"]
    engine = Engine(plan)
    name = names(engine)[index]
    arrays: dict[str, Any] = dict(open_dataset("random:77", engine.inputs).batch(0, 77).inputs)
    parts = []
    with engine.session(1) as session:
        for at in range(77):
            outputs = session.run({key: array[at : at + 1] for key, array in arrays.items()})
            parts.append(outputs[name].copy())
    expected = np.concatenate(parts).astype(np.float64)
    np.savez(tmp_path / "data.npz", **arrays, labels=np.zeros_like(expected))
    metric = "mse" if index == 0 else f"mse@{name}"
    report = evaluate(
        engine, f"npz:{tmp_path / 'data.npz'}", EvaluateOptions(8, None, metrics=(metric,))
    )
    found = report.subject.metrics[0]
    # Another batch may be computed by other kernels.
    assert found.value.value == pytest.approx(float(np.mean(expected**2)), rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_without_its_manifest_the_order_is_the_graph_s_or_unknown(
    engines: dict[str, tuple[Path, Path]], name: str, tmp_path: Path
) -> None:
    graph, plan = engines[name]
    bare = tmp_path / "bare.engine"
    bare.write_bytes(plan.read_bytes())
    unknown, known = Engine(bare), Engine(bare, graph=graph)
    assert not unknown.io.is_ordered
    assert known.io.is_ordered
    assert names(known) == names(OnnxModel(graph))
    # By their names they are compared all the same.
    data = open_dataset("random:16", known.inputs)
    for engine in (unknown, known):
        contenders = lined_up(engine, OnnxModel(graph, as_written=True))
        found = agreement(measure_accuracy(contenders, data, batch_size=8))
        assert found is not None
        assert all(each.sqnr_db > 20 for each in found.outputs)
