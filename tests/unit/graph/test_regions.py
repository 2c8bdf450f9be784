"""The regions of real graphs: nothing is lost between them, and each is switched alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.examples import exported
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR
from trtqat.graph.lenses.regions import LARGEST_SHARE, Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.runtime.onnx_model import OnnxModel

NAMES = ("resnet_bottleneck", "mobilenet_v3", "unet_upsample", "densenet", "vit_sdpa", "two_inputs")

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def proto_of(name: str, folder: Path) -> onnx.ModelProto:
    path = folder / f"{name}.onnx"
    architecture = ARCHITECTURES[name]
    quantized = trtqat.quantize(trained_like(name), batches(architecture, 1, 4)).model
    options = ExportOptions(architecture.inputs, exporter="torchscript")
    trtqat.export_onnx(quantized, path, options)
    model = read_model(path)
    infer_shapes(model)
    return ir.to_proto(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def graph_of(name: str, folder: Path) -> ir.Model:
    return ir.from_proto(proto_of(name, folder))


def int8_layers(model: ir.Model) -> set[str]:
    return {layer.name for layer in summarize(model).layers if layer.is_int8}


def outputs_of(model: ir.Model, name: str) -> dict[str, np.ndarray]:
    names = [spec.name for spec in ARCHITECTURES[name].inputs]
    (batch,) = batches(ARCHITECTURES[name], 1, 2)
    inputs = {key: value.numpy() for key, value in zip(names, batch, strict=True)}
    proto = ir.to_proto(model).SerializeToString()
    return OnnxModel(proto, as_written=True).session(2).run(inputs)


@pytest.mark.parametrize("name", NAMES)
def test_every_node_is_in_one_region(name: str, folder: Path) -> None:
    model = graph_of(name, folder)
    regions = regions_of(model)
    computing = [name_of(node) for node in model.graph if node.op_type not in (*PAIR, "Constant")]
    kinds = {name_of(node): node.op_type for node in model.graph}
    named = [node for region in regions for node in region.nodes if kinds[node] not in PAIR]
    assert named == computing
    assert {layer for region in regions for layer in region.layers} == int8_layers(model)
    assert sum(region.share for region in regions) == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_each_region_is_switched_alone(name: str, folder: Path) -> None:
    regions = regions_of(graph_of(name, folder))
    everything = {layer for region in regions for layer in region.layers}
    for region in regions:
        model = graph_of(name, folder)
        keep_float(model, region.nodes)
        assert int8_layers(model) == everything - set(region.layers), region.name
        onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_all_regions_in_float_are_the_float_graph(name: str, folder: Path) -> None:
    model, plain = graph_of(name, folder), graph_of(name, folder)
    keep_float(model, {node for region in regions_of(model) for node in region.nodes})
    assert DEQUANTIZE not in {node.op_type for node in model.graph}
    remove_quantization(plain)
    expected = outputs_of(plain, name)
    for key, value in outputs_of(model, name).items():
        assert np.array_equal(value, expected[key]), key


def test_what_is_kept_in_float_is_closer_to_the_float_graph(folder: Path) -> None:
    plain, half = graph_of("resnet_bottleneck", folder), graph_of("resnet_bottleneck", folder)
    remove_quantization(plain)
    regions = regions_of(half)
    keep_float(half, {node for region in regions[: len(regions) // 2] for node in region.nodes})
    (expected,) = outputs_of(plain, "resnet_bottleneck").values()
    (some,) = outputs_of(half, "resnet_bottleneck").values()
    (none,) = outputs_of(graph_of("resnet_bottleneck", folder), "resnet_bottleneck").values()
    assert 0 < np.abs(some - expected).mean() < np.abs(none - expected).mean()


def repeated(blocks: int, skip: bool = True) -> ir.Model:
    """A stem, blocks of two quantized products with a skip around them, and a head."""
    text = ["agraph (float[N, 8] x) => (float[N, 8] y)", "<float s = {0.1}, int8 z = {0}"]
    text += [f", float[8, 8] w{n} = {{{', '.join(['0.5'] * 64)}}}" for n in range(2 * blocks + 2)]
    text += [">", "{"]

    def product(number: int, source: str, target: str) -> list[str]:
        return [
            f"q{number} = QuantizeLinear({source}, s, z)",
            f"d{number} = DequantizeLinear(q{number}, s, z)",
            f"qw{number} = QuantizeLinear(w{number}, s, z)",
            f"dw{number} = DequantizeLinear(qw{number}, s, z)",
            f"{target} = MatMul(d{number}, dw{number})",
        ]

    text += product(0, "x", "t0")
    for block in range(blocks):
        first, second = 2 * block + 1, 2 * block + 2
        text += [*product(first, f"t{block}", f"a{block}"), f"b{block} = Relu(a{block})"]
        text += product(second, f"b{block}", f"c{block}")
        text += [f"t{block + 1} = Add(c{block}, {f't{block}' if skip else 's'})"]
    text += [*product(2 * blocks + 1, f"t{blocks}", "y"), "}"]
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + "\n".join(text))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    model = ir.from_proto(proto)
    infer_shapes(model)
    return model


def test_blocks_are_regions_of_one_kind() -> None:
    stem, *blocks, head = regions_of(repeated(12))
    assert len(blocks) == 12
    assert {len(block.layers) for block in blocks} == {2}
    assert len({block.kind for block in blocks}) == 1
    assert blocks[0].kind not in (stem.kind, head.kind)


def test_large_blocks_are_cut_inside() -> None:
    regions = regions_of(repeated(2))
    assert [len(region.layers) for region in regions] == [1] * 6
    assert all(region.share > LARGEST_SHARE for region in regions)


def test_a_chain_is_cut_at_each_layer() -> None:
    regions = regions_of(repeated(3, skip=False))
    assert [len(region.layers) for region in regions] == [1] * 8


def test_a_pair_is_of_the_region_that_reads_it() -> None:
    model = repeated(12)
    regions: tuple[Region, ...] = regions_of(model)
    readers = {
        name_of(node): name_of(use.node)
        for node in model.graph
        if node.op_type == DEQUANTIZE
        for use in node.outputs[0].uses()
    }
    for region in regions:
        for dequantize in readers.keys() & set(region.nodes):
            assert readers[dequantize] in region.nodes


def test_no_layer_makes_no_region() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> agraph (float[N] x) => (float[N] y) '
        "{ y = Relu(x) }"
    )
    assert regions_of(ir.from_proto(proto)) == ()


CONSTANTS = "float s = {0.1}, int8 z = {0}, float[2, 2] w = {1, 2, 3, 4}"


def parsed(body: str, constants: str = CONSTANTS) -> ir.Model:
    """A graph of tensors of 2x2, its nodes named after what they make."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> '
        f"agraph (float[2, 2] x, bool c) => (float[2, 2] y) <{constants}> {{ {body} }}"
    )
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    model = ir.from_proto(proto)
    infer_shapes(model)
    return model


