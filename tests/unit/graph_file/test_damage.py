"""A damaged ONNX file is refused where it is read, in a sentence, so that no pass has to look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.support.read_graphs import assert_refused, convolution, initializer, saved
from trtqat.graph_file.reading import read_model
from trtqat.runtime.onnx_model import OnnxModel

Damage = Callable[[onnx.ModelProto], None]


def with_branches() -> onnx.ModelProto:
    """An If that reads a tensor from outside, a Loop, and a call of a function."""
    then = helper.make_graph([helper.make_node("Relu", ["dq"], ["t"])], "then", [], [_untyped("t")])
    other = helper.make_graph([helper.make_node("Neg", ["dq"], ["e"])], "e", [], [_untyped("e")])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Add", ["carried", "chosen"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["N", 4]),
        ],
        [_untyped("again"), _untyped("more")],
    )
    parameters = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *parameters], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", *parameters], ["dq"], "dequantize"),
        helper.make_node("If", ["is"], ["chosen"], "if", then_branch=then, else_branch=other),
        helper.make_node("Twice", ["chosen"], ["twice"], "call", domain="own"),
        helper.make_node("Loop", ["count", "", "twice"], ["y"], "loop", body=body),
    ]
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"], "sum")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(np.float32(0.05), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
            numpy_helper.from_array(np.array(True), "is"),
            numpy_helper.from_array(np.array(2), "count"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[twice], ir_version=8)


def _untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)


def node(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    functions = [each for function in proto.functions for each in function.node]
    found: onnx.NodeProto = next(n for n in (*proto.graph.node, *functions) if n.name == name)
    return found


def retyped(proto: onnx.ModelProto, name: str, kind: int) -> None:
    tensor = initializer(proto, name)
    value: Any = b"0" if kind == TensorProto.STRING else 0
    values = [value] * int(np.prod(tensor.dims))
    tensor.CopyFrom(helper.make_tensor(name, kind, tensor.dims, values))


def branch(proto: onnx.ModelProto) -> onnx.GraphProto:
    (found,) = (each for each in node(proto, "if").attribute if each.name == "then_branch")
    graph: onnx.GraphProto = found.g
    return graph


def declare(proto: onnx.ModelProto, name: str, kind: int, *shape: int | str) -> None:
    others = [each for each in proto.graph.value_info if each.name != name]
    copies = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in others]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend([*copies, helper.make_tensor_value_info(name, kind, shape)])


def not_utf8(proto: onnx.ModelProto, text: bytes) -> onnx.ModelProto:
    content = proto.SerializeToString().replace(text, b"\xff" + text[1:])
    damaged: onnx.ModelProto = onnx.ModelProto.FromString(content)
    return damaged


def _foreign_pair(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = node(proto, "/x.dq")
    found.domain = "com.microsoft"
    del found.input[1:]


# Each with what the message must say besides the file.
PLAIN: dict[str, tuple[Damage, str]] = {
    "no version": (lambda p: p.ClearField("ir_version"), "no version"),
    "cycle": (lambda p: node(p, "/conv").input.__setitem__(0, "y"), "reads what is computed from"),
    "no such input": (
        lambda p: node(p, "/norm").input.__setitem__(0, "gone"),
        r"'gone', which node '/norm' \(BatchNormalization\)",
    ),
    "no such output": (lambda p: setattr(p.graph.output[0], "name", "gone"), "'gone'"),
    "no output": (lambda p: p.graph.output.pop(), "no output"),
    "output twice": (lambda p: p.graph.output.append(p.graph.output[0]), "'y' is there twice"),
    "input twice": (lambda p: p.graph.input.append(p.graph.input[0]), "'x' is there twice"),
    "made twice": (lambda p: node(p, "/y").output.__setitem__(0, "pool"), "'pool' is made twice"),
    "overwritten": (lambda p: node(p, "/y").output.__setitem__(0, "x"), "'x' is made twice"),
    "initializer twice": (
        lambda p: p.graph.initializer.append(p.graph.initializer[0]),
        "'x.scale' is there twice",
    ),
    "too few inputs": (
        lambda p: node(p, "/norm").input.pop(4),
        r"'/norm' \(BatchNormalization\) lacks its input 4",
    ),
    "parameters of two shapes": (
        lambda p: initializer(p, "norm.b").CopyFrom(
            helper.make_tensor("norm.b", TensorProto.FLOAT, [3], [0] * 3)
        ),
        r"node '/norm' \(BatchNormalization\)",
    ),
    "scale and zero-point of two shapes": (
        lambda p: initializer(p, "conv.weight.zero_point").CopyFrom(
            helper.make_tensor("conv.weight.zero_point", TensorProto.INT8, [2, 2], [0] * 4)
        ),
        "'conv.weight.scale' of .4. and 'conv.weight.zero_point' of .2, 2., which must be of one",
    ),
    "no inputs": (lambda p: node(p, "/pool").ClearField("input"), r"'/pool' \(MaxPool\) lacks"),
    "an empty input": (lambda p: node(p, "/y").input.__setitem__(0, ""), r"'/y' \(Relu\) lacks"),
    "too many inputs": (lambda p: node(p, "/y").input.append("x"), "has 2 inputs; it takes 1"),
    "too many outputs": (lambda p: node(p, "/y").output.append("z"), "has 2 outputs; it makes 1"),
    "no outputs": (lambda p: node(p, "/y").ClearField("output"), "'/y' .* no output"),
    "no operator": (lambda p: node(p, "/y").ClearField("op_type"), "'/y' has no operator"),
    "pair of another domain": (
        _foreign_pair,
        "'/x.dq' .DequantizeLinear. of the domain 'com.microsoft' lacks tensor or scale",
    ),
    "no such domain": (lambda p: setattr(node(p, "/y"), "domain", "own"), "domain 'own'"),
    "opset of tomorrow": (lambda p: setattr(p.opset_import[0], "version", 999), "opset 999"),
    "opset below 1": (lambda p: setattr(p.opset_import[0], "version", -1), "version -1"),
    "two opsets": (lambda p: p.opset_import.append(helper.make_opsetid("", 16)), "two versions"),
    "attribute without a type": (
        lambda p: setattr(node(p, "/norm").attribute[0], "type", AttributeProto.UNDEFINED),
        "'epsilon' of node '/norm' .* has no type",
    ),
    "attribute of another type": (
        lambda p: node(p, "/norm").attribute[0].CopyFrom(helper.make_attribute("epsilon", "1e-5")),
        "'epsilon' of node '/norm' .* is STRING, not FLOAT",
    ),
    "attribute that holds something else": (
        lambda p: setattr(node(p, "/norm").attribute[0], "i", 3),
        "says that it is FLOAT",
    ),
    "attribute twice": (
        lambda p: node(p, "/conv").attribute.append(node(p, "/conv").attribute[0]),
        "'pads' of node '/conv' .* there twice",
    ),
    "attribute of nobody": (
        lambda p: node(p, "/y").attribute.append(helper.make_attribute("alpha", 0.5)),
        "attribute 'alpha', which it does not take",
    ),
    "attribute of a function, outside": (
        lambda p: setattr(node(p, "/conv").attribute[0], "ref_attr_name", "pads"),
        "that of a function",
    ),
    "required attribute": (
        lambda p: node(p, "/pool").ClearField("attribute"),
        "'/pool' .* lacks its attribute 'kernel_shape'",
    ),
    "too little data": (
        lambda p: setattr(initializer(p, "conv.weight"), "raw_data", b"1234567"),
        r"'conv.weight', FLOAT of \(4, 4, 3, 3\), takes 576 bytes; 7 are stored",
    ),
    "no data": (lambda p: initializer(p, "conv.weight").ClearField("raw_data"), "'conv.weight'"),
    "a terabyte declared": (
        lambda p: initializer(p, "norm.g").dims.__setitem__(0, 2**38),
        "takes 1099511627776 bytes; 16 are stored",
    ),
    "dimension below 0": (lambda p: initializer(p, "norm.g").dims.__setitem__(0, -4), "'norm.g'"),
    "elements of no type": (lambda p: setattr(initializer(p, "norm.g"), "data_type", 0), "norm.g"),
    "elements of type 99": (lambda p: setattr(initializer(p, "norm.g"), "data_type", 99), "99"),
    "in two ways": (
        lambda p: initializer(p, "norm.g").float_data.extend([1, 2, 3, 4]),
        "'norm.g' is stored in two ways",
    ),
    "in the wrong way": (
        lambda p: initializer(p, "norm.g").CopyFrom(
            TensorProto(name="norm.g", dims=[4], data_type=1, int64_data=[1, 2, 3, 4])
        ),
        "stored as int64_data",
    ),
    "texts for numbers": (
        lambda p: retyped(p, "conv.weight", TensorProto.STRING),
        "reads 'conv.weight', whose elements are STRING",
    ),
    "two types in one sum": (
        lambda p: retyped(p, "norm.g", TensorProto.DOUBLE),
        "'/norm' .* 'norm.b' of FLOAT|'norm.g' of DOUBLE",
    ),
    "input of no type": (lambda p: p.graph.input[0].ClearField("type"), "'x' has no type"),
    "input of type 0": (
        lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 0),
        "'x' is declared with the element type UNDEFINED",
    ),
    "declared as another type": (
        lambda p: declare(p, "x.q", TensorProto.INT64, 2, 4, 5, 5),
        r"'x.q' is declared as INT64, but node '/x.q' \(QuantizeLinear\) makes INT8",
    ),
    "no zero-point, declared as INT8": (
        lambda p: node(p, "/x.q").input.__setitem__(2, ""),
        "makes UINT8, as ONNX has it without a zero-point",
    ),
    "shapes that do not fit": (
        lambda p: node(p, "/norm").input.__setitem__(1, "x.scale"),
        "do not fit together: node '/norm'",
    ),
}  # fmt: skip
BRANCHES: dict[str, tuple[Damage, str]] = {
    "no such input": (
        lambda p: branch(p).node[0].input.__setitem__(0, "gone"),
        r"'gone', which node 't' \(Relu\)",
    ),
    "no inputs": (lambda p: branch(p).node[0].ClearField("input"), r"node 't' \(Relu\) lacks"),
    "no such output": (lambda p: setattr(branch(p).output[0], "name", "gone"), "'gone'"),
    "reads what the node makes": (
        lambda p: branch(p).node[0].input.__setitem__(0, "chosen"),
        r"'if' \(If\) reads what is computed from its own output 'chosen'",
    ),
    "no branch": (lambda p: node(p, "if").attribute[0].ClearField("g"), "_branch' of node 'if'"),
    "function reads from outside": (
        lambda p: node(p, "sum").input.__setitem__(0, "x"),
        "'x', which node 'sum'",
    ),
    "function twice": (lambda p: p.functions.append(p.functions[0]), "'own::Twice' is there twice"),
    "function that calls itself": (
        lambda p: p.functions[0].node.append(
            helper.make_node("Twice", ["b"], ["c"], "again", domain="own")
        ),
        "'own::Twice' calls itself",
    ),
    "too many inputs of a call": (lambda p: node(p, "call").input.append("x"), "than its function"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_damage_is_one_sentence(name: str, tmp_path: Path) -> None:
    proto = convolution().proto("y")
    damage, expected = PLAIN[name]
    damage(proto)
    assert_refused(saved(proto, tmp_path), expected)


@pytest.mark.parametrize("name", BRANCHES)
def test_damage_in_branches_and_functions(name: str, tmp_path: Path) -> None:
    proto = with_branches()
    damage, expected = BRANCHES[name]
    damage(proto)
    assert_refused(saved(proto, tmp_path), expected)


@pytest.mark.parametrize("text", [b"conv.weight", b"/norm", b"epsilon", b"Relu", b"graph"])
def test_texts_that_are_not_utf8(text: bytes, tmp_path: Path) -> None:
    proto = not_utf8(convolution().proto("y"), text)
    assert_refused(saved(proto, tmp_path), r"\\xff.* is not UTF-8")


def test_what_is_right_passes(tmp_path: Path) -> None:
    for proto in (convolution().proto("y"), with_branches()):
        path = saved(proto, tmp_path)
        assert len(read_model(path).graph) == len(proto.graph.node)
        OnnxModel(path).close()
