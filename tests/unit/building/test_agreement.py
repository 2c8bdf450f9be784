"""Engines beside their graphs: what is wrong, what is rounding, and what nobody can tell.

Another graph on ONNX Runtime stands for the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtqat.building.agreement import (
    Agreement,
    ComparedOutput,
    compare_with_reference,
    warn_of_wrong_outputs,
)
from trtqat.errors import UsageError
from trtqat.graph.lenses.choices import outputs_of_choices
from trtqat.graph_file.reading import read_model
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Arrays, TensorSpec, random_arrays

Run = Callable[[Arrays], Arrays]


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: Sequence[tuple[str, int]],
    *,
    batch: int | str = "N",
    dtype: int = TensorProto.FLOAT,
    weight: float = 1.0,
    more: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A graph of one input ``x`` ``(N, 4)`` and a constant ``w`` ``(4, 3)``."""
    generator = np.random.default_rng(0)
    floats = (weight * generator.standard_normal((4, 3))).astype(np.float32)
    constants = {"w": floats, **(more or {})}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, [batch, 4])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(made), path)
    return path


PRODUCT = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
FLOAT_OUTPUT: list[tuple[str, int]] = [("y", TensorProto.FLOAT)]


def compare(graph: Path, engine: Run, batch_size: int) -> dict[str, ComparedOutput]:
    with OnnxModel(graph, as_written=True) as reference:
        return compare_with_reference(reference, {"x": (batch_size, 4)}, engine, batch_size)


def running(graph: Path, change: Callable[[np.ndarray], np.ndarray] = lambda y: y) -> Run:
    """Runs a graph, and changes its outputs."""

    def run(inputs: Arrays) -> Arrays:
        with OnnxModel(graph, as_written=True) as model, model.session(1) as session:
            return {name: change(each) for name, each in session.run(inputs).items()}

    return run


@pytest.mark.parametrize("batch_size", [1, 2, 7, 8])
def test_the_same_numbers_are_right_at_any_batch(tmp_path: Path, batch_size: int) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT)
    found = compare(graph, running(graph), batch_size)
    assert found == {"y": ComparedOutput(math.inf, 20.0)}
    assert not found["y"].is_wrong


def test_few_samples_fill_a_batch(tmp_path: Path) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT)
    seen: list[np.ndarray] = []

    def run(inputs: Arrays) -> Arrays:
        seen.append(inputs["x"])
        return running(graph)(inputs)

    compare(graph, run, 6)
    (filled,) = seen
    assert filled.shape == (6, 4)
    assert len(np.unique(filled, axis=0)) == 2
    assert (filled[:2] == filled[2:4]).all()


@pytest.mark.parametrize(
    ("change", "is_wrong"),
    [
        (lambda y: y + 0.01 * np.abs(y), False),
        (lambda y: y[:, ::-1], True),
        # The second sample alone is another one.
        (lambda y: np.concatenate([y[:1], y[:-1]]), True),
        (lambda y: np.where(np.arange(3) == 1, np.nan, y), True),
        (np.zeros_like, True),
    ],
)
def test_what_rounding_does_not_explain_is_wrong(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], is_wrong: bool
) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT)
    assert compare(graph, running(graph, change), 4)["y"].is_wrong is is_wrong


def test_a_network_that_makes_much_of_a_rounding_is_forgiven_as_much(tmp_path: Path) -> None:
    # A sine of a hundred turns: FP16 of its input leaves a twentieth of a turn.
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], name="product")]
    nodes.append(helper.make_node("Sin", ["p"], ["y"], name="sine"))
    graph = write(tmp_path / "m.onnx", nodes, FLOAT_OUTPUT, weight=600.0)

    def half(inputs: Arrays) -> Arrays:
        rounded = {
            name: each.astype(np.float16).astype(np.float32) for name, each in inputs.items()
        }
        return running(graph)(rounded)

    found = compare(graph, half, 2)["y"]
    assert found.sqnr_db < 20
    assert not found.is_wrong
    assert compare(graph, running(graph, np.negative), 2)["y"].is_wrong


def test_without_floats_that_come_in_less_is_asked(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="product"),
    ]
    graph = write(tmp_path / "m.onnx", nodes, FLOAT_OUTPUT, dtype=TensorProto.INT64)
    seen: list[np.dtype[np.int64]] = []

    def run(inputs: Arrays) -> Arrays:
        seen.append(inputs["x"].dtype)
        return running(graph)(inputs)

    assert compare(graph, run, 2)["y"].least_db == 10
    # The graph's type; an engine of TensorRT 8.6 says that it reads INT32, and takes both.
    assert seen == [np.int64]


def test_what_has_no_numbers_is_not_compared(tmp_path: Path) -> None:
    nodes = [
        *PRODUCT,
        helper.make_node("Log", ["y"], ["not all are numbers"], name="log"),
        helper.make_node("Sub", ["y", "y"], ["zeros"], name="zeros"),
        helper.make_node("ArgMax", ["y"], ["indices"], axis=1, name="indices"),
    ]
    names = ("not all are numbers", "zeros")
    outputs = [*((name, TensorProto.FLOAT) for name in names), ("indices", TensorProto.INT64)]
    graph = write(tmp_path / "m.onnx", nodes, [*FLOAT_OUTPUT, *outputs])
    assert set(compare(graph, running(graph), 2)) == {"y"}


def test_a_fixed_batch_runs_as_it_is(tmp_path: Path) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT, batch=3)
    assert compare(graph, running(graph), 3)["y"].sqnr_db == math.inf
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT, batch=100)
    with pytest.raises(UsageError, match="has a fixed batch of 100"):
        compare(graph, running(graph), 100)


