"""A float ONNX file as the baseline: quantize it, and evaluate what became of it beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.commands import in_process
from tests.support.float_graphs import write_float
from tests.support.graphs import Graph
from trtqat.pixels import Pixels
from trtqat.tensors import Array

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = Pixels("nhwc", (0.5, 0.4, 0.3), (0.3, 0.25, 0.2))
NAME = "float.onnx on ONNX Runtime (CPU)"
CLASSES = 8
QUIET = ("--batch-size", 8, "--duration", 0)


def net() -> Graph:
    """Two outputs, of which the first one is a classifier's."""
    graph = Graph(("N", 3, 6, 6))  # type: ignore[arg-type]
    graph.conv("x", "a", (CLASSES, 3), quantized=False)
    graph.conv(graph.node("Relu", ["a"], "r"), "b", (CLASSES, CLASSES), kernel=3, quantized=False)
    graph.node("Flatten", [graph.node("GlobalAveragePool", ["b"], "pooled")], "y")
    return graph


def predicted(folder: Path, images: Array) -> Array:
    """What the float graph says itself, by ONNX Runtime alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "float.onnx"), providers=["CPUExecutionProvider"]
    )
    found: Array = session.run(["y"], {"x": images})[0]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("baseline")
    file = write_float(net(), made, "y", "r")
    images = np.random.default_rng(1).integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    floats = PIXELS.normalise(images)
    np.savez(made / "train.npz", x=floats)
    # The float graph is right but for every eighth image.
    labels = predicted(made, floats).argmax(axis=1)
    labels[::8] = (labels[::8] + 1) % CLASSES
    np.savez(made / "floats.npz", x=floats, labels=labels)
    np.savez(made / "bytes.npz", x=images, labels=labels)
    done = in_process(
        made, "quantize", file.graph.name, "--data", "npz:train.npz", "-o", "int8.onnx"
    )
    assert done.returncode == 0, done.stderr
    for name, words in (
        ("pixels", ("--pixels", "x:nhwc", "--mean", "0.5,0.4,0.3", "--std", "0.3,0.25,0.2")),
        ("codes", ("--quantized-input",)),
    ):
        done = in_process(made, "export", "int8.onnx", "-o", f"{name}.onnx", *words)
        assert done.returncode == 0, done.stderr
    return made


def evaluated(folder: Path, model: str, *words: object, code: int = 0) -> tuple[Any, str]:
    data = "npz:bytes.npz" if model == "pixels.onnx" else "npz:floats.npz"
    done = in_process(
        folder, "eval", model, "--data", data, "--baseline", "float.onnx", "--json", "r.json",
        *(QUIET if "--duration" not in words else ()), *words,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads((folder / "r.json").read_text()), done.stdout


@pytest.mark.parametrize("model", ["int8.onnx", "pixels.onnx", "codes.onnx"])
def test_every_form_of_input_has_the_same_baseline(folder: Path, model: str) -> None:
    report, said = evaluated(folder, model, "--metric", "top1", "--max-drop", "top1:30")
    subject, baseline = report["contenders"]
    assert (baseline["role"], baseline["name"], baseline["device"]) == ("baseline", NAME, "cpu")
    assert NAME in said
    assert baseline["accuracy"]["top1"] == 35
    classes = predicted(folder, np.load(folder / "floats.npz")["x"]).argmax(axis=1)
    assert baseline["predictions"]["classes"] == " ".join(map(str, classes))
    agreement = subject["to_baseline"]["agreement"]
    assert [each["name"] for each in agreement["outputs"]] == ["y", "r"]
    assert all(20 < each["sqnr_db"] < 80 for each in agreement["outputs"])
    assert subject["metrics"][0]["to_baseline"]["value"] == pytest.approx(
        subject["metrics"][0]["value"]["value"] - 87.5
    )
    assert subject["to_baseline"]["paired"] is not None


def test_a_graph_is_timed_beside_a_graph_and_gates_hold(folder: Path) -> None:
    words = ("--duration", 0.05, "--warm-up-ms", 0, "--batch-size", 8, "--min-speedup", 0.001)
    report, said = evaluated(folder, "pixels.onnx", *words)
    _, baseline = report["contenders"]
    (timing,) = baseline["timings"]
    assert timing["timing"]["mode"] == "ONNX Runtime, CPU, wall clock"
    assert timing["speedup"]["value"] > 0
    assert "speed-up" in said
    report, _ = evaluated(folder, "int8.onnx", "--min-sqnr-db", 200, code=3)
    assert len(report["failed_gates"]) == 2


def test_the_report_is_a_baseline_of_later(folder: Path) -> None:
    first, _ = evaluated(folder, "int8.onnx", "--metric", "top1")
    done = in_process(
        folder, "eval", "int8.onnx", "--data", "npz:floats.npz", "--baseline-report", "r.json",
        "--metric", "top1", "--json", "again.json", *QUIET,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "again.json").read_text())
    assert again["contenders"][0]["metrics"] == first["contenders"][0]["metrics"]
    assert again["contenders"][1]["name"].startswith(f"{NAME} (recorded on ")


REFUSED: tuple[tuple[tuple[object, ...], str], ...] = (
    (("--checkpoint", "train.npz"), "'float.onnx' is a graph; --checkpoint is for a PyTorch"),
    (("--factory-arg", "width=2"), "'float.onnx' is a graph; --factory-arg is for a PyTorch"),
    (("--baseline-precision", "fp16"), "'float.onnx' is a graph; --baseline-precision is for"),
    (("--baseline-report", "r.json"), "--baseline and --baseline-report name two baselines"),
    (("--baseline", "none.onnx"), "There is no ONNX file 'none.onnx'"),
    # It takes bytes, and the model floats.
    (("--baseline", "pixels.onnx"), "takes x:?x6x6x3:uint8, and 'int8.onnx' x:?x3x6x6:float32"),
    (("--json", "float.onnx"), "would overwrite an input"),
)


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_what_is_refused(folder: Path, words: tuple[object, ...], says: str) -> None:
    done = in_process(
        folder, "eval", "int8.onnx", "--data", "npz:floats.npz", "--baseline", "float.onnx", *QUIET,
        *words,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_other_outputs_are_named(folder: Path) -> None:
    proto = onnx.load(str(folder / "float.onnx"))
    del proto.graph.output[1]
    proto.graph.node.append(helper.make_node("Neg", ["y"], ["z"], name="/z"))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    onnx.save(proto, str(folder / "other.onnx"))
    done = in_process(
        folder, "eval", "int8.onnx", "--data", "npz:floats.npz", "--baseline", "other.onnx", *QUIET
    )
    assert done.returncode == 2, done.stdout
    assert "'other.onnx on ONNX Runtime (CPU)' returns the outputs 'y', 'z', but" in done.stderr
    assert "but 'int8.onnx' has 'y', 'r'." in done.stderr
    assert "Give the float graph that it was quantized from." in done.stderr
