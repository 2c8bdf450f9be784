"""A wrong graph is always caught, and a right one never refused, however deep it is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtqat.errors import ExportError, GraphError
from trtqat.exporting.verification.pieces import FP16, FP32, Tolerance
from trtqat.exporting.verification.reference import OF_HALF, GraphReference
from trtqat.exporting.verification.result import Verification
from trtqat.exporting.verification.verify import verify
from trtqat.report.verification_words import describe_agreement
from trtqat.tensors import Array

FLOAT = onnx.TensorProto.FLOAT
STEP = 1 / 64
DEPTH, WIDTH, ROWS = 12, 64, 32
SHAPE: list[int | str] = ["n", ROWS, WIDTH]


def chaos(*, wrong: int | None = None, factor: float = 1.0, reordered: bool = False) -> bytes:
    """Sines of large sums behind quantizers: a code that flips is many codes a layer later.

    The scale of one pair may be another one. Sums in another order are as right.
    """
    generator = np.random.default_rng(11)
    other = generator.permutation(WIDTH)
    order = other if reordered else np.arange(WIDTH)
    arrays: dict[str, Array] = {"zero": np.array(0, np.int8), "order": order}
    nodes, tensor = [], "x"
    for layer in range(DEPTH):
        scale = STEP * (factor if layer == wrong else 1.0)
        arrays[f"scale{layer}"] = np.array(scale, np.float32)
        weight = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32)
        arrays[f"weight{layer}"] = weight[order]
        parameters = [f"scale{layer}", "zero"]
        nodes += [
            helper.make_node("QuantizeLinear", [tensor, *parameters], [f"q{layer}"], f"Q{layer}"),
            helper.make_node("DequantizeLinear", [f"q{layer}", *parameters], [f"d{layer}"]),
            helper.make_node("Gather", [f"d{layer}", "order"], [f"g{layer}"], axis=2),
            helper.make_node("MatMul", [f"g{layer}", f"weight{layer}"], [f"m{layer}"]),
            helper.make_node("Sin", [f"m{layer}"], [f"s{layer}"]),
        ]
        tensor = f"s{layer}"
    return serialized(nodes, arrays, {"x": SHAPE}, {tensor: SHAPE})


def serialized(
    nodes: list[onnx.NodeProto],
    arrays: Mapping[str, Array],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made: bytes = model.SerializeToString()
    return made


def batches() -> list[dict[str, Array]]:
    generator = np.random.default_rng(3)
    return [
        {"x": generator.uniform(-1, 1, (size, ROWS, WIDTH)).astype(np.float32)}
        for size in (2, 1, 3)
    ]


def compared(graph: bytes, other: bytes, tolerance: Tolerance = FP32) -> Verification:
    return verify(other, GraphReference(graph, batches(), OF_HALF), tolerance=tolerance)


def test_a_right_graph_that_amplifies_rounding_is_not_refused() -> None:
    found = compared(chaos(), chaos(reordered=True))
    assert found.sqnr_db < 15  # end to end little is left
    assert found.pieces is not None
    assert found.pieces.least_db > 80
    assert found.pieces.count == 13
    assert found.own_db is not None
    assert found.own_db < 15  # and the graph does the same to itself


@pytest.mark.parametrize("layer", [0, 5, 11])
@pytest.mark.parametrize("factor", [1.01, 0.99, 2.0])
def test_a_wrong_scale_in_it_is_caught_and_named(layer: int, factor: float) -> None:
    with pytest.raises(ExportError, match=f"'Q{layer}'"):
        compared(chaos(), chaos(wrong=layer, factor=factor))


@pytest.mark.parametrize("layer", [0, 5, 11])
def test_fp16_is_asked_for_what_its_rounding_leaves(layer: int) -> None:
    assert compared(chaos(), chaos(reordered=True), FP16).pieces is not None
    with pytest.raises(ExportError, match=f"'Q{layer}'"):
        compared(chaos(), chaos(wrong=layer, factor=1.02), FP16)


def test_equal_graphs_say_so() -> None:
    found = compared(chaos(), chaos())
    assert found.sqnr_db == math.inf
    assert found.own_db is None
    assert found.values == 6 * ROWS * WIDTH


def one_pair(scale: float) -> bytes:
    """An input that is quantized, and no more."""
    arrays: dict[str, Array] = {
        "scale": np.array(scale, np.float32),
        "zero": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "Q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Neg", ["d"], ["y"]),
    ]
    return serialized(nodes, arrays, {"x": SHAPE}, {"y": SHAPE})


def test_another_last_bit_of_a_scale_is_not_bit_for_bit() -> None:
    moved = float(np.nextafter(np.float32(STEP), np.float32(1)))
    found = compared(one_pair(STEP), one_pair(moved))
    assert found.sqnr_db < math.inf
    assert found.pieces is not None
    assert 120 < found.pieces.least_db < math.inf
    assert "bit for bit" not in "\n".join(describe_agreement(found))


def test_codes_that_are_the_neighbouring_ones_are_told() -> None:
    # Half a code lies at the border: a scale that is a last bit larger rounds it down.
    scale = float(np.nextafter(np.float32(1), np.float32(2)))
    x = np.zeros((1, ROWS, WIDTH), np.float32)
    x[0, :3, 0] = 1.5
    graphs = GraphReference(one_pair(1.0), [{"x": x}], OF_HALF)
    found = verify(one_pair(scale), graphs)
    assert found.pieces is not None
    assert found.pieces.flipped == 3
    (said, *_) = describe_agreement(found)
    assert "at batch 1, each of 2 activations and outputs" in said
    assert said.endswith("but for 3 codes, which are the neighbouring ones")


def test_a_fault_that_hardly_shows_end_to_end_is_caught() -> None:
    """A residual branch of a thousandth of the signal, quantized with half its scale."""

    def graph(scale: float) -> bytes:
        arrays: dict[str, Array] = {
            "scale": np.array(scale, np.float32),
            "zero": np.array(0, np.int8),
            "small": np.array(1e-3, np.float32),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "Q"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            helper.make_node("Mul", ["d", "small"], ["branch"]),
            helper.make_node("Add", ["x", "branch"], ["y"]),
        ]
        return serialized(nodes, arrays, {"x": SHAPE}, {"y": SHAPE})

    with pytest.raises(ExportError, match=r"'Q' quantizes otherwise"):
        compared(graph(STEP), graph(STEP * 1.05))


def test_nothing_compared_is_never_verified() -> None:
    nodes = [helper.make_node("Slice", ["x", "zero", "zero"], ["y"])]
    empty = serialized(
        nodes, {"zero": np.zeros(1, np.int64)}, {"x": SHAPE}, {"y": [0, ROWS, WIDTH]}
    )
    with pytest.raises(ExportError, match=r"At output 'y', batch 0 there is no value to compare"):
        compared(empty, empty)
    nodes = [helper.make_node("Relu", ["x"], ["unused"]), helper.make_node("Neg", ["c"], ["y"])]
    ones: dict[str, Array] = {"c": np.ones(3, np.float32)}
    constant = serialized(nodes, ones, {"x": SHAPE}, {"y": [3]})
    with pytest.raises(GraphError, match="No output of the graph depends on an input"):
        compared(constant, constant)


def choosing(
    *, reversed_order: bool = False, factor: float = 1.0, quantized: bool = False
) -> bytes:
    """Boxes of the best 16 of 64 cells, of which all but a few have the score 0.

    The graph in reversed order meets the last of equal scores first, and is as right.
    """
    generator = np.random.default_rng(5)
    scores = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    boxes = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    order = np.arange(WIDTH)[::-1] if reversed_order else np.arange(WIDTH)
    arrays: dict[str, Array] = {
        "scale": np.array(STEP, np.float32),
        "zero": np.array(0, np.int8),
        "scores": scores[:, order].copy(),
        "boxes": factor * boxes[:, order].copy(),
        "least": np.array(8, np.float32),
        "k": np.array([16]),
        "size": np.array(0.25, np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "Q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("MatMul", ["d", "scores"], ["s"]),
        helper.make_node("Sub", ["s", "least"], ["above"]),
        helper.make_node("Relu", ["above"], ["heat"]),
        helper.make_node("TopK", ["heat", "k"], ["best", "where"], axis=2),
        helper.make_node("MatMul", ["d", "boxes"], ["all"]),
        helper.make_node("GatherElements", ["all", "where"], ["chosen"], axis=2),
    ]
    boxes_of = "chosen"
    if quantized:
        nodes += [
            helper.make_node("QuantizeLinear", ["chosen", "size", "zero"], ["qc"], "of boxes"),
            helper.make_node("DequantizeLinear", ["qc", "size", "zero"], ["dc"]),
            helper.make_node("Abs", ["dc"], ["widths"]),
        ]
        boxes_of = "widths"
    shape: list[int | str] = ["n", ROWS, 16]
    return serialized(nodes, arrays, {"x": SHAPE}, {boxes_of: shape, "best": shape})


def test_what_is_chosen_among_equals_is_no_fault() -> None:
    found = compared(choosing(), choosing(reversed_order=True))
    assert found.sqnr_db < 10  # other boxes, of cells with the same score
    assert found.pieces is not None
    assert found.pieces.least_db > 100  # of the others, which were compared
    assert [each.where for each in found.pieces.undecided] == ["output 'chosen'"]
    (left_out,) = found.pieces.undecided
    assert 0 < left_out.values < left_out.size
    assert any("were not compared" in line for line in describe_agreement(found))


def test_what_is_wrong_behind_a_choice_is_caught() -> None:
    with pytest.raises(ExportError, match="output 'chosen'"):
        compared(choosing(), choosing(reversed_order=True, factor=1.02))


def test_codes_of_what_is_chosen() -> None:
    found = compared(choosing(quantized=True), choosing(quantized=True, reversed_order=True))
    assert found.pieces is not None
    assert [each.where for each in found.pieces.undecided] == ["quantizer 'of boxes'"]
    with pytest.raises(ExportError, match="'of boxes'"):
        compared(choosing(quantized=True), choosing(quantized=True, factor=1.02))


def test_nan_behind_a_choice_is_caught() -> None:
    """Its code is 0, so that no output shows it."""
    with pytest.raises(ExportError, match="'of boxes'"):
        compared(choosing(quantized=True), choosing(quantized=True, factor=float("nan")))
