"""What a plan of TensorRT for RTX does besides, read off real lists of its layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.support.plans import LAYER
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.inspection.builder_log import read_layer_list
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import parse_information
from trtqat.inspection.words import coverage_table, describe_coverage
from trtqat.plan.coverage import Coverage, PlanCost

DATA = Path(__file__).parents[2] / "data" / "rtx-1.7"


def layer(
    name: str, operator: str, macs: int, weights: int | None, outputs: int, *, int8: bool = True
) -> LayerSummary:
    return LayerSummary(
        name, operator, int8, macs, weight_elements=weights, output_elements=outputs
    )


# As the example's graph has them: 3 → 24 channels, 24 in groups of one, 24 → 16, of 16x16 images.
DEPTHWISE = (
    layer("/layers/0/Conv", "Conv", 3 * 24 * 256, 72, 24 * 256),
    layer("/layers/3/Conv", "Conv", 24 * 9 * 64, 216, 24 * 64),
    layer("/layers/6/Conv", "Conv", 24 * 16 * 64, 384, 16 * 64),
)


def covered(name: str, *graph: LayerSummary, exits: dict[str, str] | None = None) -> Coverage:
    text = (DATA / f"layers-{name}.txt").read_text()
    return cover(graph, parse_information(read_layer_list(text), name), exits=exits)


def test_groups_are_widened_to_four_channels() -> None:
    costs = {cost.kind: cost for cost in covered("depthwise", *DEPTHWISE).costs}
    widened = costs["widened"]
    assert widened.layers == ("/layers/0/Conv", "/layers/3/Conv")
    first, depthwise, _ = DEPTHWISE
    assert first.macs is not None
    assert depthwise.macs is not None
    assert widened.least == first.macs + depthwise.macs
    assert widened.amount == first.macs * 4 // 3 + depthwise.macs * 4


def test_floating_point_that_is_quantized_again() -> None:
    last = "/layers/6/Conv"
    costs = {
        cost.kind: cost
        for cost in covered("depthwise", *DEPTHWISE, exits={last: "nothing quantizes it"}).costs
    }
    written = costs["float-output"]
    assert written.layers == ("/layers/0/Conv", "/layers/3/Conv")
    assert written.least == 24 * 256 + 24 * 64
    assert written.amount == 4 * written.least
    # INT8 convolutions write FP32 in a graph with FP16 too.
    assert "float32" not in costs


def test_what_fp16_would_halve() -> None:
    products = (
        layer("/query/MatMul", "MatMul", 9 * 32 * 32, 1024, 9 * 32),
        layer("/MatMul", "MatMul", 9 * 9 * 32, None, 81),
        layer("/out/MatMul", "MatMul", 9 * 32 * 32, 1024, 9 * 32),
    )
    costs = {cost.kind: cost for cost in covered("attention", *products).costs}
    assert costs["float32"].layers == ("/query/MatMul", "/out/MatMul")
    assert (costs["float32"].amount, costs["float32"].least) == (8 * 288, 4 * 288)


def test_sizes_that_are_not_known_cost_nothing() -> None:
    unknown = LayerSummary("/layers/3/Conv", "Conv", True, None)
    for weights in (None, 216):
        layers = replace(unknown, weight_elements=weights)
        assert covered("depthwise", layers).costs == ()


def test_the_words() -> None:
    found = covered("depthwise", *DEPTHWISE)
    text = describe_coverage(found)
    first, *_ = text.splitlines()
    assert first == (
        "INT8: 3 of 3 quantized layers, 100.0% of the arithmetic: inputs and weights are INT8 in "
        "the built plan"
    )
    assert "2 convolutions widened to full groups of channels, first /layers/0/Conv" in text
    assert "built and inspected, not run" in text
    columns, rows = coverage_table(found)
    assert columns[3:6] == ("reads", "weights", "writes")
    assert [row[3:6] for row in rows] == [["int8", "int8", "float32"]] * 3


def test_nothing_is_said_of_what_no_layer_of_the_graph_names() -> None:
    """As the loop of an LSTM: its kernels multiply, and name no node."""
    found = covered("depthwise", *DEPTHWISE[:2])
    assert "/layers/6/Conv_myl0_6" in found.others
    assert "besides: 7 other layers of the plan\n" in describe_coverage(found)


def test_a_layer_that_only_preparing_kernels_name_is_not_counted() -> None:
    """The kernel that pads an image for the first convolution reads floats, and names it too."""
    text = (DATA / "layers-depthwise.txt").read_text()
    lines = [each for each in text.splitlines() if not each.startswith("Name: /layers/0/Conv_")]
    information = read_layer_list("\n".join(lines))
    found = cover(DEPTHWISE, parse_information(information, "m"))
    assert [each.name for each in found.missed] == ["/layers/0/Conv"]
    assert found.missed[0].runs_int8 is None
    assert "does not say" in found.missed[0].reason


def test_a_float_input_beside_int8_weights_is_not_int8() -> None:
    text = (DATA / "layers-depthwise.txt").read_text()
    line = next(each for each in text.splitlines() if each.startswith("Name: /layers/3/Conv_"))
    changed = line.replace("Datatype: Int8", "Datatype: Float", 1)
    found = cover(DEPTHWISE, parse_information(read_layer_list(text.replace(line, changed)), "m"))
    assert [each.name for each in found.missed] == ["/layers/3/Conv"]
    assert "reads float32 and int8 weights" in found.missed[0].reason


def test_transposed_convolutions_name_their_reason() -> None:
    up = layer("/up/ConvTranspose", "ConvTranspose", 100, 256, 2048)
    (missed,) = covered("transposed", up).missed
    assert missed.runs_int8 is False
    assert "no INT8 transposed convolution (inferred)" in missed.reason


@pytest.mark.parametrize(
    ("kind", "amount", "least", "words"),
    [
        ("widened", 1_999_600, 999_600, "2 million instead of 1 million multiply-accumulates"),
        ("widened", 2 * 10**13, 999_400, "20,000 billion instead of 999 thousand multiply"),
        ("float-output", 1_500_000_000, 99_000, "1.5 GB of floating point a sample"),
    ],
)
def test_large_figures_are_written_out(
    kind: Literal["widened", "float-output"], amount: int, least: int, words: str
) -> None:
    cost = PlanCost(kind, ("/a",), amount, least)
    assert words in describe_coverage(Coverage((), (), (), (), costs=(cost,)))


@pytest.mark.parametrize(
    ("int8", "plain", "words"),
    [
        (57, 43, "57.0% of"),
        (99_999, 1, "99.9% of"),
        (1, 10**4, "0.009% of"),
        (96, 10**5 - 96, "0.09% of"),
        (1, 0, "100.0% of"),
        (0, 1, "0.0% of"),
    ],
)
def test_a_share_is_neither_all_nor_nothing_by_rounding(int8: int, plain: int, words: str) -> None:
    layers = (replace(LAYER, macs=int8), replace(LAYER, macs=plain, runs_int8=False))
    assert f" quantized layers, {words} the arithmetic" in describe_coverage(
        Coverage(layers, (), (), ())
    )
