"""The time of each region of a graph in an engine, from the times of the engine's layers.

An engine layer is joined with regions by the names of the nodes that it runs. One that runs nodes
of several regions is taken for that one whose layer it multiplies for. So a sum that a convolution
adds up itself takes no time. A compiled subgraph runs whole regions and tells nothing of them:
these are not told, which is not the same as no time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from trtqat.graph.lenses.regions import Region
from trtqat.inspection.coverage import is_compiled_subgraph
from trtqat.inspection.inspector import EngineLayer

# What joins and wraps names in the name of an engine layer: "PWN(/a, /b) + /c", "… Tensor 0 to /c".
_BETWEEN = re.compile(r" \+ | to |[(),]")


def region_times_ms(
    regions: Sequence[Region], engine: Sequence[EngineLayer], times_ms: Mapping[str, float]
) -> dict[int, float]:
    """Adds up the times of the layers that run each region.

    Args:
        regions: Of the graph before any of it was kept in floating point.
        engine: The engine's layers.
        times_ms: Time of each of them by name.

    Returns:
        By place, the time in ms of each region all of whose INT8 layers are named by engine
        layers. One without layers is told if a node of it is named, or if no compiled subgraph may
        run it. What names no node, as a copy of an output, is in none of them.
    """
    places = {node: place for place, region in enumerate(regions) for node in region.nodes}
    layers = {layer for region in regions for layer in region.layers}
    sums: dict[int, float] = defaultdict(float)
    named: set[str] = set()
    # Without layers, and run by kernels of their own or of others.
    seen: set[int] = set()
    is_compiled = any(map(is_compiled_subgraph, engine))
    for each in engine:
        if is_compiled_subgraph(each) or each.name not in times_ms:
            continue
        nodes = [node for node in (*each.onnx_nodes, *_names_in(each.name)) if node in places]
        products = [node for node in nodes if node in layers]
        if nodes:
            sums[places[(products or nodes)[-1]]] += times_ms[each.name]
            # What only moves a product's output tells nothing of the product.
            named.update(() if each.only_moves else products)
            seen.update(places[node] for node in nodes)
    return {
        place: sums[place]
        for place, region in enumerate(regions)
        if (named.issuperset(region.layers) if region.layers else place in seen or not is_compiled)
    }


def _names_in(name: str) -> list[str]:
    return [part.strip() for part in _BETWEEN.split(name)]
