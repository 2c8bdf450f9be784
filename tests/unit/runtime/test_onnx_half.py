"""FP16 is rounded where it is quantized, also by versions of ONNX Runtime that would not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtqat.errors import GraphError
from trtqat.graph_file.serialized import graphs_of, parse
from trtqat.runtime.onnx_half import rounds_half
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

SCALE = np.float16(0.03)
X = np.linspace(-5, 5, 333, dtype=np.float16).reshape(-1, 3)


def quantizing(*, constant: bool = False, branch: bool = False) -> onnx.ModelProto:
    """A graph that quantizes an FP16 input, or does so in both branches of an If."""
    scale = numpy_helper.from_array(np.array(SCALE), "s")
    zero = numpy_helper.from_array(np.array(3, np.int8), "z")
    makes_scale = [helper.make_node("Constant", [], ["s"], value=scale)] if constant else []

    def pair(output: str) -> list[onnx.NodeProto]:
        quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], [f"{output}q"])
        to_float = helper.make_node("Cast", [f"{output}q"], [output], to=TensorProto.INT32)
        return [*makes_scale, quantize, to_float]

    nodes = pair("y")
    if branch:
        bodies = {
            f"{which}_branch": helper.make_graph(
                pair(which),
                which,
                [],
                [helper.make_tensor_value_info(which, TensorProto.INT32, None)],
            )
            for which in ("then", "else")
        }
        nodes = [helper.make_node("If", ["yes"], ["y"], **bodies)]
    constants = [zero, numpy_helper.from_array(np.array(True), "yes")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 3])],
        constants if constant else [*constants, scale],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def codes(graph: Path | bytes) -> Array:
    with OnnxModel(graph, as_written=True) as model, model.session(len(X)) as session:
        (found,) = session.run({"x": X}).values()
    return found


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ONNX Runtime is given, which says that it is one that truncates."""
    return recorded(monkeypatch, "1.29.0")


def recorded(monkeypatch: pytest.MonkeyPatch, version: str) -> list[Any]:
    really, seen = onnxruntime.InferenceSession, []

    def session(graph: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(graph)
        return really(graph, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "__version__", version)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return seen


@pytest.mark.parametrize("form", [{}, {"constant": True}, {"branch": True}])
def test_codes_are_those_of_rounding(
    form: dict[str, bool], tmp_path: Path, given: list[Any]
) -> None:
    proto = quantizing(**form)
    onnx.save(proto, tmp_path / "m.onnx")
    rounded = np.rint(X.astype(np.float32) / np.float32(SCALE)) + 3
    expected = np.clip(rounded, -128, 127)
    for graph in (tmp_path / "m.onnx", proto.SerializeToString()):
        assert np.array_equal(codes(graph), expected)
        changed = given.pop()
        assert isinstance(changed, bytes)
        assert changed != proto.SerializeToString()
        # So no kernel of FP16 is asked, whatever it would do.
        for inside in graphs_of(parse(changed)):
            casts = {each.output[0] for each in inside.node if each.op_type == "Cast"}
            quantizers = [each for each in inside.node if each.op_type == "QuantizeLinear"]
            assert all(casts.issuperset(each.input[:2]) for each in quantizers)


def test_what_quantizes_no_half_stays(tmp_path: Path, given: list[Any]) -> None:
    proto = quantizing()
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "float"
    proto.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.float32(SCALE), "s"))
    onnx.save(proto, tmp_path / "m.onnx")
    codes(tmp_path / "m.onnx")
    assert given.pop() == str(tmp_path / "m.onnx")
    codes(proto.SerializeToString())
    assert given.pop() == proto.SerializeToString()


def test_what_is_damaged_is_one_sentence(tmp_path: Path, given: list[Any]) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    for damaged in (tmp_path / "damaged.onnx", b"no graph"):
        with pytest.raises(GraphError):
            codes(damaged)
    assert given == [b"no graph"]


def test_weights_in_a_file_stay_there(tmp_path: Path, given: list[Any]) -> None:
    proto = quantizing()
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    codes(tmp_path / "m.onnx")
    operators = [node.op_type for node in parse(given.pop()).graph.node]
    assert operators == ["Cast", "Cast", "QuantizeLinear", "Cast"]


@pytest.mark.parametrize(
    ("version", "rounds"),
    [("1.20.1", False), ("1.29.0", False), ("1.30.0", True), ("1.32.0+cpu", True), ("2.0", True)],
)
def test_versions(version: str, rounds: bool) -> None:
    module: Any = SimpleNamespace(__version__=version)
    assert rounds_half(module) is rounds


@pytest.mark.parametrize(("version", "changes"), [("1.29.0", True), ("1.30.0", False)])
def test_only_those_that_truncate_get_another_graph(
    version: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(quantizing(), tmp_path / "m.onnx")
    given = recorded(monkeypatch, version)
    codes(tmp_path / "m.onnx")
    assert (given != [str(tmp_path / "m.onnx")]) is changes
