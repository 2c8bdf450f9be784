"""Floors by hand, and the roofline of a real engine's layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.errors import InferenceError, MissingError, UsageError
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.host.ceilings import Ceilings, read_ceilings
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import EngineLayer, EngineTensor, parse_layers, read_layers
from trtqat.inspection.roofline import Roofline, batch_size_of, draw_roofline, find_ceilings
from trtqat.plan.coverage import Coverage, LayerCoverage

DATA = Path(__file__).parents[2] / "data/inspector-8.6"
# 1 TOPS, half of it in FP16, and 100 GB/s.
LIMITS = Ceilings("A GPU", 1e12, 5e11, 1e11, "by hand")


def conv(name: str, dtype: str = "int8", side: int = 10, weights: int = 500) -> EngineLayer:
    shape = (2, 16, side, side)
    tensors = [EngineTensor(f"{name}.{end}", dtype, "", shape) for end in ("in", "out")]
    return EngineLayer(name, "Conv", (name,), (tensors[0],), (tensors[1],), dtype, "", weights)


def draw(
    layers: list[EngineLayer], macs: int, times: dict[str, float] | None = None, batch: int = 2
) -> Roofline:
    graph = [LayerSummary(layer.name, "Conv", True, macs) for layer in layers]
    return draw_roofline(
        layers, cover(graph, layers, times or {}), LIMITS, batch_size=batch, compute_ms=1.0
    )


def test_bound_by_arithmetic() -> None:
    (layer,) = draw([conv("a")], 10**8, {"a": 0.5}).layers
    # Two images of 1e8 multiply-accumulates are 4e8 operations: 0.4 ms at 1 TOPS.
    assert (layer.macs, layer.bound) == (2 * 10**8, "compute")
    assert layer.floor_ms == pytest.approx(0.4)
    assert layer.gap_ms == pytest.approx(0.1)


def test_what_is_not_int8_has_the_other_ceiling() -> None:
    (layer,) = draw([conv("a", "float16")], 10**8).layers
    assert layer.floor_ms == pytest.approx(0.8)


def test_bound_by_memory() -> None:
    (layer,) = draw([conv("a")], 1000).layers
    # 3,200 codes in, as many out, and 500 weights.
    assert (layer.traffic_bytes, layer.bound) == (6900, "memory")
    assert layer.floor_ms == pytest.approx(6900 / 1e8)
    (layer,) = draw([conv("a", "float32")], 1000).layers
    assert layer.traffic_bytes == 4 * 6900


@pytest.mark.parametrize(("spelled", "count"), [("UInt8", 3200), ("Int4", 0)])
def test_bytes_and_what_has_no_known_size(spelled: str, count: int) -> None:
    """Pixels are one byte each, and what is not known does not make the floor higher."""
    tensor = {"Name": "x", "Datatype": spelled, "Dimensions": [2, 16, 10, 10]}
    layers = parse_layers(
        [{"Name": "cast", "LayerType": "kgen", "Inputs": [], "Outputs": [tensor]}]
    )
    (layer,) = draw_roofline(layers, Coverage((), (), (), ()), LIMITS, batch_size=2).layers
    assert layer.traffic_bytes == count
    weights = replace(conv("a"), weight_dtype="")
    assert draw([weights], 1000).layers[0].traffic_bytes == 6400


def test_the_whole_network_keeps_what_lies_between_its_layers() -> None:
    first, second = conv("a"), conv("b")
    between = EngineTensor("a.out", "int8", "", (2, 16, 10, 10))
    second = EngineLayer("b", "Conv", ("b",), (between,), second.outputs, "int8", "", 500)
    found = draw([first, second], 1000)
    assert found.floor_ms == pytest.approx(2 * 6900 / 1e8)
    assert found.network_floor_ms == pytest.approx((2 * 3200 + 2 * 500) / 1e8)
    assert found.share == pytest.approx(found.floor_ms)


def test_what_a_noop_renames_is_no_end_of_the_network() -> None:
    layers = read_layers(DATA / "two-linears.json")
    found = draw_roofline(layers, Coverage((), (), (), ()), LIMITS, batch_size=2)
    # 2x64 floats in, as many out, and two weights of 64x64 codes.
    assert found.network_floor_ms == pytest.approx((2 * 2 * 64 * 4 + 2 * 64 * 64) / 1e8)


def test_largest_gaps() -> None:
    layers = [conv(name) for name in "abcdefg"]
    times = {name: 1.0 + index for index, name in enumerate("abcdefg")}
    assert [each.name for each in draw(layers, 1000, times).largest_gaps()] == list("gfedc")


@given(
    st.integers(0, 10**10),
    st.integers(1, 64),
    st.integers(0, 10**6),
    st.sampled_from(["int8", "float16", "float32"]),
)
def test_more_never_lowers_the_floor(macs: int, side: int, weights: int, dtype: str) -> None:
    def floor(macs: int, side: int, weights: int) -> float:
        return draw([conv("a", dtype, side, weights)], macs).floor_ms

    lowest = floor(macs, side, weights)
    assert lowest > 0
    for more in (
        (macs + 10**6, side, weights),
        (macs, side + 1, weights),
        (macs, side, weights + 9),
    ):
        assert floor(*more) >= lowest


def test_a_real_engine() -> None:
    layers = read_layers(DATA / "vgg16-shapes.json")
    names = [layer for layer in layers if layer.weight_count]
    graph = [LayerSummary(layer.onnx_nodes[0], "Conv", True, 10**6) for layer in names]
    found = draw_roofline(layers, cover(graph, layers), LIMITS, batch_size=32)
    assert len(found.layers) == sum(layer.kind != "NoOp" for layer in layers)
    by_name = {layer.name: layer for layer in found.layers}
    second = by_name["features.3.weight.codes + /features/3/Conv + /features/5/Relu"]
    # In and out 32x64x32x32 codes, and 64x64x3x3 weights.
    assert second.traffic_bytes == 2 * 32 * 64 * 32 * 32 + 36864
    assert second.macs == 32 * 10**6
    assert found.share is None
    assert 0 < found.network_floor_ms < found.floor_ms


@pytest.mark.parametrize("name", ["vgg16-shapes", "vgg16-behind-identity", "vit"])
def test_the_batch_size_of_a_real_engine(name: str) -> None:
    layers = read_layers(DATA / f"{name}.json")
    assert batch_size_of(layers) == batch_size_of(layers, 32) == 32
    with pytest.raises(UsageError, match="described for is 32, not 8"):
        batch_size_of(layers, 8)


def test_the_batch_size_of_inputs_that_begin_differently() -> None:
    mask = EngineTensor("mask", "bool", "", (7, 7))
    layer = replace(conv("a"), inputs=(*conv("a").inputs, mask))
    with pytest.raises(UsageError, match="is 2 or 7"):
        batch_size_of([layer])
    assert batch_size_of([layer], 2) == 2
    # What an engine of dynamic shapes leaves open.
    dynamic = read_layers(DATA / "vgg16.json")
    with pytest.raises(UsageError, match="is not known"):
        batch_size_of(dynamic)
    assert batch_size_of(dynamic, 8) == 8


@pytest.mark.parametrize("dims", [[1, 10**200, 10**200], [2**31], [True, 8], [1] * 99, [-1, 8]])
def test_dimensions_of_no_tensor_are_not_known(dims: list[int]) -> None:
    tensor = {"Name": "y", "Dimensions": dims, "Format/Datatype": "Int8"}
    weights = {"Type": "Int8", "Count": 10**299}
    listed = {"Name": "a", "Outputs": [tensor], "Inputs": [tensor], "Weights": weights}
    (layer,) = parse_layers([listed])
    assert (layer.inputs[0].shape, layer.outputs[0].shape) == ((), ())
    assert layer.weight_count == 0
    (known,) = parse_layers([{**listed, "Outputs": [{**tensor, "Dimensions": [2, 2**31 - 1]}]}])
    assert draw([known], 1000).layers[0].traffic_bytes == 2 * (2**31 - 1)


def test_layers_without_shapes() -> None:
    bare = EngineLayer("a", "", (), (), (), "", "")
    with pytest.raises(UsageError, match="have no shapes"):
        draw_roofline([bare], Coverage((), (), (), ()), LIMITS, batch_size=1)


@pytest.mark.parametrize(("wants_int8", "floor_ms"), [(True, 0.4), (False, 0.8)])
def test_a_layer_of_unknown_type_has_the_lower_floor_that_it_may_have(
    wants_int8: bool, floor_ms: float
) -> None:
    layer = LayerCoverage("a", "Conv", wants_int8, None, 10**8, "a", "", (), "", None, "")
    found = draw_roofline([conv("a")], Coverage((layer,), (), (), ()), LIMITS, batch_size=2)
    assert found.layers[0].floor_ms == pytest.approx(floor_ms)


def test_a_compiled_subgraph_has_the_arithmetic_that_no_other_layer_names() -> None:
    layers = read_layers(DATA / "vit.json")
    graph = [
        LayerSummary("/patches/Conv", "Conv", True, 10**7),
        LayerSummary("/blocks/0/attention/query/MatMul", "MatMul", True, 10**8),
        LayerSummary("/blocks/0/attention/MatMul", "MatMul", False, 10**8),
        LayerSummary("/head/Gemm", "Gemm", True, None),
    ]
    found = draw_roofline(layers, cover(graph, layers), LIMITS, batch_size=32)
    (subgraph,) = [each for each in found.layers if each.name.startswith("{ForeignNode[")]
    # 32 samples of 2e8 operations at 1 TOPS, and as many at half of it.
    assert (subgraph.macs, subgraph.bound) == (64 * 10**8, "compute")
    assert subgraph.floor_ms == pytest.approx(6.4 + 12.8)
    assert found.network_floor_ms <= found.floor_ms
    assert found.uncounted == ("/head/Gemm",)


def test_what_no_engine_layer_runs_is_in_neither_floor() -> None:
    layers = [conv("a")]
    lone = draw(layers, 1000)
    graph = [LayerSummary(name, "Conv", True, 1000) for name in ("a", "removed")]
    found = draw_roofline(layers, cover(graph, layers), LIMITS, batch_size=2)
    assert found.uncounted == ("removed",)
    assert (found.floor_ms, found.network_floor_ms) == (lone.floor_ms, lone.network_floor_ms)


def test_the_work_of_a_loop_is_not_that_of_its_last_kernel() -> None:
    """TensorRT for RTX names the LSTM's node at the last of its kernels alone."""
    kernels = [replace(conv("step"), onnx_nodes=()), conv("lstm")]
    graph = [LayerSummary("lstm", "LSTM", False, 10**9)]
    found = draw_roofline(kernels, cover(graph, kernels), LIMITS, batch_size=2)
    assert [each.bound for each in found.layers] == ["memory", "memory"]
    assert found.uncounted == ("lstm",)
    # A subgraph runs all of it.
    whole = [replace(conv("{ForeignNode[lstm]}"), onnx_nodes=())]
    assert draw_roofline(whole, cover(graph, whole), LIMITS, batch_size=2).uncounted == ()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.integers(1, 64),
            st.integers(0, 10**7),
            st.sampled_from(["int8", "float16", "float32"]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_the_floor_of_the_network_is_never_above_that_of_its_layers(
    sizes: list[tuple[int, int, int, str]], is_chain: bool
) -> None:
    layers: list[EngineLayer] = []
    graph: list[LayerSummary] = []
    for number, (macs, side, weights, dtype) in enumerate(sizes):
        layer = conv(f"{number}", dtype, side, weights)
        if is_chain and layers:
            layer = replace(layer, inputs=layers[-1].outputs)
        layers.append(layer)
        graph.append(LayerSummary(layer.name, "Conv", True, macs))
    found = draw_roofline(layers, cover(graph, layers), LIMITS, batch_size=2)
    assert 0 < found.network_floor_ms <= found.floor_ms * (1 + 1e-9)
    assert found.uncounted == ()


def test_ceilings_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ceilings.json"
    LIMITS.write(path)
    assert read_ceilings(path, gpu="A GPU") == find_ceilings(path, "A GPU") == LIMITS
    # Files of an engine do not tell which GPU they are of.
    assert read_ceilings(path, gpu=None) == LIMITS
    with pytest.raises(UsageError, match="were measured on A GPU, and this is Another"):
        read_ceilings(path, gpu="Another")
    fields = json.loads(path.read_text())
    for bad in (
        "text",
        json.dumps({"gpu": "A GPU"}),
        json.dumps({**fields, "bytes_per_s": 0}),
        json.dumps({**fields, "int8_ops_per_s": 5e-324}),
    ):
        path.write_text(bad)
        with pytest.raises(UsageError, match="holds no ceilings"):
            read_ceilings(path, gpu="A GPU")


def test_ceilings_that_cannot_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from trtqat.runtime import pytorch_ceilings

    path = tmp_path / "ceilings.json"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match="PyTorch sees no GPU here"):
        find_ceilings(path, "A GPU")

    def run_out() -> Ceilings:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pytorch_ceilings, "measure_ceilings", run_out)
    with pytest.raises(InferenceError, match="what A GPU reaches at most: CUDA out of memory"):
        find_ceilings(path, "A GPU")
    with pytest.raises(UsageError, match="does not exist"):
        find_ceilings(tmp_path / "none" / "ceilings.json", "A GPU")
    assert list(tmp_path.iterdir()) == []
