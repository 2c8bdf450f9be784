"""Lint: every rule finds its fault, once and alone, and keeps silent where it is nearly one."""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.graphs import Graph
from tests.support.lint_cases import CASES
from tests.support.lint_places import around, two_parts
from tests.support.linting import SHAPE, Case, block, found, graph
from trtqat.graph.lint import RULES, lint
from trtqat.graph.lint.finding import Rule
from trtqat.graph.passes.improvements import ImproveOptions, improve


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_fault_is_one_finding_of_one_rule(case: Case) -> None:
    findings = found(case.faulty(), case.rule, case.for_)
    assert [(each.rule, each.where) for each in findings] == [(case.rule, case.where)]
    assert case.says in findings[0].problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_what_is_nearly_a_fault_is_none(case: Case) -> None:
    assert found(case.sound(), case.rule, case.for_) == []


def test_zeros_around_a_tensor_are_codes_and_other_numbers_are_not() -> None:
    assert found(around(0)()) == []
    assert "one-sided" in {each.rule for each in found(around(1)())}


def test_a_concat_of_equal_pairs_is_float_where_nobody_saw_otherwise() -> None:
    for target in ("8.6", "10", "11"):
        (finding,) = found(two_parts(0.1)(), for_=target)
        assert (finding.rule, finding.where) == ("float-output", "/parts")


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    identifiers = Counter(rule.identifier for rule in RULES)
    assert max(identifiers.values()) == 1
    assert {case.rule for case in CASES} == set(identifiers)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.identifier)
def test_every_rule_says_what_to_do(rule: Rule) -> None:
    assert rule.check.__doc__
    assert rule.remedy.endswith(".")
    assert rule.repair in (
        "",
        "fold-batch-norm",
        "fold-weight-moves",
        "remove-pairs",
        "share-pairs",
        "standard-pairs",
        "tidy",
    )
    if not rule.example.startswith("trtqat "):
        assert ast.parse(rule.example).body


def test_what_tensorrt_refuses_comes_first_and_notes_last() -> None:
    made = graph()
    made.node("Softmax", [made.pair("x", 0.0)], "soft")  # a refusal, and an idle pair
    made.conv("soft", "y", quantized=False)  # a note
    findings = lint(made.model("y"))
    assert [(each.severity, each.cost) for each in findings] == [
        ("warning", "refusal"),
        ("warning", "speed"),
        ("note", "speed"),
    ]


def test_graph_without_names_and_with_every_kind_of_missing_input() -> None:
    made = graph()
    made.constant("no", np.zeros(0, np.float32))
    half = made.conv(made.pair("x", -0.1), "c", kernel=3)
    made.node("Clip", [half, "", ""], "clipped")
    made.node("Resize", ["clipped", "", made.constant("r", np.ones(4, np.float32))], "y")
    proto = made.proto("y")
    for node in proto.graph.node:
        node.name = ""
    proto.graph.node.append(helper.make_node("Softmax", ["x.dq"], ["z"]))
    findings = found(ir.from_proto(proto))
    assert [each.where for each in findings] == ["x.scale"]
    proto.graph.node.append(helper.make_node("MatMulInteger", ["x.q", "x.q"], ["m"]))
    findings = found(ir.from_proto(proto))
    assert [each.where for each in findings] == ["x.scale", "m"]


def resnet_block(made: Graph, value: str, name: str, *, projection: bool) -> str:
    """As NVIDIA places the pairs: on each layer's input and weight, and on the skip operand."""
    entry = made.pair(value, 0.05)
    first = block(made, entry, f"{name}.first")
    last = made.conv(made.pair(first, 0.04), f"{name}.last", kernel=3)
    skip = made.pair(made.conv(entry, f"{name}.down"), 0.06) if projection else entry
    return made.node("Relu", [made.node("Add", [last, skip], f"{name}.sum")], name)


def resnet() -> ir.Model:
    made = Graph(SHAPE)
    stem = block(made, made.pair("x", 0.1), "stem")
    value = made.node("MaxPool", [stem], "pool", kernel_shape=[2, 2])
    value = resnet_block(made, value, "a", projection=True)
    value = resnet_block(made, value, "b", projection=False)
    value = made.node("GlobalAveragePool", [made.pair(value, 0.05)], "gap")
    value = made.node("Flatten", [made.pair(value, 0.05)], "flat")
    weight = made.pair(made.constant("fc.w", np.ones((10, 4), np.float32)), np.full(10, 0.01), 0)
    made.node(
        "Gemm", [value, weight, made.constant("fc.b", np.ones(10, np.float32))], "y", transB=1
    )
    return made.model("y")


def transformer() -> ir.Model:
    """A block with one quantizer for query, key and value, which a Split takes apart."""
    tokens, size, heads = 5, 8, 2
    made = Graph((2, tokens, size))
    random = np.random.default_rng(0)
    made.constants.update({"g": np.ones(size, np.float32), "b": np.zeros(size, np.float32)})
    made.constant("heads", np.array([0, 0, heads, size // heads], np.int64))
    made.constant("joined", np.array([0, 0, size], np.int64))

    def linear(data: str, name: str, outputs: int) -> str:
        weight = random.normal(size=(size, outputs)).astype(np.float32)
        weights = made.pair(made.constant(f"{name}.w", weight), np.full(outputs, 0.02), 1)
        made.node("MatMul", [made.pair(data, 0.03, name=f"{name}.in"), weights], f"{name}.product")
        bias = made.constant(f"{name}.b", np.ones(outputs, np.float32))
        return made.node("Add", [f"{name}.product", bias], name)

    normal = made.node("LayerNormalization", ["x", "g", "b"], "norm")
    everything = made.pair(linear(normal, "qkv", 3 * size), 0.05)
    made.node("Split", [everything], "q", "k", "v", axis=2)
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        made.node("Reshape", [name, "heads"], f"{name}h")
        made.node("Transpose", [f"{name}h"], f"{name}t", perm=order)
    scores = made.node("Softmax", [made.node("MatMul", ["qt", "kt"], "scores")], "soft")
    mixed = made.node("MatMul", [made.pair(scores, 1 / 127), "vt"], "mixed")
    back = made.node("Transpose", [mixed], "back", perm=[0, 2, 1, 3])
    projected = linear(made.node("Reshape", [back, "joined"], "flat"), "proj", size)
    stream = made.node("Add", ["x", projected], "stream")
    hidden = linear(made.node("LayerNormalization", [stream, "g", "b"], "norm2"), "up", size)
    gelu = made.node("Mul", [hidden, made.node("Sigmoid", [hidden], "sigmoid")], "silu")
    made.node("Add", [stream, linear(gelu, "down", size)], "y")
    return made.model("y")


@pytest.mark.parametrize("build", [resnet, transformer])
def test_well_placed_networks_have_no_warning_before_and_after_the_passes(build: object) -> None:
    assert callable(build)
    model: ir.Model = build()
    assert found(model) == []
    for options in (ImproveOptions(), ImproveOptions(repair=True, int8_weights=False)):
        improve(model, options, opset=17)
        assert found(model) == []
