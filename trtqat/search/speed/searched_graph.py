"""The graph that is searched: as it was exported, or with its pairs where exact repairs put them.

A repair changes no output bit, but what TensorRT fuses: pairs that are merged, removed or stand
before a pool make other kernels. So either may be the faster one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph.repair import Repair
from trtqat.graph.repair.exact_repairs import repair
from trtqat.graph_file.reading import read_model


def read_searched(path: Path, *, is_repaired: bool) -> tuple[ir.Model, tuple[Repair, ...]]:
    """Reads the graph, its nodes with names of their own.

    Args:
        path: As it was exported.
        is_repaired: Whether exact repairs are made.

    Returns:
        The graph, and what was repaired.

    Raises:
        GraphError: The file is not ONNX.
    """
    model = read_model(path)
    name_unnamed(model)
    if not is_repaired:
        return model, ()
    infer_shapes(model)
    made = repair(model)
    # A pair that has moved has another name, which may be taken.
    name_unnamed(model)
    return model, made


def regions_to_search(
    model: ir.Model, sizes: Mapping[str, Sequence[int]] | None = None
) -> tuple[Region, ...]:
    """The regions of a graph that was read; all of them can be in floating point.

    Args:
        model: The graph, which is of no more use then.
        sizes: Shape of one sample by input, where the graph leaves more open than the batch: by
            these the arithmetic of regions is known.

    Raises:
        GraphError: Codes are computed otherwise than by QuantizeLinear.
    """
    _fix_sizes(model, sizes or {})
    infer_shapes(model)
    regions = regions_of(model)
    # Said here, not when one engine is built already.
    keep_float(model, nodes_of(regions))
    return regions


def _fix_sizes(model: ir.Model, sizes: Mapping[str, Sequence[int]]) -> None:
    for value in model.graph.inputs:
        size = sizes.get(str(value.name))
        if size is not None and value.shape is not None:
            value.shape = ir.Shape([value.shape[0], *size])


def nodes_of(regions: Collection[Region]) -> set[str]:
    """The names of all nodes of some regions."""
    return {node for region in regions for node in region.nodes}
