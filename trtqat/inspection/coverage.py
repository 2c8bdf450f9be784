"""Which layers of a Q/DQ graph an engine really runs in INT8.

Graph layers and engine layers are joined by the ONNX node names that TensorRT keeps: in the
metadata of an engine layer, or else inside its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from trtqat.inspection.inspector import EngineLayer
from trtqat.inspection.plan_costs import find_costs
from trtqat.inspection.profiles import MARK
from trtqat.plan.coverage import Coverage, LayerCoverage

if TYPE_CHECKING:  # onnx_ir is behind it, which build must be able to miss with a sentence
    from trtqat.graph.lenses.macs import LayerSummary

_INT8 = "int8"
# A kernel that the compiler wrote; it may as well only prepare what another one multiplies.
_GENERATED = "kgen"
# It was never seen in INT8 in a plan of TensorRT for RTX.
_NO_INT8 = "TensorRT for RTX has no INT8 transposed convolution (inferred)"
# Stands for a kernel that the GPU's compiler makes where the plan is loaded.
_STUB = "__myelin_CASK_STUB"
_INT8_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


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
        hints: By layer of the graph, what keeps it from INT8, with "(inferred)" if it only may.
        exits: ``graph.lenses.exits.float_exits(model)``.
    """
    found = _find_layers({layer.name_in_engine for layer in graph}, engine)
    used = {each.name for layers in found.values() for each in layers}
    # A NoOp is a name for memory that is already right.
    rest = [layer for layer in engine if layer.name not in used and layer.kind != "NoOp"]
    quantizers = [each.name for each in rest if each.is_quantizer]
    reformats = [each.name for each in rest if each.is_reformat and each.name not in quantizers]
    times_ms = times_ms or {}
    called = Counter(layer.name_in_engine for layer in graph)
    reading_codes = _reading_codes(graph, found)
    is_compiled = has_compiled_subgraph(engine)
    return Coverage(
        tuple(
            _cover(
                layer,
                found.get(layer.name_in_engine, ()),
                times_ms,
                is_compiled,
                (hints or {}).get(layer.name, ""),
                (exits or {}).get(layer.name),
                reading_codes,
                called[layer.name_in_engine],
            )
            for layer in graph
        ),
        tuple(reformats),
        tuple(quantizers),
        tuple(
            each.name for each in rest if each.name not in reformats and each.name not in quantizers
        ),
        times_ms,
        has_kernels=not any(each.tactic == _STUB or each.is_compiled_late for each in engine),
        costs=find_costs(graph, found, exits or {}),
    )


def has_compiled_subgraph(engine: Sequence[EngineLayer]) -> bool:
    """Whether TensorRT's Myelin compiler made one engine layer of a whole part of the graph.

    Such a layer is named after its first and last node only.
    """
    return any(layer.kind == "Myelin" or "ForeignNode[" in layer.name for layer in engine)


def is_compiled_subgraph(layer: EngineLayer) -> bool:
    """Whether an engine layer is such a part itself, not a reformat beside it."""
    return layer.kind == "Myelin" or layer.name.startswith("{ForeignNode[")


def _find_layers(
    names: set[str], engine: Sequence[EngineLayer]
) -> dict[str, tuple[EngineLayer, ...]]:
    """The engine layers that run each layer of the graph.

    What only prepares or finishes a product, or shapes its output, names it as well. So those count
    whose kind says that they multiply, or else those that hold weights. What only moves its output
    never counts, not even if nothing else names it: what it reads says nothing of the product.
    """
    naming: dict[str, list[EngineLayer]] = {}
    for layer in engine:
        if layer.only_moves:
            continue
        for name in _graph_layers(layer, names):
            naming.setdefault(name, []).append(layer)
    found = {}
    for name, layers in naming.items():
        products = [layer for layer in layers if layer.is_product]
        products = products or [layer for layer in layers if layer.is_late_product]
        weighted = [layer for layer in layers if layer.weight_dtype]
        found[name] = tuple(products or weighted or layers[-1:])
    return found


def _graph_layers(layer: EngineLayer, names: set[str]) -> list[str]:
    """The layers of the graph that an engine layer runs."""
    if layer.onnx_nodes:
        return [node for node in layer.onnx_nodes if node in names]
    # Without metadata: "w + /conv/Conv + PWN(/act/Relu)". A name can be part of a longer one.
    parts = re.split(r" \+ |[(),]", MARK.sub("", layer.name))
    return [part.strip() for part in parts if part.strip() in names]


