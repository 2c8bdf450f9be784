"""Which layers of a Q/DQ graph an engine really runs in INT8.

Graph layers and engine layers are joined by the ONNX node names that TensorRT keeps: in the
metadata of an engine layer, or else inside its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from trtqat.errors import GateError
from trtqat.inspection.inspector import EngineLayer

if TYPE_CHECKING:  # onnx_ir is behind it, which build must be able to miss with a sentence
    from trtqat.graph.lenses.macs import LayerSummary

_INT8 = "int8"
_INT8_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class LayerCoverage:
    """How an engine runs one layer of the graph.

    Attributes:
        name: The layer of the graph.
        operator: Its ONNX operator.
        wants_int8: Whether both its operands come from DequantizeLinear.
        runs_int8: Whether the engine runs it in INT8; None if the file does not say.
        macs: Multiply-accumulates for one sample; None if a shape is not known.
        engine_layer: Name of the engine layer that runs it; empty if none was found.
        tactic: Its kernel.
        fused_with: The other nodes of the graph that the same engine layer runs.
        output_dtype: Type of what it writes; empty if the file does not say.
        time_ms: Time of that engine layer; None if it was not measured.
        reason: Why it is not INT8 though it should be, or writes floating point, as far as can
            be told; every reason that TensorRT did not give itself says that it is inferred.
    """

    name: str
    operator: str
    wants_int8: bool
    runs_int8: bool | None
    macs: int | None
    engine_layer: str
    tactic: str
    fused_with: tuple[str, ...]
    output_dtype: str
    time_ms: float | None
    reason: str

    @property
    def leaves_int8(self) -> bool:
        """Whether it runs in INT8, and writes floating point into the engine."""
        floats = self.output_dtype not in ("", _INT8)
        return bool(self.wants_int8 and self.runs_int8 and floats and self.reason)


@dataclass(frozen=True)
class Coverage:
    """A graph's layers as an engine runs them.

    Attributes:
        layers: One for each layer of the graph, in its order.
        reformats: Engine layers that only convert formats or types.
        quantizers: Engine layers that quantize or dequantize on their own.
        others: Engine layers that run no layer of the graph, without those two.
        times_ms: Time by engine layer; empty if it was not measured.
    """

    layers: tuple[LayerCoverage, ...]
    reformats: tuple[str, ...]
    quantizers: tuple[str, ...]
    others: tuple[str, ...]
    times_ms: Mapping[str, float] = field(default_factory=dict)

    def time_ms(self, names: Sequence[str]) -> float | None:
        """Time of some engine layers together; None if none was measured."""
        found = [self.times_ms[name] for name in names if name in self.times_ms]
        return sum(found) if found else None

    @property
    def wanted(self) -> tuple[LayerCoverage, ...]:
        """The layers that the graph quantizes."""
        return tuple(layer for layer in self.layers if layer.wants_int8)

    @property
    def leaving(self) -> tuple[LayerCoverage, ...]:
        """Those that run in INT8 and write floating point, though they are not the last ones."""
        return tuple(layer for layer in self.wanted if layer.leaves_int8)

    @property
    def missed(self) -> tuple[LayerCoverage, ...]:
        """Those of them that are not seen to run in INT8."""
        return tuple(layer for layer in self.wanted if layer.runs_int8 is not True)

    @property
    def unwanted(self) -> tuple[LayerCoverage, ...]:
        """What multiplies in the graph, and which the graph does not quantize."""
        return tuple(layer for layer in self.layers if not layer.wants_int8)

    @property
    def not_counted(self) -> tuple[LayerCoverage, ...]:
        """Layers whose arithmetic is not known."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    @property
    def int8_share(self) -> float | None:
        """Share of the arithmetic that runs in INT8, from 0 to 1.

        None if none is known, or that of something that is not seen in INT8 is not.
        """
        from trtqat.graph.lenses.macs import int8_share

        return int8_share((layer.runs_int8, layer.macs) for layer in self.layers)

    def check_int8(self, graph: Path | str) -> None:
        """The gate ``--require-int8``.

        Args:
            graph: Where to look for the reasons.

        Raises:
            GateError: A quantized layer is not seen in INT8, or there is none.
        """
        missed, wanted = self.missed, self.wanted
        if missed or not wanted:
            raise GateError(
                f"{len(missed)} of {len(wanted)} quantized layers are not seen in INT8"
                + (f", first '{missed[0].name}'." if missed else "."),
                f"Look for their findings with: trtqat lint {quote(str(graph))}",
            )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            **asdict(self),
            "wanted": len(self.wanted),
            "missed": len(self.missed),
            "leaving": len(self.leaving),
            "int8_share": self.int8_share,
        }


