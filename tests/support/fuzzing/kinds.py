"""The kinds of input: a sound file of each, what happens to it, and who reads it.

Another kind is another line of ``KINDS``.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from tests.support.fuzzing.mutations import (
    Mutation,
    change_array_header,
    change_bytes,
    change_graph,
    change_json,
    change_members,
    change_state,
)
from tests.support.graphs import Graph, batch_norm
from tests.support.plans import make_manifest, make_plan
from tests.support.rtx_plans import FLAVOUR, make_rtx_manifest, make_rtx_plan
from trtqat.plan.coverage import Coverage, LayerCoverage
from trtqat.runtime.protocol import Model

Reader = Callable[[Path, Path], None]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        suffix: Of its file.
        make: A sound one.
        readers: Functions of a file and an empty folder to write to, one for each number.
        changes: What can happen to it besides a change of its bytes.
        count: How many damaged files a test reads: few more reach another line of trtqat.
    """

    suffix: str
    make: Callable[[], bytes]
    readers: tuple[Reader, ...]
    changes: tuple[Mutation, ...]
    count: int

    def mutate(self, number: int, sound: bytes, name: str) -> bytes:
        """The damaged file of a number: the same number, the same file."""
        from random import Random

        random = Random(f"{name} {number}")
        change = random.choice((change_bytes, *self.changes, *self.changes))
        return change(sound, random)

    def read(self, number: int, file: Path, folder: Path) -> None:
        """Lets one of the readers have the file."""
        self.readers[number % len(self.readers)](file, folder)


def residual() -> bytes:
    """Convolutions, BatchNorm, an Add and a pool, all of them quantized."""
    graph = Graph((), inputs={"x": ("N", 4, 6, 6)})
    graph.conv(graph.pair("x", 0.1), "a", kernel=3)
    graph.batch_norm("a", batch_norm(4), "b")
    graph.node("Relu", ["b"], "c")
    graph.conv(graph.pair("c", 0.05), "d")
    graph.node("Add", [graph.pair("d", 0.04), graph.pair("x", 0.1, name="e")], "f")
    graph.node("GlobalAveragePool", ["f"], "g")
    graph.node("Flatten", ["g"], "y", axis=1)
    return bytes(graph.proto("y").SerializeToString())


def products() -> bytes:
    """Matrix products with weights and without, Softmax, LayerNormalization, shape arithmetic."""
    graph = Graph((), inputs={"x": ("N", 5, 8)})
    random = np.random.default_rng(0)
    weight = random.normal(size=(8, 8)).astype(np.float32)
    quantized = graph.pair(graph.constant("w", weight), np.abs(weight).max(axis=0) / 127, 1)
    graph.node("MatMul", [graph.pair("x", 0.05), quantized], "a")
    graph.node("Transpose", [graph.pair("x", 0.05, name="t")], "b", perm=[0, 2, 1])
    graph.node("MatMul", [graph.pair("a", 0.1), "b"], "c")
    graph.node("Softmax", ["c"], "d", axis=-1)
    graph.node("MatMul", [graph.pair("d", 1 / 127), graph.pair("a", 0.1, name="v")], "e")
    ones = graph.constant("ones", np.ones(8, np.float32))
    graph.node("LayerNormalization", ["e", ones], "f")
    graph.node("Shape", ["f"], "s")
    graph.node("Reshape", ["f", "s"], "g")
    graph.constant("slope", np.full(8, 0.1, np.float32))
    graph.node("PRelu", ["g", "slope"], "y")
    return bytes(graph.proto("y").SerializeToString())


