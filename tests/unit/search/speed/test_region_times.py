"""Times of engine layers become times of regions, by the names that TensorRT 8.6 really writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtqat.graph.lenses.regions import Region
from trtqat.inspection.inspector import EngineLayer, read_layers
from trtqat.search.speed.region_times import region_times_ms

RECORDED = Path(__file__).parents[3] / "data/inspector-8.6"


def recorded(name: str) -> tuple[EngineLayer, ...]:
    return read_layers(RECORDED / f"{name}.json")


def region(*layers: str, others: tuple[str, ...] = ()) -> Region:
    return Region(layers[0], "kind", (*others, *layers), layers, 0.1, True)


def layer(name: str, *nodes: str, kind: str = "CaskConvolution") -> EngineLayer:
    return EngineLayer(name, kind, nodes, (), (), "", "")


def convolutions(name: str) -> list[str]:
    nodes = [node for each in recorded(name) for node in each.onnx_nodes]
    return list(dict.fromkeys(node for node in nodes if node.endswith(("/Conv", "/Gemm"))))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet", "vgg16"])
def test_every_layer_of_a_recorded_engine_is_told(name: str) -> None:
    engine = recorded(name)
    times = {each.name: 1.0 for each in engine}
    names = convolutions(name)
    assert len(names) > 15
    found = region_times_ms([region(each) for each in names], engine, times)
    assert set(found) == set(range(len(names)))
    # Kernels that quantize and reformat name a layer that they work for, but not all of them.
    assert len(names) <= sum(found.values()) <= len(engine)


def test_what_a_compiled_subgraph_runs_is_not_told() -> None:
    engine = recorded("vit")
    times = {each.name: 1.0 for each in engine}
    hidden = region("/blocks/0/attention/query/MatMul", "/blocks/0/attention/out/MatMul")
    found = region_times_ms([region("/patches/Conv"), hidden], engine, times)
    assert set(found) == {0}


def test_conversions_count_where_they_are_needed() -> None:
    first = region("/a/Conv", others=("/a/QuantizeLinear",))
    second = region("/b/Conv", others=("/b/QuantizeLinear", "/b/Relu", "/b/Add"))
    engine = [
        layer("/a/QuantizeLinear", kind="Reformat"),
        layer("a.weight + /a/Conv", "/a/Conv"),
        layer("Reformatting CopyNode for Input Tensor 0 to b.weight + /b/Conv", kind="Reformat"),
        layer("b.weight + /b/Conv + PWN(/b/Relu, /b/Add)", "/b/Conv", "/b/Relu", "/b/Add"),
        layer("copied_squeeze", kind="NoOp"),
    ]
    times = {each.name: float(10**place) for place, each in enumerate(engine)}
    assert region_times_ms([first, second], engine, times) == {0: 11.0, 1: 1100.0}


def test_a_kernel_across_a_border_counts_where_it_multiplies() -> None:
    first, second = region("/a/Conv"), region("/b/Conv", others=("/b/Add",))
    engine = [layer("/a/Conv + /b/Add", "/a/Conv", "/b/Add"), layer("/b/Conv", "/b/Conv")]
    times = {"/a/Conv + /b/Add": 2.0, "/b/Conv": 3.0}
    assert region_times_ms([first, second], engine, times) == {0: 2.0, 1: 3.0}


def test_a_region_is_told_only_if_all_of_its_layers_are() -> None:
    whole = region("/a/Conv", "/a/MatMul")
    assert region_times_ms([whole], [layer("/a/Conv", "/a/Conv")], {"/a/Conv": 1.0}) == {}


@pytest.mark.parametrize("kind", ["NoOp", "Shuffle", "Reformat"])
def test_what_moves_an_output_does_not_tell_its_product(kind: str) -> None:
    """The Gemm itself is inside the subgraph, whose time is nobody's."""
    engine = [
        layer("{ForeignNode[/a/MatMul.../b/Gemm]}", kind="Myelin"),
        layer("reshape_after_/b/Gemm", "/b/Gemm", kind=kind),
    ]
    times = {each.name: 1.0 for each in engine}
    assert region_times_ms([region("/b/Gemm")], engine, times) == {}


def test_a_sum_inside_another_kernel_takes_no_time() -> None:
    """A residual sum is a region of its own, and the convolution before it adds it up."""
    regions = [region("/a/Conv"), Region("/a/Add", "sum", ("/a/Add", "/a/Relu"), (), 0.0, True)]
    engine = [layer("/a/Conv + /a/Add + /a/Relu", "/a/Conv", "/a/Add", "/a/Relu")]
    assert region_times_ms(regions, engine, {engine[0].name: 2.0}) == {0: 2.0, 1: 0.0}
    # What became a name for memory is in no layer at all.
    assert region_times_ms(regions, [layer("/a/Conv", "/a/Conv")], {"/a/Conv": 2.0})[1] == 0.0
    # But a compiled subgraph beside may run it, and does not tell.
    subgraph = layer("{ForeignNode[/x/MatMul.../y/Add]}", kind="Myelin")
    both = [layer("/a/Conv", "/a/Conv"), subgraph]
    assert 1 not in region_times_ms(regions, both, {each.name: 2.0 for each in both})
