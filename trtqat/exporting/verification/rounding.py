"""Makes ONNX Runtime round as a graph says, and moves what it rounds by a last bit."""

from __future__ import annotations

import itertools

import numpy as np
import onnx

from trtqat.graph_file.serialized import Serialized, derived, parse
from trtqat.tensors import Array, Arrays


def round_everywhere(graph: Serialized) -> Serialized:
    """The same graph with two Identity nodes behind every tensor.

    ONNX Runtime's CPU has FP16 kernels for few operators. It computes the others in FP32,
    also with its optimizations off, and leaves out the Casts between one and the next, even
    those that the graph has: a tensor that overflows FP16 stays finite. Identity has an FP16
    kernel, so the tensor before it becomes FP16; with one alone between FP32 kernels, ONNX
    Runtime makes that FP32 too.

    Args:
        graph: The model.

    Returns:
        The model that ONNX Runtime (1.32) rounds as it is written.
    """
    proto = parse(graph)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        proto.graph.node.append(node)
        made = proto.graph.node[-1]
        for index, name in enumerate(node.output):
            if not name:
                continue
            stages = [f"{name}/unrounded", f"{name}/rounded", name]
            made.output[index] = stages[0]
            proto.graph.node.extend(
                onnx.helper.make_node("Identity", [source], [result])
                for source, result in itertools.pairwise(stages)
            )
    return derived(graph, proto)


def nudged_inputs(arrays: Arrays, relative: float, seed: int) -> dict[str, Array]:
    """Floats that are moved by up to a part of themselves, up or down; other types as they are.

    Args:
        arrays: By name.
        relative: The part: half a unit in the last place of FP16 is 2^-11 at most.
        seed: Same seed, same numbers.
    """
    generator = np.random.default_rng(seed)
    moved = {}
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating):
            # An infinity stays one.
            factors = 1 + relative * generator.uniform(-1, 1, array.shape)
            array = np.asarray(array * factors, array.dtype)
        moved[name] = array
    return moved