def two_sides() -> bytes:
    """Two inputs, two outputs, weights that are INT8 already, and a float layer."""
    graph = Graph((2, 4, 6, 6), inputs={"z": (2, 4, 6, 6)})
    codes = np.random.default_rng(1).integers(-127, 128, (4, 4, 1, 1)).astype(np.int8)
    scale = graph.constant("k.scale", np.full(4, 0.01, np.float32))
    zero = graph.constant("k.zero", np.zeros(4, np.int8))
    graph.node("DequantizeLinear", [graph.constant("k", codes), scale, zero], "k.dq", axis=0)
    graph.node("Conv", [graph.pair("x", 0.1), "k.dq"], "a")
    graph.node("Concat", [graph.pair("a", 0.1), graph.pair("z", 0.1)], "b", axis=1)
    graph.node("MaxPool", ["b"], "c", kernel_shape=[2, 2], strides=[2, 2])
    graph.conv("c", "y", channels=(4, 8), quantized=False)
    graph.node("Sigmoid", ["a"], "w")
    return bytes(graph.proto("y", "w").SerializeToString())


def inspect_graph(file: Path, folder: Path) -> None:
    from trtqat.graph.lenses.macs import summarize
    from trtqat.graph.lint import lint
    from trtqat.graph_file.reading import read_model

    model = read_model(file)
    lint(model)
    summarize(model)


def export_graph(file: Path, folder: Path) -> None:
    from trtqat.exporting.from_onnx import improve_onnx
    from trtqat.exporting.options import ExportOptions
    from trtqat.graph.passes.improvements import ImproveOptions

    options = ExportOptions((), improve=ImproveOptions(repair=True))
    improve_onnx(file, folder / "out.onnx", options)


def evaluate_graph(file: Path, folder: Path) -> None:
    from trtqat.runtime.opening import open as open_model

    _evaluate(open_model(file), "random:4")


def evaluate_arrays(file: Path, folder: Path) -> None:
    _evaluate(_sound_graph(folder.parent / "sound.onnx"), f"npz:{file}")


@cache
def _sound_graph(path: Path) -> Model:
    """Opened once: only the arrays are damaged."""
    from trtqat.runtime.opening import open as open_model

    path.write_bytes(residual())
    return open_model(path)


def _evaluate(model: Model, data: str) -> None:
    from trtqat.data.dataset import open_dataset
    from trtqat.evaluation.evaluate import evaluate
    from trtqat.evaluation.options import EvaluateOptions

    low, high = model.batch_range
    options = EvaluateOptions(min(max(low, 2), high or 2), None)
    evaluate(model, open_dataset(data, model.inputs), options).to_dict()


def arrays() -> bytes:
    file = io.BytesIO()
    random = np.random.default_rng(0)
    images = random.normal(size=(4, 4, 6, 6)).astype(np.float32)
    np.savez(file, images=images, labels=np.arange(4))
    return file.getvalue()


def doctor_manifest(file: Path, folder: Path) -> None:
    (folder / "m.engine").write_bytes(make_plan(kind=2))
    file.replace(folder / "m.engine.json")
    _doctor(folder / "m.engine")


def doctor_rtx_manifest(file: Path, folder: Path) -> None:
    (folder / "m.engine").write_bytes(make_rtx_plan())
    file.replace(folder / "m.engine.json")
    _doctor(folder / "m.engine", "8.9")


def doctor_plan(file: Path, folder: Path) -> None:
    _doctor(file)


def doctor_rtx_plan(file: Path, folder: Path) -> None:
    _doctor(file, "8.9")


def _doctor(plan: Path, capability: str = "9.0") -> None:
    from trtqat.host.description import Host
    from trtqat.host.flavours import TensorRTFlavour
    from trtqat.host.gpu import Gpu
    from trtqat.host.preflight import preflight

    gpu = Gpu("A GPU", capability, "580.1", "13.0", memory_bytes=2**36, free_bytes=2**35)
    flavours = (TensorRTFlavour("full", "tensorrt", "8.6.0", ""), FLAVOUR)
    host = Host("Linux-x86_64", "3.10", "580.1", "13.0", (gpu,), "", flavours, (), {})
    found = preflight(plan, host)
    dataclasses.asdict(found)
    found.require(plan)