PAIRED_WEIGHT = "v = QuantizeLinear(w, s, z) u = DequantizeLinear(v, s, z)"


def pair(value: str) -> str:
    return (
        f"q_{value} = QuantizeLinear({value}, s, z) d_{value} = DequantizeLinear(q_{value}, s, z)"
    )


def test_what_a_graph_inside_reads_is_alive_until_then() -> None:
    """The input runs past the first layer into the If, so there is no cut in between."""
    inside = "then_branch = t () => (float[2, 2] a) { a = Add(x, m) }"
    other = "else_branch = e () => (float[2, 2] b) { b = Identity(m) }"
    model = parsed(
        f"{PAIRED_WEIGHT} {pair('x')} m = MatMul(d_x, u) i = If (c) <{inside}, {other}> "
        f"{pair('i')} n = MatMul(d_i, u) {pair('n')} y = MatMul(d_n, u)"
    )
    first, second, third = regions_of(model)
    assert [name for name in first.nodes if name in ("/m", "/i")] == ["/m", "/i"]
    assert (second.layers, third.layers) == (("/n",), ("/y",))
    keep_float(model, first.nodes)
    assert int8_layers(model) == {"/n", "/y"}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_an_output_in_the_middle_leaves_the_line() -> None:
    model = repeated(6)
    middle = next(value for node in model.graph for value in node.outputs if value.name == "t3")
    alone = [region.nodes for region in regions_of(repeated(6))]
    model.graph.outputs.append(middle)
    assert [region.nodes for region in regions_of(model)] == alone


def test_a_weight_that_is_moved_far_from_its_reader_goes_with_it() -> None:
    """As converters write it: all Transposes in front, and nothing else to cut around."""
    moved = [f"w{n} = Transpose <perm = [1, 0]> (u)" for n in range(3)]
    layers = ["a = MatMul(d_x, w0)", pair("a"), "b = MatMul(d_a, w1)", pair("b")]
    model = parsed(" ".join([PAIRED_WEIGHT, *moved, pair("x"), *layers, "y = MatMul(d_b, w2)"]))
    regions = regions_of(model)
    assert [region.layers for region in regions] == [("/a",), ("/b",), ("/y",)]
    assert ["/w1" in region.nodes for region in regions] == [False, True, False]
    keep_float(model, regions[1].nodes)
    assert int8_layers(model) == {"/a", "/y"}


def test_pairs_around_what_is_no_layer_are_a_region() -> None:
    model = parsed(
        f"{PAIRED_WEIGHT} {pair('x')} a = MatMul(d_x, u) {pair('a')} f = Softmax(d_a) "
        f"{pair('f')} y = MatMul(d_f, u)"
    )
    first, lone, last = regions_of(model)
    assert (lone.name, lone.layers, lone.share, lone.is_quantized) == ("/f", (), 0, True)
    keep_float(model, lone.nodes)
    assert int8_layers(model) == {"/a", "/y"} == {*first.layers, *last.layers}
    assert sum(node.op_type == DEQUANTIZE for node in model.graph) == 3


def test_a_layer_may_be_called_as_its_weight() -> None:
    constants = "float s = {0.1}, int8 z = {0}, int8[2, 2] y.codes = {1, 2, 3, 4}"
    body = f"u = DequantizeLinear(y.codes, s, z) {pair('x')} y = MatMul(d_x, u)"
    for change in (lambda model: keep_float(model, ["/y"]), remove_quantization):
        model = parsed(body.replace("y.codes", "ycodes"), constants.replace("y.codes", "ycodes"))
        model.graph.initializers["ycodes"].name = "y.codes"
        change(model)
        assert [node.op_type for node in model.graph] == ["MatMul"]
        onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_an_input_of_codes_stays_one(tmp_path: Path) -> None:
    path, _ = exported("residual", tmp_path, quantized_input=True)
    model = read_model(path)
    infer_shapes(model)
    regions = regions_of(model)
    assert {layer for region in regions for layer in region.layers} == int8_layers(model)
    keep_float(model, {node for region in regions for node in region.nodes})
    left = [node for node in model.graph if node.op_type in PAIR]
    assert [node.op_type for node in left] == [DEQUANTIZE]
    assert left[0].inputs[0] in model.graph.inputs
    assert int8_layers(model) == set()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
