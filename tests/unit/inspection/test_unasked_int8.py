"""Layers that an engine runs in INT8 behind pairs that are not plain INT8 are told so."""

from __future__ import annotations

import pytest

from trtqat.errors import GateError
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage, LayerCoverage


def layer(name: str, *, wants_int8: bool, runs_int8: bool) -> LayerCoverage:
    return LayerCoverage(name, "Conv", wants_int8, runs_int8, 100, name, "", (), "int8", None, "")


# As TensorRT for RTX builds a Clip of codes inside the pair of a weight.
UNASKED = layer("/a", wants_int8=False, runs_int8=True)
FLOAT = layer("/b", wants_int8=False, runs_int8=False)
ASKED = layer("/c", wants_int8=True, runs_int8=True)


def coverage(*layers: LayerCoverage) -> Coverage:
    return Coverage(layers, (), (), (), has_kernels=False)


def test_no_share_is_told_of_layers_that_are_said_to_be_none() -> None:
    found = coverage(UNASKED, FLOAT)
    words = describe_coverage(found)
    assert "INT8: 1 of 2 layers, though none has pairs of plain INT8 at both operands" in words
    assert "50.0% of the arithmetic" in words
    with pytest.raises(GateError, match="though the plan runs 1 of 2 in INT8") as caught:
        found.check_int8("m.onnx")
    assert "trtqat export" in caught.value.remedy


def test_they_are_told_beside_quantized_ones() -> None:
    found = coverage(UNASKED, FLOAT, ASKED)
    assert "first /a, 1 of them INT8 all the same" in describe_coverage(found)
    found.check_int8("m.onnx")


def test_a_graph_without_any_is_said_to_quantize_none() -> None:
    found = coverage(FLOAT)
    assert "INT8: 0 of 1 layers, as the graph quantizes none" in describe_coverage(found)
    with pytest.raises(GateError, match="quantizes none"):
        found.check_int8("m.onnx")
