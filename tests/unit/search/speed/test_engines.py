"""The workshop measures what it builds: here the graphs themselves, by ONNX Runtime on the CPU.

It shows that engines, batches, regions and counts are put together rightly, and nothing of speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.support.examples import exported
from tests.support.segments import Segments, quantized
from trtqat.building.options import BuildOptions
from trtqat.errors import GraphError
from trtqat.evaluation.metrics.named import parse_metric
from trtqat.evaluation.timed_apart import TimingPlaces
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.export import export
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.inspection.engine_layers import Inspection
from trtqat.inspection.inspector import EngineLayer, EngineTensor
from trtqat.inspection.layer_times import LayerTimes
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.search.asked_metric import asked_metric
from trtqat.search.speed import engines as module
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.points import batch_of
from trtqat.search.speed.searched_graph import read_searched, regions_to_search
from trtqat.search.speed.within_target import Counted, Valued
from trtqat.tensors import Arrays

FORM = Form(("2", "4"))


class Bench:
    """Builds nothing, and runs the graph that would be built; its layers are the graph's nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: list[BuildOptions] = []
        self.graphs: dict[Path, Path] = {}
        self.is_told = True
        monkeypatch.setattr(module, "build_plan_apart", self.build)
        monkeypatch.setattr(module, "Engine", self.open)
        monkeypatch.setattr(module, "inspect_engine", self.inspect)

    def build(self, graph: Path, plan: Path, options: BuildOptions) -> None:
        self.options.append(options)
        self.graphs[plan] = graph
        plan.write_bytes(b"plan")

    def open(self, plan: Path, *, plugins: tuple[Path, ...]) -> OnnxModel:
        assert plugins == ()
        return OnnxModel(self.graphs[plan])

    def inspect(self, engine: OnnxModel, *, batch_size: int, passes: int) -> Inspection:
        if not self.is_told:
            raise GraphError("The layers of several profiles cannot be told apart.", "Say more.")
        graph = read_model(next(path for path in self.graphs.values() if path.name == engine.name))
        layers = [layer_of(node) for node in graph.graph]
        times = LayerTimes(({layer.name: 2.0 for layer in layers},) * passes)
        return Inspection({}, tuple(layers), batch_size, times, 1.0, "CUDA graph")


def layer_of(node: Any) -> EngineLayer:
    reads = [each.producer() for each in node.inputs if each is not None]
    is_int8 = any(each is not None and each.op_type == "DequantizeLinear" for each in reads)
    tensor = EngineTensor("x", "int8" if is_int8 else "fp16", "", (2, 3))
    return EngineLayer(node.name, "CaskConvolution", (node.name,), (tensor,), (), "", "")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def workshop(folder: Path, sizes: Sequence[int], data: str = "random:8") -> EngineWorkshop:
    path, _ = exported("residual", folder)
    model = read_model(path)
    infer_shapes(model)
    latency = LatencyOptions(warm_up_ms=0, duration_s=0)
    options = BuildOptions(tactic_sources="-cudnn", optimization_level=3)
    return EngineWorkshop(path, regions_of(model), options, sizes, data, latency, folder)


def test_each_batch_is_measured_and_its_regions_told(bench: Bench, tmp_path: Path) -> None:
    made = workshop(tmp_path, (2, 4))
    found = made.make(Candidate((), FORM))
    assert set(found.times) == set(found.region_ms) == {2, 4}
    for batch, time in found.times.items():
        assert 0 < time.interval.low <= time.median_ms <= time.interval.high
        # Layers are scaled to the whole; weights' pairs are in it as well.
        told = found.region_ms[batch]
        assert set(told) == set(range(len(made.regions)))
        assert 0 < sum(told.values()) <= time.median_ms * 1.0001
    assert found.int8 is not None
    assert found.int8.int8 > 0
    assert found.int8.share is not None
    (options,) = bench.options
    assert (options.precision, options.tactic_sources) == ("int8", "-cudnn")
    assert options.profile == FORM.profile
    assert options.optimization_level is None


def test_floating_point_throughout_is_fp16_without_a_layer_in_int8(
    bench: Bench, tmp_path: Path
) -> None:
    made = workshop(tmp_path, (2,))
    everything = tuple(range(len(made.regions)))
    found = made.make(Candidate(everything, Form(("2",), 5, fp16=False)))
    assert found.int8 is not None
    assert (found.int8.int8, found.int8.unknown, found.int8.share) == (0, 0, 0.0)
    assert found.int8.layers > 1
    (options,) = bench.options
    assert (options.precision, options.optimization_level, options.fp16) == ("fp16", 5, False)


