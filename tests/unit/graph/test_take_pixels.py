"""Bytes of images: the graph makes the codes that the host would, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_pixels import any_pixels, numbers
from tests.support.graphs import Graph
from tests.support.pixel_graphs import (
    every_byte,
    float_graph,
    graph_of_branches,
    handing_on,
    quantizing_graph,
)
from tests.support.taken_pixels import (
    AFFINE_FIRST,
    BY_CHANNELS,
    BY_PLANES,
    DIVIDE_FIRST,
    IMAGENET,
    run,
    taken,
)
from trtqat.graph.editing import add_initializer
from trtqat.graph.half.derive import derive_half
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph.pixels.arithmetic import AFFINE, DIVIDE, HALF, PLANES, TABLE, Way
from trtqat.graph.pixels.fit import Wanted, fit
from trtqat.graph.pixels.forms import CHOICES, Form, choice_for
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.graph_file.serialized import serialize
from trtqat.numerics import quantize
from trtqat.pixels import Layout, Pixels
from trtqat.plan.header import Target
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


def values_of(pixels: Pixels, scale: float, is_quantized: bool) -> Array:
    """What each byte becomes in each channel: codes, or floats."""
    table = pixels.table(3)
    return quantize(table, scale) if is_quantized else table


@given(any_pixels(), numbers(0.002, 0.5), st.sampled_from(sorted(CHOICES)))
def test_codes_are_those_of_the_host(pixels: Pixels, scale: float, target: str) -> None:
    """Over all bytes, in each channel, whatever mean, std and scales."""
    x = every_byte(pixels)
    model = quantizing_graph(scale)
    choice = CHOICES[target]  # type: ignore[index]
    found = take_pixels(model, {"x": pixels}, choice).inputs["x"]
    assert found.form in choice.codes
    expected = quantize(pixels.normalise(x), scale).astype(np.float32) * np.float32(scale)
    for as_written in (True, False):
        np.testing.assert_array_equal(run(model, x, as_written=as_written), expected)


@given(any_pixels(), numbers(0.002, 0.5), st.sampled_from([0, 128]))
def test_affine_codes_survive_whatever_an_engine_rounds(
    pixels: Pixels, scale: float, offset: int
) -> None:
    wanted = Wanted(pixels.table(3), scale)
    found = fit(wanted, offset)
    if found is None:
        return
    p, step = np.arange(256, dtype=np.float32) - np.float32(offset), np.float32(scale)
    a, b = found.a[:, None], found.b[:, None]
    apart = a * p + b
    fused = (a.astype(np.float64) * p + b).astype(np.float32)
    for values in (apart, fused, np.nextafter(apart, np.float32(9)), np.nextafter(fused, -9)):
        values = values.astype(np.float32)
        np.testing.assert_array_equal(quantize(values, scale), wanted.codes)
        reciprocal = np.rint(values * (np.float32(1) / step))
        np.testing.assert_array_equal(np.clip(reciprocal, -128, 127), wanted.codes)
        # The quantizer's step melted into the factors, as TensorRT for RTX has it.
        melted = np.rint((a / step) * p + b / step)
        np.testing.assert_array_equal(np.clip(melted, -128, 127), wanted.codes)


def test_an_affine_form_is_found_nearly_always() -> None:
    """And where it is not, that is counted: the table is there for it."""
    generator = np.random.default_rng(7)
    none = 0
    for _ in range(300):
        mean, std = generator.uniform(0, 1, 3), generator.uniform(0.1, 0.5, 3)
        pixels = Pixels("nchw", tuple(mean), tuple(std))
        scale = float(np.abs(pixels.table(3)).max() * generator.uniform(0.5, 1.1) / 127)
        none += fit(Wanted(pixels.table(3), scale)) is None
    assert none <= 3


@given(any_pixels(("nhwc",)), numbers(0.002, 0.5), st.booleans())
def test_channel_by_channel_in_nchw(pixels: Pixels, scale: float, is_quantized: bool) -> None:
    """Codes or floats, in the model's order, with nothing transposed and no Gather for BGR."""
    x = every_byte(pixels)
    model = quantizing_graph(scale) if is_quantized else float_graph()
    assert taken(model, pixels, BY_CHANNELS).form == BY_CHANNELS
    operators = [node.op_type for node in model.graph]
    assert "Transpose" not in operators
    assert operators.count("Gather") == 2 * 3
    tables = [
        value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if name.startswith("x.pixels.table") and value.const_value is not None
    ]
    # One is enough where every channel has the same floats.
    are_equal = all(np.array_equal(each, tables[0]) for each in tables)
    assert len(tables) == (1 if are_equal else 3)
    values = values_of(pixels, scale, is_quantized)
    assert not are_equal or all(np.array_equal(each, values[0]) for each in values)
    expected = pixels.normalise(x)
    if is_quantized:
        expected = quantize(expected, scale).astype(np.float32) * np.float32(scale)
    for as_written in (True, False):
        np.testing.assert_array_equal(run(model, x, as_written=as_written), expected)