def test_what_is_computed_of_a_whole_batch_is_not_compared_with_few_samples(
    tmp_path: Path,
) -> None:
    nodes = [*PRODUCT, helper.make_node("ReduceSum", ["y"], ["sum"], keepdims=0, name="sum")]
    graph = write(tmp_path / "m.onnx", nodes, [*FLOAT_OUTPUT, ("sum", TensorProto.FLOAT)])
    assert set(compare(graph, running(graph), 8)) == {"y"}
    assert set(compare(graph, running(graph), 2)) == {"y", "sum"}


@pytest.mark.parametrize("batch_size", [7, 8])
def test_what_few_samples_do_not_fill_is_no_wrong_engine(tmp_path: Path, batch_size: int) -> None:
    nodes = [
        *PRODUCT,
        helper.make_node("Softmax", ["y"], ["over the batch"], axis=0, name="softmax"),
        helper.make_node("Transpose", ["y"], ["turned"], perm=[1, 0], name="turned"),
        helper.make_node("Reshape", ["turned", "all"], ["by column"], name="by column"),
    ]
    names = ("over the batch", "by column")
    outputs = [*FLOAT_OUTPUT, *((name, TensorProto.FLOAT) for name in names)]
    graph = write(tmp_path / "m.onnx", nodes, outputs, more={"all": np.array([-1])})
    found = compare(graph, running(graph), batch_size)
    assert set(found) == {"y"}
    wrong = compare(graph, running(graph, np.negative), batch_size)
    assert set(wrong) == {"y"}
    assert wrong["y"].is_wrong


def test_an_input_without_a_dimension_is_one_of_floats(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"], name="mul")]
    path = write(tmp_path / "m.onnx", nodes, FLOAT_OUTPUT)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, []))
    onnx.save(model, path)
    with OnnxModel(path, as_written=True) as reference:
        found = compare_with_reference(reference, {"x": (8, 4), "factor": ()}, running(path), 8)
    assert found == {"y": ComparedOutput(math.inf, 20.0)}


def test_sizes_that_a_rounding_changes_are_no_failure(tmp_path: Path) -> None:
    # Which products are above a border that one of them lies at.
    nodes = [
        *PRODUCT,
        helper.make_node("Greater", ["y", "border"], ["are above"], name="greater"),
        helper.make_node("Compress", ["flat", "above"], ["chosen"], name="chosen"),
    ]
    nodes[2:2] = [
        helper.make_node("Reshape", ["y", "all"], ["flat"], name="flat"),
        helper.make_node("Reshape", ["are above", "all"], ["above"], name="above"),
    ]
    inputs = random_arrays([TensorSpec("x", (2, 4))], seed=0)
    plain = write(tmp_path / "plain.onnx", PRODUCT, FLOAT_OUTPUT)
    for border in running(plain)(inputs)["y"].ravel():
        graph = write(
            tmp_path / "m.onnx",
            nodes,
            [("chosen", TensorProto.FLOAT)],
            more={"all": np.array([-1]), "border": border},
        )
        for each in compare(graph, running(graph), 2).values():
            assert not each.is_wrong


def test_outputs_beyond_the_memory_are_not_compared(tmp_path: Path) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT)

    def run(inputs: Arrays) -> Arrays:
        # It takes no memory itself; to compare it would.
        return {"y": np.broadcast_to(np.float32(1), (2, 3 * 2**50))}

    with pytest.raises(UsageError, match="The numbers of output 'y' take"):
        compare(graph, run, 2)


def test_an_input_that_the_engine_has_not_is_named(tmp_path: Path) -> None:
    graph = write(tmp_path / "m.onnx", PRODUCT, FLOAT_OUTPUT)
    with (
        OnnxModel(graph, as_written=True) as reference,
        pytest.raises(UsageError, match="no input 'x'"),
    ):
        compare_with_reference(reference, {}, running(graph), 2)


def test_outputs_behind_what_chooses(tmp_path: Path) -> None:
    nodes = [
        *PRODUCT,
        helper.make_node("TopK", ["y", "k"], ["best", "places"], name="best"),
        helper.make_node("Relu", ["best"], ["scores"], name="scores"),
        helper.make_node("Relu", ["y"], ["all"], name="all"),
    ]
    outputs = [("scores", TensorProto.FLOAT), ("all", TensorProto.FLOAT)]
    path = write(tmp_path / "m.onnx", nodes, outputs, more={"k": np.array([2])})
    assert outputs_of_choices(read_model(path)) == {"scores"}


def test_a_wrong_engine_is_warned_of_by_its_worst_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tmp_path / "m.engine"
    right, off = ComparedOutput(45.0, 20.0), ComparedOutput(5.6, 20.0)
    warn_of_wrong_outputs(plan, None)
    warn_of_wrong_outputs(plan, Agreement(reason="ONNX Runtime is not here."))
    warn_of_wrong_outputs(plan, Agreement({"boxes": right}))
    assert not caplog.records
    warn_of_wrong_outputs(plan, Agreement({"boxes": right, "logits": off}))
    assert f"'{plan}' does not compute what its graph says" in caplog.text
    assert "output 'logits' is at 5.6 dB beside the graph" in caplog.text
    caplog.clear()
    lost = ComparedOutput(math.nan, 20.0)
    warn_of_wrong_outputs(plan, Agreement({"logits": off, "boxes": lost}))
    assert "output 'boxes' and 1 more is at nan dB" in caplog.text
    assert "--no-fp16" in caplog.text


def test_the_output_that_is_named_is_a_wrong_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forgiven, off = ComparedOutput(3.0, -5.0), ComparedOutput(9.0, 20.0)
    warn_of_wrong_outputs(tmp_path / "m.engine", Agreement({"boxes": forgiven, "logits": off}))
    assert "output 'logits' is at 9.0 dB" in caplog.text
    assert "--no-fp16" not in caplog.text
