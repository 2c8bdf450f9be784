"""What a build that failed tells its user, from the lines that TensorRT logs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trtqat.building.failed_build import advice_on_building, advice_on_reading
from trtqat.building.options import BuildOptions
from trtqat.building.source_graph import SourceGraph
from trtqat.host.tensorrt_library import advice_on_loading
from trtqat.host.tensorrt_log import Messages
from trtqat.io_names import IoNames
from trtqat.pixels import Pixels
from trtqat.provenance import Provenance

GRAPH = SourceGraph(
    Path("m.onnx"),
    "",
    (),
    1,
    has_half_scales=False,
    provenance=Provenance(),
    io=IoNames(("x",), ("y",)),
)


def test_the_first_error_in_words_is_the_reason() -> None:
    messages = Messages(errors=["1: ", "2: [pluginV2Runner.cpp::load::299] Error Code 2.", "then"])
    assert messages.reason() == "2: [pluginV2Runner.cpp::load::299] Error Code 2"
    assert Messages(errors=["1: "]).reason() == "TensorRT gave no reason"
    assert Messages().reason("it") == "it"


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["1: "], "device memory"),
        (["2: [virtualMemoryBuffer.cpp] OutOfMemory (requested 1 bytes)"], "device memory"),
        (["10: Could not find any implementation for node conv"], "The Q/DQ pairs around"),
        (["2: [graphOptimizer.cpp::chooseHigherPrecision::7079]"], "trtqat lint m.onnx --for 8.6"),
        (["3: scale of zero"], "calibrate"),
        (["4: something else"], "-v"),
    ],
)
def test_way_out_of_a_failed_build(errors: list[str], words: str) -> None:
    assert words in advice_on_building(Messages(errors=errors), GRAPH, BuildOptions())


@pytest.mark.parametrize("check", ["operand.h:534: CHECK(is_value())", "CHECK(is_constant())"])
def test_pairs_that_rtx_stops_at_are_named_by_lint(check: str) -> None:
    """A packed projection whose weight alone is quantized, and a weight in blocks."""
    messages = Messages(errors=[f"MyelinCheckException: {check} failed."])
    advice = advice_on_building(messages, GRAPH, BuildOptions(), "rtx")
    assert "one quantized operand alone" in advice
    assert advice.endswith("trtqat lint m.onnx --for rtx")


def test_fp8_is_for_the_gpus_that_have_it() -> None:
    log = "Cannot compile for target(s) sm86, because the model contains HW-specific datatypes: fp8"
    advice = advice_on_building(Messages(errors=[log]), GRAPH, BuildOptions(), "rtx")
    assert "--targets sm89,sm120" in advice


def test_a_signature_is_a_permission_where_its_key_is_named() -> None:
    messages = Messages(errors=["The plan needs engine_host_code_allowed."])
    assert "--trust" in advice_on_loading(messages)


@pytest.mark.parametrize(("workspace", "is_said"), [(None, False), (1 << 20, True)])
@pytest.mark.parametrize("pairs", [0, 1])
def test_a_limit_is_raised_where_there_is_one(
    workspace: int | None, is_said: bool, pairs: int
) -> None:
    messages = Messages(errors=["10: Could not find any implementation for node conv"])
    graph = replace(GRAPH, qdq_pairs=pairs)
    advice = advice_on_building(messages, graph, BuildOptions(workspace_bytes=workspace))
    assert ("--workspace" in advice) is is_said


def test_bytes_that_were_held_to_fp32() -> None:
    messages = Messages(errors=["2: Assertion !n->candidateRequirements.empty() failed."])
    pixels = {"x": Pixels("nhwc", (0.5,), (0.25,))}
    of_bytes = replace(GRAPH, provenance=Provenance(pixels=pixels))
    assert "--for 8.6" in advice_on_building(messages, of_bytes, BuildOptions())
    assert "-v" in advice_on_building(messages, GRAPH, BuildOptions())


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["PointWiseFusion: Fusing /Mul with /Add", "Running: ConstShuffleFusion on ones"], "/Add"),
        (["Fusing /Mul", "/Multiply", "x/Add"], "/Mul"),
        (["computing costs for {ForeignNode[/Add.../Mul]}"], "/Mul"),
        (["a + b", ""], ""),
        ([], ""),
    ],
)
def test_the_layer_that_the_log_names_last_is_told(lines: list[str], name: str) -> None:
    graph = replace(GRAPH, nodes=(("/Mul", "Mul"), ("/Add", "Add"), ("", "Relu")))
    messages = Messages(errors=["2: [graphOptimizer.cpp] (Assertion failed.)"])
    messages.before_error.extend(lines)
    advice = advice_on_building(messages, graph, BuildOptions())
    assert ("-v" in advice) == (name == "")
    assert (f"log names before is '{name}'" in advice) == (name != "")


def test_a_kernel_that_is_not_there() -> None:
    """Pairs are not to blame in a float graph, and nothing is at the lowest level."""
    messages = Messages(errors=["10: Could not find any implementation for node /pool/MaxPool"])
    lowest = BuildOptions(optimization_level=0)
    assert "Q/DQ" in advice_on_building(messages, GRAPH, BuildOptions())
    assert "--builder-optimization-level" in advice_on_building(messages, GRAPH, lowest)
    floats = replace(GRAPH, qdq_pairs=0)
    assert "Q/DQ" not in advice_on_building(messages, floats, BuildOptions())


def test_a_kernel_whose_shape_is_not_written_has_its_way_out() -> None:
    reason = (
        "node '/conv' (Conv): Assertion failed: checkSpatialDims(…) && "
        '"The input tensor shape misaligns with the input kernel shape."'
    )
    assert "kernel_shape: trtqat export" in advice_on_reading([reason])


@pytest.mark.parametrize("operator", ["QLinearConv", "QLinearAdd", "QGemm", "MatMulInteger"])
def test_operators_on_codes_are_no_plugins(operator: str) -> None:
    """What ONNX Runtime writes in the format QOperator, and for ranges of each query."""
    reason = f"node 'add' ({operator}): creator && \"Plugin not found, are the plugin name …?\""
    advice = advice_on_reading([reason], [operator])
    assert f"{operator} computes on codes" in advice
    assert "QuantFormat.QDQ" in advice


@pytest.mark.parametrize("operator", ["FusedConv", "BiasGelu", "SkipLayerNormalization"])
def test_what_onnx_runtime_fused_is_no_plugin(operator: str) -> None:
    """A graph that its optimizer wrote, quantized or not."""
    reason = f"node 'c' ({operator}): creator && \"Plugin not found, are the plugin name …?\""
    advice = advice_on_reading([reason], [operator])
    assert advice.startswith(f"{operator} is of ONNX Runtime's optimizer")
    assert "ORT_ENABLE_BASIC" in advice
    both = advice_on_reading([f"{reason}; node 'd' (Mine): Plugin not found"], [operator, "Mine"])
    assert "--plugins lib.so" in both


def test_codes_of_another_type_are_named_by_lint() -> None:
    """What TensorRT for RTX says of a zero-point in INT16."""
    reason = (
        "Failed to import initializer: In node -1 with name:  and operator:  (importInitializers): "
        "UNSUPPORTED_NODE: Assertion failed: … Failed to import initializer: x_zero_point."
    )
    advice = advice_on_reading([reason])
    assert "codes are INT8" in advice
    assert "trtqat lint model.onnx" in advice


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            "node 'w' (DequantizeLinear): Assertion failed: status.is_success(): Found unsupported "
            "input type of UINT8.",
            "Codes are UINT8",
        ),
        (
            "node 'x' (QuantizeLinear): Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero "
            "zero point is not supported.",
            "zero-point must be 0",
        ),
        (
            "node '' (QuantizeLinear): Invalid Node - node_of_q: Failed attempt to rename a layer "
            "from (Unnamed Layer* 8) [Quantize] to node_of_q as the new name is already in use.",
            "inlines functions",
        ),
    ],
    ids=["uint8", "zero-point", "function"],
)
def test_what_export_mends_is_sent_there(reason: str, words: str) -> None:
    advice = advice_on_reading([reason])
    assert words in advice
    assert "trtqat export model.onnx -o mended.onnx" in advice


def test_bytes_that_are_moved_are_no_codes() -> None:
    reason = "node 't' (Transpose): TensorRT does not support UINT8 types for intermediate tensors!"
    assert "casts them before they are moved" in advice_on_reading([reason])