def manifest() -> bytes:
    return make_manifest(make_plan(kind=2)).to_json().encode()


def rtx_manifest() -> bytes:
    layer = LayerCoverage(
        *("/conv", "Conv", True, True, 10, "conv", "t", ("/relu",), "int8", None, "")
    )
    coverage = Coverage((layer,), ("r",), (), (), {"conv": 0.5})
    made = dataclasses.replace(make_rtx_manifest(make_rtx_plan()), coverage=coverage)
    return made.to_json().encode()


def public_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return (
        Ed25519PrivateKey.from_private_bytes(bytes(32))
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def read_key(file: Path, folder: Path) -> None:
    from trtqat.plan.signature import read_public_key

    read_public_key(file)


def report() -> bytes:
    import json

    from tests.support.measured import NumpyModel, Samples, make_samples
    from trtqat.evaluation.evaluate import evaluate
    from trtqat.evaluation.options import EvaluateOptions
    from trtqat.evaluation.timing import LatencyOptions

    data = Samples(*make_samples(9))
    options = EvaluateOptions(4, LatencyOptions(0, 0), sweep=(1, 2))
    found = evaluate(NumpyModel(), data, options, baseline=NumpyModel())
    return json.dumps(found.to_dict()).encode()


def read_report(file: Path, folder: Path) -> None:
    from trtqat.evaluation.recorded import read_baseline

    read_baseline(file)


def checkpoint() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"state_dict": torch.nn.Linear(6, 4).state_dict(), "epoch": 3}, file)
    return file.getvalue()


def load_checkpoint(file: Path, folder: Path) -> None:
    from trtqat.exporting.loading import load_model
    from trtqat.exporting.source import ModelSource

    load_model(ModelSource("torch.nn:Linear", file, {"in_features": 6, "out_features": 4}))


def layers() -> bytes:
    path = Path(__file__).parents[2] / "data" / "inspector-8.6" / "vgg16.json"
    return path.read_bytes()


def read_layer_file(file: Path, folder: Path) -> None:
    from trtqat.inspection.inspector import read_layers
    from trtqat.inspection.roofline import batch_size_of

    batch_size_of(read_layers(file), None)


def profile() -> bytes:
    return b'[{"count": 9}, {"name": "a", "timeMs": 2.5, "averageMs": 0.3, "medianMs": 0.2}]'


def read_times(file: Path, folder: Path) -> None:
    from trtqat.inspection.layer_times import read_profile

    read_profile(file)


_OF_GRAPHS = (inspect_graph, export_graph, evaluate_graph)

KINDS = {
    "residual graph": Kind(".onnx", residual, _OF_GRAPHS, (change_graph,), 400),
    "graph of products": Kind(".onnx", products, _OF_GRAPHS, (change_graph,), 500),
    "graph with two sides": Kind(".onnx", two_sides, _OF_GRAPHS, (change_graph,), 450),
    "npz": Kind(".npz", arrays, (evaluate_arrays,), (change_members, change_array_header), 450),
    "checkpoint": Kind(".pt", checkpoint, (load_checkpoint,), (change_members, change_state), 600),
    "manifest": Kind(".json", manifest, (doctor_manifest,), (change_json,), 400),
    "manifest of an RTX plan": Kind(
        ".json", rtx_manifest, (doctor_rtx_manifest,), (change_json,), 150
    ),
    "plan": Kind(".engine", make_plan, (doctor_plan,), (), 100),
    "RTX plan": Kind(".engine", make_rtx_plan, (doctor_rtx_plan,), (), 200),
    "report": Kind(".json", report, (read_report,), (change_json,), 100),
    "layers": Kind(".json", layers, (read_layer_file,), (change_json,), 100),
    "profile": Kind(".json", profile, (read_times,), (change_json,), 100),
    "key": Kind(".pem", public_key, (read_key,), (), 50),
}
