"""What TensorRT for RTX makes of a graph, built on the CPU: its layers and their types.

Built and inspected, not run.
"""

from __future__ import annotations

import itertools
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtqat.building.builder import BuildResult, build
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import BuildError
from trtqat.host.tensorrt_library import load_rtx

BATCH = 8
# What a generated kernel that computes nothing is named after: casts, moves, copies.
_MOVES = {"Cast", "Conc", "Copy", "Move", "Repl", "Resh", "Slic", "Tran"}
_BITS = {"Bool": 8, "Float": 32, "Half": 16, "Int32": 32, "Int64": 64, "Int8": 8, "UInt8": 8}


@dataclass(frozen=True)
class Built:
    """A plan that was built, or why there is none.

    Attributes:
        refused: The parser's or the builder's reason; empty if there is a plan.
        seconds: Of the build.
        plan_bytes: Size of the plan.
        layers: Of the engine.
        generated: Kernels that it generates: what is fused between convolutions and products.
        reformats: Those of them that only cast, move or copy.
        casts: Casts inside of all of them.
        written_bytes: What all layers write, for a batch of one.
        int8_nodes: Nodes of the graph that a layer with INT8 inputs and weights runs.
    """

    refused: str
    seconds: float = 0.0
    plan_bytes: int = 0
    layers: int = 0
    generated: int = 0
    reformats: int = 0
    casts: int = 0
    written_bytes: int = 0
    int8_nodes: frozenset[str] = frozenset()


def rtx_version() -> str:
    """Of the library that is installed.

    Raises:
        MissingError: None is.
    """
    return str(load_rtx("This benchmark").__version__)


def first_layers(graph: Path) -> dict[str, Any]:
    """How many layers there are, and which compute something before the model's first one.

    Returns:
        ``layers``, and ``first`` in the words of the library: what a generated kernel computes, and
        the convolution that ``--pixels`` may have put there. Or ``refused``.

    Raises:
        MissingError: The library is not installed.
    """
    built = _built(graph)
    if isinstance(built, str):
        return {"refused": built}
    layers = [] if built.layers is None else built.layers["Layers"]
    first = itertools.takewhile(_is_before, layers)
    steps = [_steps(each["Name"]) for each in first if each["LayerType"] != "shape_call"]
    return {"layers": len(layers), "first": steps}


def _is_before(layer: Mapping[str, Any]) -> bool:
    return layer["LayerType"] in ("kgen", "shape_call") or ".pixels." in layer["Name"]


def _built(graph: Path) -> BuildResult | str:
    """The default targets' plan, or why there is none."""
    options = BuildOptions(profile=ProfileOptions(batch=(1, BATCH, BATCH)), for_="rtx")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return build(graph, Path(folder) / "m.engine", options)
        except BuildError as error:
            return error.problem


def build_layers(graph: Path) -> Built:
    """Builds the default targets' plan and reads the builder's own list of its layers.

    Raises:
        MissingError: The library is not installed.
    """
    built = _built(graph)
    if isinstance(built, str):
        return Built(built)
    if built.layers is None or built.coverage is None:
        return Built(f"its layers are not known: {built.coverage_error}")
    layers: Sequence[Mapping[str, Any]] = built.layers["Layers"]
    generated = [each for each in layers if each["LayerType"] == "kgen"]
    steps = [re.findall(r"[A-Z][a-z]+", _steps(each["Name"])) for each in generated]
    return Built(
        refused="",
        seconds=built.manifest.build_seconds,
        plan_bytes=built.manifest.plan_bytes,
        layers=len(layers),
        generated=len(generated),
        reformats=sum(bool(each) and _MOVES.issuperset(each) for each in steps),
        casts=sum(each.count("Cast") for each in steps),
        written_bytes=sum(_size(tensor) for each in layers for tensor in each["Outputs"]),
        int8_nodes=frozenset(each.name for each in built.coverage.layers if each.runs_int8),
    )


def _steps(name: str) -> str:
    """``__myl_MulAddReluCast_myl0_3``: what the kernel computes."""
    return name.removeprefix("__myl_").partition("_myl")[0]


def _size(tensor: Mapping[str, Any]) -> int:
    """Bytes of a tensor, with 1 for what is open."""
    dims: list[int] = tensor["Dimensions"]
    return _BITS[tensor["Datatype"]] * math.prod(map(abs, dims)) // 8
