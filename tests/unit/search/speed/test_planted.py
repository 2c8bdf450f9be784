"""The planted graphs of the GPU tests: what regions they have, and that TensorRT builds them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import trtqat
from tests.support.planted import LOSERS, REPEATS, planted
from tests.support.rtx_graphs import rtx_or_skip
from trtqat.building.options import BuildOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.search.speed.engines import EngineWorkshop

# Of no use for timing, but the same regions.
SMALL = {"batch": 2, "channels": 64, "side": 8}


@pytest.fixture
def workshop(tmp_path: Path) -> EngineWorkshop:
    path = tmp_path / "planted.onnx"
    onnx.save(planted(**SMALL), path)
    model = read_model(path)
    infer_shapes(model)
    options = BuildOptions(for_="rtx")
    regions = regions_of(model)
    return EngineWorkshop(path, regions, options, [2], "random", LatencyOptions(), tmp_path)


def blocks_of(region: Region) -> set[str]:
    """The blocks whose nodes compute in a region; a Reshape between two is of either."""
    found = [re.match(r"/((?:wide|narrow|lone)\d[abc]?)\.(?!x$|y$)", node) for node in region.nodes]
    return {match[1] for match in found if match}


def losers_of(regions: tuple[Region, ...]) -> dict[str, frozenset[int]]:
    return {
        kind: frozenset(
            place
            for place, region in enumerate(regions)
            if any(block.startswith(kind) for block in blocks_of(region))
        )
        for kind in LOSERS
    }


def test_losers_are_regions_of_kinds_of_their_own(workshop: EngineWorkshop) -> None:
    regions = tuple(workshop.regions)
    assert all(len(blocks_of(region)) == 1 for region in regions)
    assert all(region.is_quantized for region in regions)
    places = losers_of(regions)
    kinds = {name: {regions[place].kind for place in found} for name, found in places.items()}
    others = {
        region.kind
        for place, region in enumerate(regions)
        if place not in frozenset().union(*places.values())
    }
    assert len(regions) == 9 + 2 * REPEATS
    assert all(len(found) == REPEATS for found in places.values())
    assert all(len(found) == 1 for found in kinds.values())
    assert len(kinds["narrow"] | kinds["lone"] | others) == 2 + len(others)
    assert len(others) <= 3


def test_both_ends_and_the_answer_are_built(workshop: EngineWorkshop) -> None:
    """By TensorRT for RTX, without running them; it takes no FP16 from a graph of FP32."""
    rtx_or_skip()
    regions = tuple(workshop.regions)
    everything = frozenset(range(len(regions)))
    losers = frozenset[int]().union(*losers_of(regions).values())
    for floats in (frozenset[int](), losers, everything):
        graph = workshop.graph_of(floats)
        is_float = DEQUANTIZE not in {node.op_type for node in read_model(graph).graph}
        assert is_float == (floats == everything)
        options = replace(workshop.options, precision="fp32" if is_float else "int8")
        built = trtqat.build(graph, workshop.folder / "m.engine", options)
        wanted = {layer for at in everything - floats for layer in regions[at].layers}
        if not is_float:
            assert built.coverage is not None
            assert {layer.name for layer in built.coverage.wanted} == wanted
        for each in workshop.folder.glob("m.engine*"):
            each.unlink()