@given(any_pixels(), numbers(0.002, 0.5))
def test_channels_apart_in_either_layout(pixels: Pixels, scale: float) -> None:
    """A line of numbers of its own for each channel; nothing is transposed."""
    model = quantizing_graph(scale)
    if fit(Wanted(pixels.table(3), scale)) is None:
        return
    assert taken(model, pixels, BY_PLANES).form == BY_PLANES
    operators = [node.op_type for node in model.graph]
    assert "Transpose" not in operators
    apart = [1, 0] if pixels.layout == "nchw" else [0, 3]
    assert [operators.count(each) for each in ("Split", "Gather")] == apart
    assert [operators.count(each) for each in ("Mul", "Add", "Concat")] == [3, 3, 1]
    x = every_byte(pixels)
    expected = quantize(pixels.normalise(x), scale).astype(np.float32) * np.float32(scale)
    for as_written in (True, False):
        np.testing.assert_array_equal(run(model, x, as_written=as_written), expected)


@pytest.mark.parametrize(
    ("channels", "layout", "way"),
    [(1, "nchw", PLANES), (1, "nhwc", HALF), (4, "nchw", PLANES), (4, "nhwc", HALF),
     (5, "nchw", TABLE), (5, "nhwc", TABLE)],
)  # fmt: skip
def test_many_channels_are_computed_together(channels: int, layout: Layout, way: Way) -> None:
    model = quantizing_graph(0.02, channels)
    pixels = Pixels(layout, tuple(np.linspace(0.3, 0.6, channels).tolist()), (0.25,))
    found = take_pixels(model, {"x": pixels}, CHOICES["8.6"]).inputs["x"]
    assert found.form.way is way
    x = every_byte(pixels, channels)
    expected = quantize(pixels.normalise(x), 0.02).astype(np.float32) * np.float32(0.02)
    np.testing.assert_array_equal(run(model, x, as_written=True), expected)


@pytest.mark.parametrize(
    ("operator", "layout", "way"),
    [
        ("MatMul", "nhwc", TABLE),
        ("Gemm", "nchw", TABLE),
        ("Erf", "nhwc", TABLE),
        ("Sigmoid", "nchw", TABLE),
        ("Relu", "nhwc", HALF),
        ("Relu", "nchw", PLANES),
        ("Transpose", "nhwc", HALF),
        ("com.acme::Relu", "nhwc", TABLE),
    ],
)
def test_8_6_gets_a_table_beside_what_it_may_refuse(
    operator: str, layout: Layout, way: Way
) -> None:
    """It was seen to refuse the other forms where its Myelin compiler gets more of the network."""
    model = quantizing_graph(0.02)
    reads = [model.graph.outputs[0]] * (2 if operator in ("MatMul", "Gemm") else 1)
    domain, _, kind = operator.rpartition("::")
    model.graph.append(ir.Node(domain, kind, reads, name="end"))
    pixels = Pixels(layout, *IMAGENET)
    assert take_pixels(model, {"x": pixels}, CHOICES["8.6"]).inputs["x"].form.way is way


def test_two_inputs_of_one_kind_get_the_same_form() -> None:
    graph = Graph((1, 3, 4, 4), inputs={"other": (1, 3, 4, 4)})
    total = graph.node("Add", [graph.pair("x", 0.02), graph.pair("other", 0.02)], "y")
    pixels = dict.fromkeys(("x", "other"), Pixels("nhwc", *IMAGENET))
    found = take_pixels(graph.model(total), pixels, CHOICES["8.6"]).inputs
    assert [each.form.way for each in found.values()] == [HALF, HALF]


@given(any_pixels(), st.sampled_from([Form(DIVIDE), Form(DIVIDE, "middle"), Form(TABLE, "last")]))
def test_floats_are_those_of_the_host(pixels: Pixels, form: Form) -> None:
    """Where no quantizer reads the input, and with ONNX Runtime's own rewriting, too."""
    x = every_byte(pixels)
    model = float_graph()
    found = taken(model, pixels, AFFINE_FIRST, form)
    assert (found.form, found.is_quantized) == (form, False)
    for as_written in (True, False):
        result = run(model, x, as_written=as_written)
        np.testing.assert_array_equal(result, pixels.normalise(x))


@pytest.mark.parametrize(
    ("mean", "std", "scale", "is_usual"),
    [
        (0.485, 0.229, 255.0, True),
        (123.7, 58.4, 1.0, True),
        (123.7, 58.4, 255.0, False),
        (0.485, 0.229, 1.0, False),
    ],
)
def test_a_normalisation_that_leaves_little_of_an_image(
    mean: float, std: float, scale: float, is_usual: bool
) -> None:
    pixels = Pixels("nchw", (mean,), (std,), scale)
    notes = take_pixels(quantizing_graph(2.64 / 127), {"x": pixels}, choice_for("rtx", 19)).notes
    assert len(notes) == (0 if is_usual else 1)
    assert all("goes --scale 1" in note and "'x'" in note for note in notes)


def test_of_floats_the_user_hears_what_is_not_certain() -> None:
    pixels = Pixels("nhwc", *IMAGENET)
    (note,) = take_pixels(float_graph(), {"x": pixels}, choice_for("rtx", 19)).notes
    assert "'x' is not quantized as it is" in note


