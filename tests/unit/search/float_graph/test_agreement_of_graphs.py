"""How close the outputs of two graphs are, where some of them are no numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.one_input import model
from trtqat.errors import GraphError
from trtqat.graph.passes.raise_opset import raise_opset
from trtqat.graph_file.serialized import serialize
from trtqat.search.float_graph.agreement import check_read, compare_outputs


def graph(*operators: str) -> ir.Model:
    names = ["x", *(f"t{at}" for at in range(len(operators)))]
    return model(
        [helper.make_node(each, [names[at]], [names[at + 1]]) for at, each in enumerate(operators)],
        shape=(2, 3),
    )


def test_a_difference_that_is_no_number_is_not_0() -> None:
    x = np.array([[1, 2, 3], [4, -5, 6]], np.float32)
    both = [serialize(graph("Log", "Identity")), serialize(graph("Log", "Neg"))]
    (found,) = compare_outputs(both[0], both[1], [{"x": x}], 2)
    assert math.isnan(found.sqnr_db)
    assert found.worst_db == -math.inf
    assert math.isnan(found.worst)


@pytest.mark.parametrize("opset", [9, 12])
def test_a_graph_that_was_read_as_another_one_is_refused(opset: int, tmp_path: Path) -> None:
    """Hardmax is over all that follows its axis up to opset 12; the converter does not know."""
    path = tmp_path / "model.onnx"
    nodes = [
        helper.make_node("Hardmax", ["x"], ["h"], axis=1),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    built = model(nodes, opset=opset, shape=(2, 3, 4))
    ir.save(built, path)
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    check_read(path, serialize(built), {"x": x})
    with pytest.raises(GraphError, match=r"Output 'y' of '.*' changes when its opset is raised"):
        check_read(path, serialize(raise_opset(built, 13)), {"x": x})
