"""Which layers of a graph a plan runs in INT8: what inspection finds, and a manifest may keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from trtqat.errors import GateError
from trtqat.files import is_file

_INT8 = "int8"


@dataclass(frozen=True)
class LayerCoverage:
    """How an engine runs one layer of the graph.

    Attributes:
        name: The layer of the graph.
        operator: Its ONNX operator.
        wants_int8: Whether both its operands come from DequantizeLinear, or those of a layer inside
            of it.
        runs_int8: Whether the engine runs it in INT8; None if the file does not say.
        macs: Multiply-accumulates for one sample; None if a shape is not known.
        engine_layer: Name of the engine layer that runs it; empty if none was found.
        input_dtypes: Types of what that engine layer reads, its weights apart.
        weight_dtype: Type of its weights; empty if it has none, or the file does not say.
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
    input_dtypes: tuple[str, ...] = ()
    weight_dtype: str = ""

    @property
    def leaves_int8(self) -> bool:
        """Whether it runs in INT8, and writes floating point into the engine."""
        floats = self.output_dtype not in ("", _INT8)
        return bool(self.wants_int8 and self.runs_int8 and floats and self.reason)


@dataclass(frozen=True)
class PlanCost:
    """What a plan of TensorRT for RTX does besides the graph's arithmetic, for one sample.

    Attributes:
        kind: ``widened``: convolutions with more channels in a group than the graph gives them.
            ``float-output``: INT8 layers that write floating point, which another kernel reads and
            quantizes. ``float32``: layers that write FP32, and FP16 if the graph has FP16.
        layers: The layers of the graph.
        amount: Multiply-accumulates (``widened``), or bytes that are written.
        least: The same without that cost.
    """

    kind: Literal["widened", "float-output", "float32"]
    layers: tuple[str, ...]
    amount: int
    least: int


@dataclass(frozen=True)
class Coverage:
    """A graph's layers as an engine runs them.

    Attributes:
        layers: One for each layer of the graph, in its order.
        reformats: Engine layers that only convert formats or types.
        quantizers: Engine layers that quantize or dequantize on their own.
        others: Engine layers that run no layer of the graph, without those two.
        times_ms: Time by engine layer; empty if it was not measured.
        has_kernels: Whether the kernels are chosen. A plan of TensorRT for RTX has none yet: they
            are compiled where it is loaded, so it shows which inputs and weights are INT8.
        costs: What such a plan does besides.
        profiles: Of a plan of several shape profiles, the batches of those that were looked at, as
            ``"8"`` or ``"1:32:128"``, or where their sizes differ ``"images:1:8:32x3x48x160"``: a
            layer is INT8 if it is in each of them. Empty of a plan of one.
    """

    layers: tuple[LayerCoverage, ...]
    reformats: tuple[str, ...]
    quantizers: tuple[str, ...]
    others: tuple[str, ...]
    times_ms: Mapping[str, float] = field(default_factory=dict)
    has_kernels: bool = True
    costs: tuple[PlanCost, ...] = ()
    profiles: tuple[str, ...] = ()

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
    def unasked(self) -> tuple[LayerCoverage, ...]:
        """Those of them that run in INT8 nevertheless, as behind pairs that are not plain INT8."""
        return tuple(layer for layer in self.unwanted if layer.runs_int8)

    @property
    def not_counted(self) -> tuple[LayerCoverage, ...]:
        """Layers whose arithmetic is not known."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    @property
    def int8_share(self) -> float | None:
        """Share of the arithmetic that runs in INT8, from 0 to 1.

        None if none is known, or that of something that is not seen in INT8 is not.
        """
        return int8_share((layer.runs_int8, layer.macs) for layer in self.layers)

    def check_int8(self, graph: Path | str) -> None:
        """The gate ``--require-int8``.

        Args:
            graph: Where to look for the reasons.

        Raises:
            GateError: A quantized layer is not seen in INT8, or there is none.
        """
        missed, wanted = self.missed, self.wanted
        if not wanted and self.unasked:
            raise GateError(
                f"No layer of '{graph}' has pairs of plain INT8 at both operands, though the plan "
                f"runs {len(self.unasked)} of {len(self.layers)} in INT8.",
                "What is wrong with the pairs is found by trtqat lint; where they have an equal in "
                "plain INT8, trtqat export writes it.",
            )
        if not wanted:
            raise GateError(
                f"0 of {len(self.layers)} layers are INT8: '{graph}' quantizes none.",
                "Build a graph with Q/DQ at both operands of its layers, as trtqat export writes "
                "it; where trtqat tune found FP16 to be faster, leave out --require-int8.",
            )
        if missed:
            raise GateError(
                f"{len(missed)} of {len(wanted)} quantized layers are not seen in INT8, first "
                f"'{missed[0].name}'.",
                self._way_out(graph),
            )

    def _way_out(self, graph: Path | str) -> str:
        """What to do about layers that are not seen in INT8."""
        fused = self._fused_in_float32
        ways = []
        if fused:
            ways.append(
                f"One kernel that reads float32 runs '{fused[0].name}' with other products. "
                "TensorRT for RTX may have INT8 for them in an FP16 graph: trtqat export "
                "--precision fp16 --opset 19."
            )
        if len(fused) < len(self.missed):
            # Only a plan of TensorRT for RTX has no kernels.
            target = "" if self.has_kernels else " --for rtx"
            ways.append(
                "The reason of each stands in the result; what in the graph may be behind it "
                + (
                    f"is found by: trtqat lint {quote(str(graph))}{target}"
                    if is_file(graph)
                    else f"is found by trtqat lint{target} where '{graph}' is."
                )
            )
        return " ".join(ways)

    @property
    def _fused_in_float32(self) -> tuple[LayerCoverage, ...]:
        """Products of an FP32 graph that one kernel of TensorRT for RTX runs together, not in INT8.

        So it runs attention of a single query in FP32 graphs, and in FP16 ones product by product.
        """
        dtypes = {dtype for layer in self.layers for dtype in layer.input_dtypes}
        if self.has_kernels or "float16" in dtypes:
            return ()
        runs = Counter(layer.engine_layer for layer in self.wanted)
        return tuple(
            layer
            for layer in self.missed
            if "float32" in layer.input_dtypes and runs[layer.engine_layer] > 1
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


def int8_share(layers: Iterable[tuple[bool | None, int | None]]) -> float | None:
    """Share of INT8, from 0 to 1; None if nothing, or not all floating point, is counted.

    Args:
        layers: Whether each is INT8, and its multiply-accumulates.
    """
    int8 = total = 0
    for is_int8, macs in layers:
        if macs is None and not is_int8:
            return None
        total += macs or 0
        int8 += (macs or 0) if is_int8 else 0
    return int8 / total if total else None