def test_an_input_that_is_quantized_twice_alike_is_quantized() -> None:
    model = quantizing_graph(0.02)
    (quantizer,) = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    again = ir.node("QuantizeLinear", list(quantizer.inputs), name="again")
    again.outputs[0].name = "more_codes"
    again.outputs[0].type = ir.TensorType(ir.DataType.INT8)
    model.graph.append(again)
    model.graph.outputs.append(again.outputs[0])
    pixels = Pixels("nhwc", *IMAGENET)
    x = every_byte(pixels)
    found = taken(model, pixels, Form(AFFINE, "last"))
    assert found.is_quantized
    with OnnxModel(serialize(model), as_written=True) as loaded:
        codes = list(loaded.session(1).run({"x": x}).values())
    expected = quantize(pixels.normalise(x), 0.02)
    assert any(np.array_equal(each, expected) for each in codes)
    assert all(each.shape == expected.shape for each in codes)


def test_an_input_that_a_subgraph_reads_or_that_is_returned() -> None:
    pixels = Pixels("nhwc", *IMAGENET)
    x = every_byte(pixels)
    for model in (graph_of_branches(), handing_on()):
        found = taken(model, pixels, DIVIDE_FIRST)
        assert not found.is_quantized
        np.testing.assert_array_equal(run(model, x, as_written=True), pixels.normalise(x))


def negated_graph(scale: float, channels: int = 3, *, opset: int = 17) -> ir.Model:
    """What is quantized is negated then, by a layer."""
    model = quantizing_graph(scale, channels, opset=opset)
    (y,) = model.graph.outputs
    minus = add_initializer(model.graph, "minus", -np.eye(16, dtype=np.float32))
    end = ir.node("MatMul", [y, minus], name="negated")
    model.graph.append(end)
    end.outputs[0].name, end.outputs[0].type = "negative", y.type
    model.graph.outputs[0] = end.outputs[0]
    return model


def without_the_pair(model: ir.Model) -> None:
    keep_float(model, {"negated"})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("without", [remove_quantization, without_the_pair])
@pytest.mark.parametrize(("target", "codes"), [("rtx", 0.01), ("8.6", 0.11)])
def test_a_float_rival_gets_what_the_model_gets(
    target: Target, codes: float, without: Callable[[ir.Model], object], channels: int
) -> None:
    """Where the quantizers are removed, the floats are the host's to a part of a code."""
    pixels, scale = Pixels("nhwc", (0.45,), (0.226,), bgr=channels == 3), 2.0 / 127
    x = every_byte(pixels, channels)
    floats = pixels.normalise(x)
    model = negated_graph(scale, channels)
    taken(model, pixels, CHOICES[target].codes[0])
    without(model)
    assert not {"QuantizeLinear", "Round"}.intersection(node.op_type for node in model.graph)
    difference = -run(model, x, as_written=True) - floats
    assert 0 < np.abs(difference).max() < codes * scale
    # Some are beyond the last code, and stay so.
    assert floats.max() > 128 * scale


@pytest.mark.parametrize("channels", [1, 3])
def test_of_a_graph_that_reads_floats_already_a_rival_is_made_too(channels: int) -> None:
    """As of what tune wrote, with the first layer in floating point."""
    pixels = Pixels("nhwc", (0.45,), (0.226,))
    x, model = every_byte(pixels, channels), negated_graph(0.02, channels)
    taken(model, pixels, Form(HALF))
    without_the_pair(model)
    before = run(model, x, as_written=True)
    for again in (without_the_pair, remove_quantization):
        again(model)
        np.testing.assert_array_equal(run(model, x, as_written=True), before)


def test_floats_of_an_fp16_graph_are_fp16() -> None:
    pixels, scale = Pixels("nhwc", *IMAGENET), 2.64 / 127
    x, model = every_byte(pixels), negated_graph(scale, opset=19)
    taken(model, pixels, Form(HALF))
    made = [str(value.name) for node in model.graph for value in node.outputs]
    assert not derive_half(model, dict.fromkeys(["x", *made], 300.0)).kept
    step = np.float32(np.float16(scale))
    codes = np.rint(-run(model, x, as_written=True) / step)
    np.testing.assert_array_equal(codes, quantize(pixels.normalise(x), scale))
    remove_quantization(model)
    difference = run(model, x, as_written=True) + pixels.normalise(x)
    assert 0 < np.abs(difference).max() < 0.2 * scale


@given(any_pixels(), numbers(0.002, 0.5))
def test_a_table_has_the_same_codes_in_fp16(pixels: Pixels, scale: float) -> None:
    """8.6 takes FP16 where it likes, and nothing of a table is held to FP32."""
    x = every_byte(pixels)
    model = quantizing_graph(scale)
    taken(model, pixels, CHOICES["8.6"].codes[-1])
    remove_quantization(model)
    with np.errstate(over="ignore"):
        half = run(model, x, as_written=True).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(quantize(half, scale), quantize(pixels.normalise(x), scale))
