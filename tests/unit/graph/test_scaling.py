"""No pass, rule or reader costs more than the graph is large, nor ends at a depth.

Nothing is timed: what is counted are calls, and elements that onnx_ir copies or looks through.
"""

from __future__ import annotations

import cProfile
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph
from tests.support.large_foreign import ALL_FAMILIES as FAMILIES
from tests.support.large_foreign import moved_weight_of_all
from tests.support.large_graphs import ladder, pools, transposes
from tests.support.scaling_stages import (
    derive_half_with_borders,
    take_codes_where_possible,
    tidied,
)
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.exits import float_exits
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.lenses.targets import HALF_OPSET
from trtqat.graph.lint import lint
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.raise_opset import raise_opset
from trtqat.graph.passes.remove_identities import remove_identities
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph.passes.tap import tap
from trtqat.graph.passes.tidy import inline_functions
from trtqat.graph_file.reading import read_model

# The cost of a node more in a graph that is larger; 4 where the whole is a square: the slopes are
# those between the first two sizes and between the last two.
_MOST = 1.07
_SIZES = (20, 40, 100)
_WARM_UP = 20
_DEPTH = 1200  # a recursion ends at 1000


@dataclass
class Counter:
    """Counts calls of functions, and what ``onnx_ir`` walks through within one of them."""

    count: int = 0

    def during(self, work: Callable[[], Any]) -> int:
        self.count = 0
        profile = cProfile.Profile(subcalls=False)  # it counts in C
        profile.runcall(work)
        return self.count + sum(entry.callcount for entry in profile.getstats())


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    made = Counter()
    uses, remove = ir.Value.uses, ir.Graph.remove

    def counted_uses(self: ir.Value) -> Any:
        found = uses(self)
        made.count += len(found)
        return found

    def counted_remove(self: ir.Graph, nodes: Any, /, safe: bool = False) -> None:
        made.count += len(self.outputs)
        remove(self, nodes, safe=safe)

    monkeypatch.setattr(ir.Value, "uses", counted_uses)
    monkeypatch.setattr(ir.Graph, "remove", counted_remove)
    return made


@dataclass(frozen=True)
class Large:
    """A graph in a file, and what becomes of it before ``improve``, made once for all works."""

    path: Path
    tidied: onnx.ModelProto

    @classmethod
    def of(cls, proto: onnx.ModelProto, path: Path) -> Large:
        onnx.save(proto, path)
        return cls(path, ir.to_proto(tidied(path)))


def look(path: Path) -> None:
    """What ``trtqat inspect`` does."""
    model = read_model(path)
    inline_functions(model)
    lint(model)
    summarize(model)
    float_exits(model)
    regions_of(model)


def change(model: ir.Model) -> None:
    """What ``trtqat export`` does with an ONNX file once it is tidy, without ONNX Runtime."""
    improve(model, ImproveOptions(repair=True), opset=HALF_OPSET)
    raised = raise_opset(model, HALF_OPSET)
    derive_half_with_borders(raised)
    ir.to_proto(raised).SerializeToString()


def change_back(model: ir.Model) -> None:
    """Float weights."""
    improve(model, ImproveOptions(fold_batch_norm=False, int8_weights=False), opset=17)


def take_out(model: ir.Model) -> None:
    """What ``trtqat eval --locate`` does with its graph."""
    tap(model)


def switch(path: Path) -> None:
    """What ``trtqat tune`` does with a graph for each of its engines."""
    model = tidied(path)  # without it, the cost is that of what happens to be every third node
    keep_float(model, [name_of(node) for node in model.graph][::3])


OF_FILES = (look, tidied, switch)
OF_READ = (take_codes_where_possible, take_out)
OF_TIDIED = (change, change_back, remove_quantization)
WORKS: tuple[Callable[[Any], Any], ...] = (*OF_FILES, *OF_READ, *OF_TIDIED)
CASES = [
    (family, work)
    for family in FAMILIES
    for work in WORKS
    # The nearest INT8 tensors before each one are all of them there: the result is a square.
    if (family, work) != ("residual stream of floats", take_out)
]


def prepared(work: Callable[[Any], Any], large: Large) -> Callable[[], Any]:
    """The work on a graph, whose costs are those of no other work."""
    if work in OF_FILES:
        return partial(work, large.path)
    return partial(work, read_model(large.path) if work in OF_READ else ir.from_proto(large.tidied))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[tuple[int, Large]]]:
    """The graphs of a family, with their nodes."""
    folder = tmp_path_factory.mktemp("graphs")

    @lru_cache(maxsize=1)
    def made(family: str) -> list[tuple[int, Large]]:
        protos = [FAMILIES[family](size) for size in (_WARM_UP, *_SIZES)]
        return [
            (len(proto.graph.node), Large.of(proto, folder / f"{at}.onnx"))
            for at, proto in enumerate(protos)
        ]

    return made


@pytest.mark.parametrize(("family", "work"), CASES)
def test_a_node_more_costs_the_same_in_any_graph(
    family: str,
    work: Callable[[Any], Any],
    counter: Counter,
    graphs: Callable[[str], list[tuple[int, Large]]],
) -> None:
    (_, small), *larger = graphs(family)
    prepared(work, small)()  # what is done once for a process is done before
    assert_linear([(nodes, counter.during(prepared(work, large))) for nodes, large in larger])


def assert_linear(points: list[tuple[int, int]]) -> None:
    """Of three graphs, by nodes and cost: a node more costs the same in each."""
    (n1, cost1), (n2, cost2), (n3, cost3) = points
    assert (cost3 - cost2) / (n3 - n2) <= _MOST * (cost2 - cost1) / (n2 - n1)


def returned_identities(count: int) -> ir.Model:
    """Identity nodes that are all outputs of the graph, each of a tensor of its own."""
    graph = Graph((2, 3))
    names = [f"y{each}" for each in range(count)]
    for name in names:
        graph.node("Relu", ["x"], f"{name}.inner")
        graph.node("Identity", [f"{name}.inner"], name)
    model: ir.Model = ir.from_proto(graph.proto(*names))
    return model


def test_an_output_more_costs_the_same_in_any_graph(counter: Counter) -> None:
    points = []
    for size in _SIZES:
        model = returned_identities(size)
        points.append((size, counter.during(partial(remove_identities, model))))
        assert [node.op_type for node in model.graph] == ["Relu"] * size
        assert [value.name for value in model.graph.outputs] == [f"y{n}" for n in range(size)]
    assert_linear(points)


@pytest.mark.parametrize(
    "make",
    [pools, lambda n: ladder(n, layers=False), transposes, moved_weight_of_all],
    ids=["chain", "ladder", "weight", "weight of many layers"],
)
def test_depth_has_no_end(make: Callable[[int], onnx.ModelProto], tmp_path: Path) -> None:
    large = Large.of(make(_DEPTH), tmp_path / "deep.onnx")
    assert sys.getrecursionlimit() < _DEPTH
    for work in WORKS:
        prepared(work, large)()
