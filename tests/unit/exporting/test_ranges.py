"""Greatest magnitudes and agreement, on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.support.graphs import Graph
from tests.support.half_graphs import FLOAT, HALF, graph, node, serialize, verify_half
from trtqat.errors import ExportError, GraphError
from trtqat.exporting.verification.ranges import measure_largest, measure_with_ranges
from trtqat.exporting.verification.rounding import round_everywhere
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

X = {"x": ("batch", 4)}


def chain(factor: float = 1000.0, bias: float = 0.0) -> bytes:
    nodes = [
        node("Mul", "x factor", "big"),
        node("Shape", "big", "shape"),
        node("Add", "big bias", "shifted"),
        node("Div", "shifted factor", "y"),
        node("ArgMax", "y", "best", axis=1, keepdims=0),
    ]
    constants = {"factor": np.array(factor, np.float32), "bias": np.array(bias, np.float32)}
    return serialize(graph(nodes, constants, X, {"y": "float32", "best": "int64"}))


def batch(*rows: float) -> dict[str, Array]:
    return {"x": np.array([[0.5, row, 0.25, -0.5] for row in rows], np.float32)}


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_every_float_tensor_of_every_batch_is_measured(at_once: int) -> None:
    largest = measure_largest(chain(), [batch(1, -3), batch(2)], at_once=at_once)
    assert largest == {"x": 3.0, "big": 3000.0, "shifted": 3000.0, "y": 3.0}


def test_infinities_do_not_count_and_nan_is_never_small() -> None:
    assert measure_largest(chain(), [batch(np.inf)])["big"] == 500.0
    for batches in ([batch(np.nan), batch(1)], [batch(1), batch(np.nan)]):
        largest = measure_largest(chain(), batches)
        assert np.isnan(largest["x"])
        assert np.isnan(largest["y"])


@pytest.mark.parametrize(
    ("rows", "up", "down", "apart"),
    [
        ([0.5, -0.5, 0.25, -0.25], 4.0, 3.0, 2.0),
        # Nowhere below 0, as behind a ReLU, which it stays.
        ([0.5, 0.5, 0.25, 0.25], 4.0, 0.0, 0.0),
        ([0.0, 0.0, 0.0, 0.0], 4.0, 0.0, 0.0),
    ],
)
def test_activations_fill_their_range_whatever_the_samples_reach(
    rows: list[float], up: float, down: float, apart: float
) -> None:
    """Of sums over each sign and of a difference, in ranges: FP16 must hold each sample's."""
    made = Graph((1, 4))
    read = made.pair("x", 0.01)
    negative = made.node("Neg", [read], "negative")
    for name, tensor in (("up", read), ("down", negative)):
        made.node("ReduceL1", [made.node("Relu", [tensor], f"{name}.part")], name, keepdims=0)
    first_less_second = made.constant("w", np.array([1, -1, 0, 0], np.float32))
    made.node("MatMul", [read, first_less_second], "apart")
    proto = made.proto("up", "down", "apart").SerializeToString()
    x = np.array([rows], np.float32)
    largest = measure_with_ranges(proto, [{"x": x}])
    full = 1.27
    assert largest["up"] == pytest.approx(up * full)
    assert largest["down"] == pytest.approx(down * full)
    assert largest["apart"] == pytest.approx(apart * full)
    # What a graph is given is as the samples have it.
    assert largest["x"] == np.abs(x).max()


def test_samples_may_reach_further_than_quantized_ranges() -> None:
    made = Graph((1, 4))
    read = made.pair("x", 0.01)
    made.node("Add", [read, made.node("Mul", ["x", "x"], "square")], "y")
    largest = measure_with_ranges(made.proto("y").SerializeToString(), [batch(30)])
    assert largest["square"] == 900
    assert largest["y"] == pytest.approx(901.27)


def test_empty_batches_are_refused() -> None:
    with pytest.raises(GraphError, match="Without sample inputs"):
        measure_largest(chain(), [])
    with pytest.raises(GraphError, match="Without sample inputs"):
        verify_half(chain(), chain(), [])


