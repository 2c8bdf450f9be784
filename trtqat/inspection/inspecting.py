"""``trtqat.inspect``: what a graph, an engine or a file of an engine's layers consists of."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from trtqat.checks import check_kind, check_known
from trtqat.errors import UsageError
from trtqat.extras import require
from trtqat.files import is_plan
from trtqat.inspection.inspected_graph import InspectedGraph, lint
from trtqat.inspection.options import InspectOptions

if TYPE_CHECKING:
    from trtqat.inspection.inspected_engine import InspectedEngine
    from trtqat.inspection.inspected_layers import InspectedLayers
    from trtqat.inspection.inspected_plan import InspectedPlan

Inspected: TypeAlias = "InspectedGraph | InspectedEngine | InspectedPlan | InspectedLayers"


def inspect(
    path: Path | str,
    options: InspectOptions | None = None,
    **changes: Any,  # noqa: ANN401
) -> Inspected:
    """Shows what in a graph costs speed or accuracy, or which layers an engine runs in INT8.

    An engine needs TensorRT and a GPU. Where it does not run, what its build recorded is shown.
    Graphs and layer files need neither.

    Args:
        path: An ONNX file, a plan, or a ``.json`` of an engine's layers
            (``trtexec --exportLayerInfo``).
        options: What to ask.
        changes: Fields of ``InspectOptions`` instead, as ``inspect("model.engine", passes=0)``.

    Returns:
        ``InspectedGraph`` for an ONNX file, ``InspectedEngine`` for a plan, or
        ``InspectedPlan`` where it does not run; ``InspectedLayers`` for a layer file.

    Raises:
        UsageError: There is no such option, it is not for that kind of file, or they do not fit
            each other.
        GraphError: A graph or layer file cannot be read, or is of another engine.
        PlanError: The plan is damaged, or for another TensorRT or GPU.
        MissingError: TensorRT, a GPU or a package is not here.
        InferenceError: TensorRT or PyTorch failed to compute.
    """
    check_kind("The file to inspect", path, (str, os.PathLike), "'model.engine'")
    path = Path(path)
    check_known(changes, [each.name for each in fields(InspectOptions)], "an inspection")
    options = InspectOptions() if options is None else options
    check_kind("The options of an inspection", options, InspectOptions, "InspectOptions()")
    options = replace(options, **changes)
    is_engine = path.suffix != ".json" and is_plan(path)
    if options.for_ is not None and (path.suffix == ".json" or is_engine):
        raise UsageError(f"--for is for graphs, and '{path}' is none.", "Leave it out.")
    if is_engine:
        return _inspect_plan(path, options)
    _require_onnx()
    if path.suffix == ".json":
        from trtqat.inspection.inspected_layers import inspect_layer_file

        return inspect_layer_file(path, options)
    # A graph has no batch size and no passes of its own, and neither changes what is found.
    about_graphs = InspectOptions(
        batch_size=options.batch_size, passes=options.passes, for_=options.for_
    )
    if options != about_graphs:
        raise UsageError(
            f"'{path}' is a graph; --graph, --shapes, --require-int8, --trust, --weights, "
            "--plugins, --allow-engine-code, --roofline, --ceilings, --profile, "
            "--export-layer-info and --export-profile are for engines.",
            "Give model.engine, or LAYERS.json from trtexec --exportLayerInfo=layers.json.",
        )
    return lint(path, options.for_)


def _inspect_plan(path: Path, options: InspectOptions) -> InspectedEngine | InspectedPlan:
    if options.profile is not None:
        raise UsageError(
            f"'{path}' is an engine, whose times are measured; --profile is for layer files.",
            "Leave it out, or write the times with --export-profile.",
        )
    from trtqat.inspection.inspected_plan import recorded_plan

    recorded = recorded_plan(path, options)
    if recorded is not None:
        return recorded
    _require_onnx()
    from trtqat.inspection.inspected_engine import inspect_plan

    return inspect_plan(path, options)


def _require_onnx() -> None:
    for module in ("onnx", "onnx_ir"):
        require(module, extra="onnx", purpose="Inspecting a graph or an engine")