def test_layers_that_cannot_be_told_apart_leave_the_time(bench: Bench, tmp_path: Path) -> None:
    bench.is_told = False
    found = workshop(tmp_path, (2, 4)).make(Candidate((), FORM))
    assert set(found.times) == {2, 4}
    assert found.region_ms == {2: {}, 4: {}}
    assert found.int8 is None


def test_engines_are_compared_at_each_batch(bench: Bench, tmp_path: Path) -> None:
    made = workshop(tmp_path, (2, 4))
    ratios = made.compare(Candidate((), FORM), Candidate((0,), FORM))
    assert set(ratios) == {2, 4}
    assert all(each.interval.low <= each.interval.high for each in ratios.values())
    assert len(bench.options) == 2


def test_right_answers_are_counted_on_all_of_the_data(bench: Bench, tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    arrays: dict[str, Any] = dict(images.batch(0, 22).inputs)
    with OnnxModel(path) as model, model.session(22) as session:
        scores = next(iter(session.run(arrays).values()))
    labels = scores.argmax(1)
    labels[:5] = (labels[:5] + 1) % scores.shape[1]
    np.savez(tmp_path / "val.npz", **arrays, labels=labels)
    made = workshop(tmp_path, (2, 4), f"npz:{tmp_path / 'val.npz'}")
    counted = made.count(Candidate((), FORM))
    assert counted == Counted(17, 22)
    made = replace(made, metric=parse_metric("top1"))
    assert made.count(Candidate((), FORM)) == Valued("top1", 100 * 17 / 22, "%", True)
    with OnnxModel(path) as model:
        wanted = scores.copy()
        wanted[0] += 3
        np.savez(tmp_path / "val.npz", **arrays, labels=wanted)
        (name, *_) = [each.name for each in model.outputs]
    made = replace(made, metric=parse_metric(f"mse@{name}"))
    found = made.count(Candidate((), FORM))
    assert isinstance(found, Valued)
    assert (found.metric, found.unit, found.higher_is_better) == (f"mse@{name}", "", False)
    assert found.value == pytest.approx(9 / 22, rel=1e-3)


class Places(TimingPlaces):
    """Keeps the shapes at which engines are timed."""

    shapes: ClassVar[list[tuple[int, ...]]] = []

    def open(
        self, inputs: Arrays, batch_size: int, wanted: int, *, own_streams: bool = False
    ) -> Any:
        assert {len(each) for each in inputs.values()} == {batch_size}
        self.shapes.extend(each.shape for each in inputs.values())
        return super().open(inputs, batch_size, wanted, own_streams=own_streams)


NARROW, WIDE = "images:2x3x32x64", "images:4x3x32x128"


@pytest.mark.parametrize("data", ["random:8", "npz"])
def test_each_size_is_measured(
    data: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ONNX Runtime, which takes every size; the data has one of them."""
    graph = tmp_path / "m.onnx"
    export(
        quantized(Segments),
        graph,
        inputs=["images:1x3x32x64"],
        dynamic=["images:2,3"],
        exporter="torchscript",
    )
    if data == "npz":
        images = np.ones((3, 3, 32, 128), np.float32)
        np.savez(tmp_path / "d.npz", images=images, labels=np.zeros((3, 32, 128), np.int64))
        data = f"npz:{tmp_path / 'd.npz'}"
    Places.shapes.clear()
    monkeypatch.setattr(module, "TimingPlaces", Places)
    model, _ = read_searched(graph, is_repaired=False)
    regions = regions_to_search(model, {"images": (3, 32, 128)})
    made = EngineWorkshop(
        graph,
        regions,
        BuildOptions(),
        (NARROW, WIDE),
        data,
        LatencyOptions(warm_up_ms=0, duration_s=0),
        tmp_path,
        metric=asked_metric("miou@classes"),
    )
    candidate = Candidate((), Form(shapes=(NARROW, WIDE)))
    found = made.make(candidate)
    assert set(found.times) == set(found.region_ms) == {NARROW, WIDE}
    assert Places.shapes == [(2, 3, 32, 64), (4, 3, 32, 128)]
    assert {batch_of(point): set(told) for point, told in found.region_ms.items()} == {
        2: {0, 1, 2},
        4: {0, 1, 2},
    }
    (options,) = bench.options
    assert options.profile == candidate.form.profile
    assert set(made.compare(candidate, candidate)) == {NARROW, WIDE}
    if not data.startswith("random"):
        counted = made.count(candidate)
        assert isinstance(counted, Valued)
        assert 0 <= counted.value <= 100