def test_agreement_says_where_it_is_worst() -> None:
    found = verify_half(chain(), chain(bias=1.0), [batch(1, 3), batch(0.1)])
    assert set(found.per_output) == {"y", "best"}
    assert found.sqnr_db == found.per_output["y"]
    # The bias is a thousandth everywhere; it weighs most where the row is smallest.
    assert found.worst_at == "output 'y', batch 1, position 0"
    signal = 0.5**2 + 0.1**2 + 0.25**2 + 0.5**2
    assert found.sqnr_db == pytest.approx(10 * np.log10(signal / 4e-6), abs=0.01)
    assert verify_half(chain(), chain(), [batch(1)]).sqnr_db == np.inf


def test_one_bad_position_among_good_ones_is_found() -> None:
    with pytest.raises(ExportError, match=r"at output 'y', batch 0, position 1, less than 40") as e:
        verify_half(chain(), chain(bias=5.0), [batch(9, 0)], min_sqnr_db=40)
    assert "--precision fp32" in e.value.remedy


def test_nan_and_other_outputs_never_agree() -> None:
    with pytest.raises(ExportError, match="nan dB"):
        verify_half(chain(), chain(bias=np.nan), [batch(1)])
    other = serialize(graph([node("Relu", "x", "z")], {}, X, {"z": "float32"}))
    with pytest.raises(ExportError, match="returns nothing for output 'y'"):
        verify_half(chain(), other, [batch(1)])


def test_a_graph_that_amplifies_rounding_is_asked_for_less() -> None:
    """Sin of a large angle: no FP16 graph can agree with it, and it need not."""
    nodes = [node("Mul", "x factor", "angle"), node("Sin", "angle", "y")]
    constants = {"factor": np.array(300.0, np.float32)}
    built = serialize(graph(nodes, constants, X, {"y": "float32"}))
    constants["factor"] = np.array(300.05, np.float32)
    other = serialize(graph(nodes, constants, X, {"y": "float32"}))
    found = verify_half(built, other, [batch(1, 2)], min_sqnr_db=60)
    assert 10 < found.sqnr_db < 60


HIDDEN = {
    "Mul": [node("Mul", "h many", "big"), node("Mul", "big few", "z")],
    "MatMul": [node("MatMul", "h many", "big"), node("MatMul", "big few", "z")],
    "Pow": [node("Mul", "h few", "a"), node("Pow", "a eight", "big"), node("Sqrt", "big", "z")],
    "Gemm": [
        node("Gemm", "h many", "big"),
        node("LeakyRelu", "big", "r"),
        node("Gemm", "r few", "z"),
    ],
    "ReduceSum": [node("Mul", "h many", "big"), node("ReduceSum", "big", "s"),
                  node("Mul", "s few", "z")],
}  # fmt: skip


@pytest.mark.parametrize("nodes", HIDDEN.values(), ids=HIDDEN)
def test_rounding_everywhere_shows_an_overflow_that_onnx_runtime_hides(
    nodes: list[onnx.NodeProto],
) -> None:
    """If the first half fails, ONNX Runtime has become honest; the second half must hold."""
    whole = [node("Cast", "x", "h", to=HALF), *nodes, node("Cast", "z", "y", to=FLOAT)]
    many, few = np.full((4, 4), 3e4, np.float16), np.full((4, 4), 1e-1, np.float16)
    given = {"many": many, "few": few, "eight": np.array(8, np.float16)}
    built = serialize(graph(whole, given, {"x": (4, 4)}, {"y": "float32"}))
    x = {"x": np.full((4, 4), 100.0, np.float32)}
    everywhere = round_everywhere(built)
    hidden = OnnxModel(built, as_written=True).session(4).run(x)["y"]
    shown = OnnxModel(everywhere, as_written=True).session(4).run(x)["y"]
    assert np.isfinite(hidden).all()
    assert np.isinf(shown).all()
