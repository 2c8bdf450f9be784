"""INT8 tensors taken out of a graph: what they are, and that the graph stays what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.support import models
from tests.support.examples import exported
from trtqat.graph.passes.tap import Tap, tap
from trtqat.graph_file.reading import read_model
from trtqat.numerics import quantize
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


def tapped(name: str, folder: Path) -> tuple[Path, list[Tap], onnx.ModelProto]:
    path, _ = exported(name, folder)
    model = read_model(path)
    taps = tap(model)
    return path, taps, ir.to_proto(model)


def run(graph: Path | bytes, name: str) -> tuple[dict[str, Array], dict[str, Array]]:
    example = models.EXAMPLES[name]
    inputs = {
        spec.name: tensor.numpy()
        for spec, tensor in zip(example.inputs, example.batch(3), strict=True)
    }
    return inputs, OnnxModel(graph, as_written=True).session(3).run(inputs)


@pytest.mark.parametrize("name", models.EXAMPLES)
def test_the_graph_stays_what_it_was(name: str, tmp_path: Path) -> None:
    path, taps, proto = tapped(name, tmp_path)
    onnx.checker.check_model(proto, full_check=True)
    _, expected = run(path, name)
    _, found = run(proto.SerializeToString(), name)
    assert list(found)[: len(expected)] == list(expected)
    for output, array in expected.items():
        np.testing.assert_array_equal(found[output], array)
    assert set(found) == {each.output for each in taps}
    weights = {each.name for each in proto.graph.initializer}
    quantizers = [
        node.name
        for node in onnx.load(str(path)).graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in weights
    ]
    assert [each.quantizer for each in taps if each.quantizer] == quantizers


@pytest.mark.parametrize("name", models.EXAMPLES)
def test_what_is_taken_out_are_codes(name: str, tmp_path: Path) -> None:
    _, taps, proto = tapped(name, tmp_path)
    inputs, found = run(proto.SerializeToString(), name)
    for each in taps:
        steps = each.in_codes(found[each.output])
        if each.scale is None:
            assert steps is found[each.output]
            continue
        assert np.all(np.abs(steps) <= 128)
        assert len(np.unique(steps)) > 2
        np.testing.assert_allclose(steps * each.scale, found[each.output], rtol=1e-6)
    readers = [node for node in proto.graph.node if node.input[0] in inputs]
    for node in readers:
        # Attention normalizes its input first.
        if node.op_type == "QuantizeLinear":
            first = next(each for each in taps if each.quantizer == node.name)
            assert (first.layer, first.before) == ("", ())
            codes = quantize(inputs[node.input[0]], float(first.scale or 0))
            np.testing.assert_array_equal(first.in_codes(found[first.output]), codes)


def test_what_a_tensor_comes_from(tmp_path: Path) -> None:
    """Through the addition of a residual block, on both paths."""
    _, taps, _ = tapped("residual", tmp_path)
    by_quantizer = {each.quantizer.rpartition("/")[0]: each for each in taps}
    pooled = by_quantizer["/pool/_input_quantizer"]
    assert pooled.layer == "/conv2/Conv"
    assert set(pooled.before) == {
        by_quantizer[name].output for name in ("/conv2/_input_quantizer", "/shortcut")
    }
    assert by_quantizer["/shortcut"].layer == "/stem/Conv"
    assert by_quantizer[""].layer == "/fc/Gemm"
    assert by_quantizer[""].output == "output"
