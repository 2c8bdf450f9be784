"""Q/DQ of other tools is rewritten bit for bit, or left and named."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.foreign import Foreign, foreign, network
from tests.support.graphs import Graph, run
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, parameters_of
from trtqat.graph.lint import lint
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.make_codes_signed import make_codes_signed
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph.passes.remove_code_clips import remove_code_clips
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.graph.passes.tidy import tidy
from trtqat.graph.passes.write_kernel_shapes import write_kernel_shapes
from trtqat.tensors import Array

TOOLS = {
    "plain": foreign(),
    "brevitas": foreign(clip=(-127, 127)),
    "brevitas, few bits": foreign(clip=(-8, 7)),
    "brevitas, all codes": foreign(clip=(-128, 127)),
    "one-sided": foreign(clip=(-100, 127)),
    "middle": foreign(dtype=np.uint8, zero_point=128),
    "middle, clipped": foreign(dtype=np.uint8, zero_point=128, clip=(1, 255)),
    "microsoft": foreign(domain="com.microsoft"),
    "microsoft, middle": foreign(domain="com.microsoft", dtype=np.uint8, zero_point=128),
}


def inputs(seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    # Far beyond what the scales reach, so that codes saturate.
    return {
        "x": random.normal(size=(2, 4, 6, 6), scale=3).astype(np.float32),
        "other": random.normal(size=(2, 4), scale=3).astype(np.float32),
    }


def copy(made: Foreign) -> Foreign:
    return Foreign(
        made.shape,
        inputs=made.inputs,
        dtype=made.dtype,
        zero_point=made.zero_point,
        clip=made.clip,
        domain=made.domain,
        writes_zero_point=made.writes_zero_point,
    )


def built(made: Foreign, *, signed: bool = True) -> ir.Model:
    grown = copy(made)
    model = grown.model(*network(grown, signed=signed))
    for output in model.graph.outputs:  # onnx infers nothing behind another domain's nodes
        output.dtype, output.shape = ir.DataType.FLOAT, ir.Shape([None, None])
    return model


def standard(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    tidy(model)
    name_unnamed(model)
    return model, standardize_pairs(model)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "positive"])
@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_same_bits_and_all_int8(tool: str, signed: bool) -> None:
    before = [run(built(TOOLS[tool], signed=signed), inputs(seed)) for seed in range(3)]
    model, notes = standard(built(TOOLS[tool], signed=signed))
    infer_shapes(model)
    for seed, expected in enumerate(before):
        for one, other in zip(expected, run(model, inputs(seed)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert bool(notes) == (tool != "plain")
    halves = [node for node in model.graph if node.op_type in (QUANTIZE, DEQUANTIZE)]
    assert all(parameters_of(node).is_int8 and not node.domain for node in halves)
    assert summarize(model).int8_share == 1
    refused = [each.rule for each in lint(model) if each.cost == "refusal"]
    # The second is mended by improve, which knows the TensorRT that the graph is for.
    assert set(refused) <= {"quantized-conv-transpose", "int8-weight-of-matmul"}


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_batch_norms_fold_as_those_of_any_graph(tool: str) -> None:
    expected = run(built(TOOLS[tool]), inputs())
    model, _ = standard(built(TOOLS[tool]))
    folded = improve(model, ImproveOptions(), opset=17).batch_norms
    assert folded is not None
    assert (folded.count, folded.codes_changed, folded.kept) == (2, 0, ())
    for one, other in zip(expected, run(model, inputs()), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-4)


@given(
    clip=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    scale=st.floats(2.0**-100, 2.0**60, width=32),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_clip_of_floats_makes_the_codes_that_the_clip_of_codes_made(
    clip: tuple[int, int], scale: float, seed: int
) -> None:
    made = foreign(clip=clip)
    made.node("Relu", [made.codes("x", scale)], "y")
    model = made.model("y")
    random = np.random.default_rng(seed)
    steps = random.integers(-1100, 1100, size=(2, 4, 6, 6)) / 8
    given = {"x": (steps * scale).astype(np.float32), "other": np.zeros((2, 4), np.float32)}
    (expected,) = run(model, given)
    remove_code_clips(model)
    (found,) = run(model, given)
    np.testing.assert_array_equal(expected, found)


def test_clip_of_a_tensor_that_is_never_negative_needs_no_lower_bound() -> None:
    made = foreign(clip=(-127, 127))
    made.node("Relu", ["x"], "r")
    made.node("MaxPool", ["r"], "p", kernel_shape=[2, 2])
    made.node("Neg", [made.codes("p", 0.02)], "y")
    model = made.model("y")
    found = remove_code_clips(model)
    assert (found.weights, found.idle, found.moved) == (0, 1, ())
    assert "Clip" not in [node.op_type for node in model.graph]


def test_clip_behind_a_scale_of_one_number_in_a_list_moves() -> None:
    made = foreign(dtype=np.uint8, zero_point=128, clip=(70, 180))
    made.node("Neg", [made.codes("x", 0.02)], "y")
    for name in ("x.scale", "x.zero"):
        made.constants[name] = made.constants[name].reshape(1)
    model = made.model("y")
    (expected,) = run(model, inputs())
    assert len(remove_code_clips(model).moved) == 1
    np.testing.assert_array_equal(run(model, inputs())[0], expected)


def test_a_computed_scale_gets_no_zero_point_of_a_shape_that_nobody_knows() -> None:
    made = Graph((2, 4))
    made.constants.update(
        {
            "codes": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
            "bytes": np.array([1, 2, 3, 4], np.int8),
            "step": np.float32(0.1),
        }
    )
    made.node("DequantizeLinear", ["bytes", "step"], "scales")
    made.node("DequantizeLinear", ["codes", "scales"], "weight", axis=0)
    made.node("MatMul", ["x", "weight"], "y")
    model = made.model("y")
    x = np.ones((2, 4), np.float32)
    (expected,) = run(model, {"x": x})
    make_codes_signed(model)
    np.testing.assert_array_equal(run(model, {"x": x})[0], expected)


def test_clip_with_bounds_of_another_node_stays_and_is_named() -> None:
    made = foreign(clip=(-127, 127))
    made.node("Neg", [made.codes("x", 0.02)], "y")
    made.inputs["bound"] = ()
    model = made.model("y")
    clip = next(node for node in model.graph if node.op_type == "Clip")
    clip.replace_input_with(1, next(v for v in model.graph.inputs if v.name == "bound"))
    assert remove_code_clips(model).moved == ()
    assert [each.where for each in lint(model) if each.rule == "node-inside-pair"] == ["/x.dq"]


@given(
    dtype=st.sampled_from([np.int8, np.uint8, np.int16, np.uint16]),
    zero=st.integers(-300, 300),
    low=st.integers(-400, 400),
    spread=st.integers(0, 300),
)
def test_constant_codes_become_int8_where_the_differences_fit(
    dtype: type[np.integer], zero: int, low: int, spread: int
) -> None:
    limits = np.iinfo(dtype)
    zero = int(np.clip(zero, limits.min, limits.max))
    wide = np.linspace(low, low + spread, 12).round()
    codes = np.clip(wide, limits.min, limits.max).astype(dtype).reshape(4, 3)
    made = Graph((2, 3))
    made.constants.update({"w": codes, "s": np.array([0.1, 0.3, 0.7], np.float32)})
    made.constant("z", np.full(3, zero, dtype))
    weight = made.node("DequantizeLinear", ["w", "s", "z"], "w.dq", axis=1)
    made.node("Add", [made.node("ReduceSum", ["x"], "sum", keepdims=0), weight], "y")
    model = made.model("y", opset=21)
    x = np.zeros((2, 3), np.float32)
    (expected,) = run(model, x)
    found = make_codes_signed(model)
    (actual,) = run(model, x)
    np.testing.assert_array_equal(expected, actual)
    differences = codes.astype(int) - zero
    fits = differences.min() >= -128 and differences.max() <= 127
    is_already = dtype is np.int8 and zero == 0
    assert found.constants == (fits and not is_already)
    node = next(node for node in model.graph if node.op_type == DEQUANTIZE)
    assert parameters_of(node).is_int8 == fits


@pytest.mark.parametrize("zero_point", [0, 3, 127, 129, 255])
def test_other_uint8_activations_stay_and_count_as_floating_point(zero_point: int) -> None:
    made = foreign(dtype=np.uint8, zero_point=zero_point)
    data = made.codes("x", 0.02)
    plain = foreign()
    plain.nodes, plain.constants = made.nodes, made.constants
    plain.layer(data, "y", (4, 4, 1, 1))
    model, _ = standard(plain.model("y"))
    found = {each.rule: each for each in lint(model) if each.cost == "refusal"}
    assert list(found) == ["codes-not-int8"]
    assert summarize(model).int8_share == 0


@pytest.mark.parametrize(
    ("writer", "word"),
    [
        ("onnx.quantize", "ActivationSymmetric"),
        ("brevitas", "Int8ActPerTensorFloat"),
        ("tf2onnx", "tf.quantization"),
        ("pytorch", "torch.qint8"),
    ],
)
def test_advice_on_uint8_is_for_the_tool_that_wrote_it(writer: str, word: str) -> None:
    made = foreign(dtype=np.uint8, zero_point=7)
    made.node("Neg", [made.codes("x", 0.02)], "y")
    model = made.model("y")
    model.producer_name = writer
    (finding,) = [each for each in lint(model) if each.rule == "codes-not-int8"]
    assert word in finding.remedy + finding.example


def test_uint8_that_leaves_the_graph_or_is_read_otherwise_stays() -> None:
    made = foreign(dtype=np.uint8, zero_point=128)
    made.node("Neg", [made.codes("x", 0.02)], "y")
    model = made.model("y", "x.q")
    assert make_codes_signed(model).activations == 0
    assert make_codes_signed(made.model("y")).activations == 1
    made.node("Cast", ["x.q"], "z", to=1)
    assert make_codes_signed(made.model("y", "z")).activations == 0


def test_codes_that_move_inside_the_pair_stay_the_same() -> None:
    made = foreign(dtype=np.uint8, zero_point=128)
    made.node("Neg", [made.codes("x", 0.02)], "y")
    made.constant("shape", np.array([2, 4, 36]))
    half = made.nodes.pop(1)
    made.node("Transpose", ["x.q"], "t", perm=[0, 2, 3, 1])
    made.node("MaxPool", ["t"], "p", kernel_shape=[2, 2])
    half.input[0] = "p"
    made.nodes.append(half)
    made.nodes.append(made.nodes.pop(1))
    (expected,) = run(made.model("y"), inputs())
    model = made.model("y")
    assert make_codes_signed(model).activations == 1
    (found,) = run(model, inputs())
    np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "INT16", "FLOAT8E4M3FN"])
def test_opset_21_says_the_type_in_an_attribute(dtype: str) -> None:
    made = foreign(writes_zero_point=False)
    made.layer(made.codes("x", 0.02), "y", (4, 4, 1, 1))
    for node in made.nodes:
        if node.op_type == QUANTIZE:
            number = int(ir.DataType[dtype])
            node.attribute.append(ir.to_proto(ir.AttrInt64("output_dtype", number)))
    model, notes = standard(made.model("y", opset=21))
    improve(model, ImproveOptions(), opset=21)
    summary = summarize(model)
    assert summary.int8_share == (1 if dtype == "INT8" else 0)
    assert any("no zero-point" in note for note in notes) == (dtype == "INT8")
    refused = {each.rule for each in lint(model) if each.cost == "refusal"}
    assert refused == ({"codes-not-int8"} if dtype in ("UINT8", "INT16") else set())
    run(model, inputs())


def test_scales_of_blocks_are_no_int8_and_no_error() -> None:
    made = Graph((2, 4))
    made.constants.update({"w": np.ones((4, 4), np.int8), "s": np.full((2, 4), 0.1, np.float32)})
    weight = made.node("DequantizeLinear", ["w", "s"], "w.dq", axis=0, block_size=2)
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    model, _ = standard(made.model("y", opset=21))
    improve(model, ImproveOptions(int8_weights=False), opset=21)
    assert summarize(model).int8_share == 0
    assert "scale-per-block" in {each.rule for each in lint(model)}


def test_domain_with_16_bits_stays_and_is_named() -> None:
    made = foreign(domain="com.microsoft", dtype=np.uint16, zero_point=0)
    made.node("Neg", [made.codes("x", 0.02)], "y")
    model, _ = standard(made.model("y"))
    rules = {each.rule for each in lint(model)}
    assert {"foreign-quantizer", "codes-not-int8"} <= rules


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_quantized_convolution_writes_the_shape_of_its_kernel(kernel: int) -> None:
    graph = Graph((1, 4, 6, 6))
    inner = graph.conv(graph.pair("x", 0.1), "a", kernel=kernel)
    graph.conv(inner, "y", kernel=3, quantized=False)
    model = ir.from_proto(graph.proto("y"))
    random = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32)
    before = run(model, random)
    assert write_kernel_shapes(model).count == 1
    quantized, plain = [node for node in model.graph if node.op_type == "Conv"]
    assert tuple(quantized.attributes["kernel_shape"].as_ints()) == (kernel, kernel)
    # A constant weight tells its shape itself.
    assert "kernel_shape" not in plain.attributes
    np.testing.assert_array_equal(run(model, random), before)
    assert write_kernel_shapes(model).count == 0
