"""How close the outputs of two graphs are, where some of them are no numbers."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx import helper

from tests.support.one_input import model
from trtqat.graph_file.serialized import serialize
from trtqat.search.float_graph.agreement import compare_outputs


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
