"""What TensorRT for RTX makes of a graph, built on the CPU: its layers and their types.

Built and inspected, not run. ``trtqat build --for rtx`` does the same for users; this is what
``scripts.bench.half`` counts, until it can ask that.
"""

from __future__ import annotations

import importlib
import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH = 8
_FIELD = re.compile(r", (?=(?:LayerType|Inputs|Constants|Outputs|TacticName|Metadata): )")
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
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


def build_layers(graph: Path) -> Built:
    """Builds the default targets' plan and reads the builder's own list of its layers.

    Raises:
        ImportError: The library is not installed.
    """
    # The bindings are linked with what the first one loads.
    importlib.import_module("tensorrt_rtx_libs")
    trt: Any = importlib.import_module("tensorrt_rtx_bindings")

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[Any, str]] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            self.lines.append((severity, message))

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        error = parser.get_error(0)
        return Built(f"'{error.node_name()}' ({error.node_operator()}): {error.desc()}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        least, most = ([side if d == -1 else d for d in tensor.shape] for side in (1, BATCH))
        profile.set_shape(tensor.name, least, most, most)
    config.add_optimization_profile(profile)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if plan is None:
        errors = [text for severity, text in log.lines if severity <= trt.ILogger.Severity.ERROR]
        return Built(errors[0] if errors else "the builder gave no plan")
    listed = next(text for _, text in log.lines if text.startswith("Layers:"))
    return _counted(listed.splitlines()[1:], seconds, plan.nbytes)


def _counted(lines: Iterable[str], seconds: float, plan_bytes: int) -> Built:
    layers = [_fields(line) for line in lines if line.startswith("Name: ")]
    generated = [each for each in layers if each["LayerType"] == "kgen"]
    steps = [re.findall(r"[A-Z][a-z]+", _steps(each["Name"])) for each in generated]
    int8 = [each for each in layers if each["LayerType"] != "kgen" and _reads_int8(each)]
    return Built(
        refused="",
        seconds=seconds,
        plan_bytes=plan_bytes,
        layers=len(layers),
        generated=len(generated),
        reformats=sum(bool(each) and _MOVES.issuperset(each) for each in steps),
        casts=sum(each.count("Cast") for each in steps),
        written_bytes=sum(_written(each["Outputs"]) for each in layers),
        int8_nodes=frozenset(name for each in int8 for name in _NODE.findall(each["Metadata"])),
    )


def _fields(line: str) -> dict[str, str]:
    parts = (part.partition(": ") for part in _FIELD.split(line))
    return {key: value for key, _, value in parts}


def _steps(name: str) -> str:
    """``__myl_MulAddReluCast_myl0_3``: what the kernel computes."""
    return name.removeprefix("__myl_").partition("_myl")[0]


def _reads_int8(layer: dict[str, str]) -> bool:
    """Whether all activations are INT8, and the weight: a constant or another activation."""
    inputs = [dtype for _, dtype in _TENSOR.findall(layer["Inputs"])]
    constants = [dtype for _, dtype in _TENSOR.findall(layer["Constants"])]
    return set(inputs[:1]) == {"Int8"} and [*inputs, *constants].count("Int8") > 1


def _written(outputs: str) -> int:
    return sum(
        _BITS[dtype] * math.prod(abs(int(d)) for d in shape.split(",") if d) // 8
        for shape, dtype in _TENSOR.findall(outputs)
    )