def cover(
    graph: Sequence[LayerSummary],
    engine: Sequence[EngineLayer],
    times_ms: Mapping[str, float] | None = None,
    *,
    hints: Mapping[str, str] | None = None,
    exits: Mapping[str, str] | None = None,
) -> Coverage:
    """Joins the layers of a graph with those of the engine that was built from it.

    Args:
        graph: ``graph.lenses.macs.summarize(model).layers``.
        engine: ``inspection.inspector.read_layers``.
        times_ms: Time by engine layer, if it was measured.
        hints: By layer of the graph, what may keep it from INT8.
        exits: ``graph.lenses.exits.float_exits(model)``.
    """
    names = {layer.name for layer in graph}
    found = {name: layer for layer in engine for name in _graph_layers(layer, names)}
    used = {layer.name for layer in found.values()}
    # A NoOp is a name for memory that is already right.
    rest = [layer for layer in engine if layer.name not in used and layer.kind != "NoOp"]
    quantizers = [each.name for each in rest if re.search("QuantizeLinear", each.name)]
    reformats = [each.name for each in rest if each.is_reformat and each.name not in quantizers]
    times_ms = times_ms or {}
    is_compiled = has_compiled_subgraph(engine)
    return Coverage(
        tuple(
            _cover(
                layer,
                found.get(layer.name),
                times_ms,
                is_compiled,
                (hints or {}).get(layer.name, ""),
                (exits or {}).get(layer.name),
            )
            for layer in graph
        ),
        tuple(reformats),
        tuple(quantizers),
        tuple(
            each.name for each in rest if each.name not in reformats and each.name not in quantizers
        ),
        times_ms,
    )


def has_compiled_subgraph(engine: Sequence[EngineLayer]) -> bool:
    """Whether TensorRT's Myelin compiler made one engine layer of a whole part of the graph.

    Such a layer is named after its first and last node only.
    """
    return any(layer.kind == "Myelin" or "ForeignNode[" in layer.name for layer in engine)


def is_compiled_subgraph(layer: EngineLayer) -> bool:
    """Whether an engine layer is such a part itself, not a reformat beside it."""
    return layer.kind == "Myelin" or layer.name.startswith("{ForeignNode[")


def _graph_layers(layer: EngineLayer, names: set[str]) -> list[str]:
    """The layers of the graph that an engine layer runs."""
    if layer.onnx_nodes:
        return [node for node in layer.onnx_nodes if node in names]
    # Without metadata: "w + /conv/Conv + PWN(/act/Relu)". A name can be part of a longer one.
    parts = re.split(r" \+ |[(),]", layer.name)
    return [part.strip() for part in parts if part.strip() in names]


def _cover(
    layer: LayerSummary,
    engine: EngineLayer | None,
    times_ms: Mapping[str, float],
    is_compiled: bool,
    hint: str,
    exit_reason: str | None,
) -> LayerCoverage:
    runs = None if engine is None else _runs_int8(engine)
    if runs and layer.operator not in _INT8_OPERATORS:
        runs = None  # one of the many engine layers that a recurrence, say, becomes
    nodes = () if engine is None else engine.onnx_nodes
    written = engine.outputs[0].dtype if engine is not None and engine.outputs else ""
    if runs and layer.is_int8:
        reason = _exit(written, exit_reason)
    else:
        reason = _reason(layer, engine, runs, is_compiled, hint)
    return LayerCoverage(
        name=layer.name,
        operator=layer.operator,
        wants_int8=layer.is_int8,
        runs_int8=runs,
        macs=layer.macs,
        engine_layer="" if engine is None else engine.name,
        tactic="" if engine is None else engine.tactic,
        fused_with=tuple(node for node in nodes if node != layer.name),
        output_dtype=written,
        time_ms=None if engine is None else times_ms.get(engine.name),
        reason=reason,
    )


def _runs_int8(engine: EngineLayer) -> bool | None:
    """By its weights, or, where it has none, by its inputs; None if neither is described."""
    if engine.weight_dtype:
        return engine.weight_dtype == _INT8
    dtypes = {tensor.dtype for tensor in engine.inputs} - {""}
    return dtypes == {_INT8} if dtypes else None


def _exit(written: str, exit_reason: str | None) -> str:
    """Why a layer that runs in INT8 writes something else."""
    if written in ("", _INT8) or exit_reason == "":
        return ""
    return f"{exit_reason or 'TensorRT found no INT8 output that is faster'} (inferred)"


def _reason(
    layer: LayerSummary,
    engine: EngineLayer | None,
    runs: bool | None,
    is_compiled: bool,
    hint: str,
) -> str:
    if not layer.is_int8:
        return ""
    if engine is None:
        if is_compiled:
            return (
                "TensorRT compiled it into a subgraph, inside of which its inspector names no "
                "layers (inferred)"
            )
        return "no engine layer names it: TensorRT may have computed or removed it (inferred)"
    if runs is None:
        return "the file does not say in which type it runs"
    kernel = engine.tactic or "a kernel without a name"
    return f"TensorRT chose {kernel}: {hint or 'no INT8 one fits, or none is faster'} (inferred)"