def _cover(
    layer: LayerSummary,
    running: Sequence[EngineLayer],
    times_ms: Mapping[str, float],
    is_compiled: bool,
    hint: str,
    exit_reason: str | None,
    reading_codes: Collection[str],
    called_so: int,
) -> LayerCoverage:
    engine, runs = _run_int8(running, reading_codes)
    # Of several nodes of one name, nothing tells which kernel is whose.
    is_told = called_so == 1 or (runs is True and len(running) >= called_so)
    if not is_told:
        engine, runs = None, None
    if (runs and layer.operator not in _INT8_OPERATORS) or layer.quantized_inside:
        runs = None  # one of the many engine layers that a recurrence, say, becomes
    nodes = () if engine is None else engine.onnx_nodes
    written = engine.outputs[0].dtype if engine is not None and engine.outputs else ""
    if runs and layer.is_int8:
        # TensorRT for RTX always has another kernel quantize: that is a cost of its own.
        tells = not (engine and engine.is_product) or exit_reason is not None
        reason = _exit(written, exit_reason) if tells else ""
    elif not is_told:
        reason = f"{called_so} nodes of the graph have its name" if layer.wants_int8 else ""
    else:
        reason = _reason(layer, engine, runs, is_compiled, hint)
    return LayerCoverage(
        name=layer.name,
        operator=layer.operator,
        wants_int8=layer.wants_int8,
        runs_int8=runs,
        macs=layer.macs,
        engine_layer="" if engine is None else engine.name,
        tactic="" if engine is None else engine.tactic,
        fused_with=tuple(node for node in nodes if node != layer.name_in_engine),
        output_dtype=written,
        time_ms=None if engine is None else times_ms.get(engine.name),
        reason=reason,
        input_dtypes=() if engine is None else tuple(tensor.dtype for tensor in engine.inputs),
        weight_dtype="" if engine is None else engine.weight_dtype,
    )


def _reading_codes(
    graph: Sequence[LayerSummary], found: Mapping[str, tuple[EngineLayer, ...]]
) -> set[str]:
    """Names of the kernels whose products read codes, and floats only to add or to scale.

    A kernel of attention reads a mask and a scale in floating point besides. Its products read
    codes if it runs the DequantizeLinear nodes of all their operands itself, and has an INT8 input
    for each operand that it does not compute: one more than products, of which each but the first
    reads what the one before it made. A convolution reads a float residual operand besides, and its
    weights are one of the two.
    """
    layers: dict[str, list[LayerSummary]] = {}
    kernels: dict[str, EngineLayer] = {}
    for layer in graph:
        for engine in found.get(layer.name_in_engine, ()):
            layers.setdefault(engine.name, []).append(layer)
            kernels[engine.name] = engine
    return {
        name
        for name, engine in kernels.items()
        if all(
            layer.is_int8 and set(layer.dequantizers) <= set(engine.onnx_nodes)
            for layer in layers[name]
        )
        and [*(tensor.dtype for tensor in engine.inputs), engine.weight_dtype].count(_INT8)
        > len(layers[name])
    }


def _run_int8(
    running: Sequence[EngineLayer], reading_codes: Collection[str]
) -> tuple[EngineLayer | None, bool | None]:
    """Whether all of them run in INT8; None if that is not known of all.

    Returns:
        The first one that decides it, too: what is said of the layer is said of that one.
    """
    known = [(engine, _runs_int8(engine, reading_codes)) for engine in running]
    for state in (False, None, True):
        deciding = [engine for engine, runs in known if runs is state]
        if deciding:
            return deciding[0], state
    return None, None


def _runs_int8(engine: EngineLayer, reading_codes: Collection[str]) -> bool | None:
    """By its weights, or, where it has none, by its inputs; None if neither is described.

    Where a kind says that it multiplies, weights and inputs are both described, and both count.
    """
    dtypes = {tensor.dtype for tensor in engine.inputs}
    if engine.is_product:
        if engine.name in reading_codes and engine.weight_dtype in ("", _INT8):
            return True
        return dtypes | ({engine.weight_dtype} - {""}) == {_INT8} if dtypes else None
    if engine.is_late_product:
        return False if engine.casts_first or dtypes - {"", _INT8} else None
    # What a subgraph reads says nothing of the many layers inside.
    if engine.kind == _GENERATED or is_compiled_subgraph(engine):
        return None
    if engine.weight_dtype:
        # What is added to a product may be floats: its data come first.
        data = engine.inputs[0].dtype if engine.inputs else ""
        return engine.weight_dtype == _INT8 and data in ("", _INT8)
    if "" in dtypes:
        # Beside others, one that is not understood may be anything.
        return False if dtypes - {"", _INT8} else None
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
    if layer.quantized_inside:
        return f"what it runs inside, first '{layer.quantized_inside[0]}', is not counted as INT8"
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
    if engine.casts_first:
        why = f": {hint}" if hint else " (inferred)"
        return f"in the plan its codes become floats before they are multiplied{why}"
    # What is compiled late has no kernel that was chosen.
    if engine.is_product or engine.is_compiled_late:
        reads = ", ".join(tensor.dtype or "?" for tensor in engine.inputs) or "nothing"
        weights = f" and {engine.weight_dtype} weights" if engine.weight_dtype else ""
        why = hint or (_NO_INT8 if engine.is_transposed else "")
        return f"in the plan it reads {reads}{weights}" + (f": {why}" if why else "")
    kernel = engine.tactic or "a kernel without a name"
    return f"TensorRT chose {kernel}: {hint or 'no INT8 one fits, or none is faster (inferred)'}"
