"""The float engine of the same graph: what an INT8 engine has to be better than."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trtqat.engine.builder import build
from trtqat.engine.options import BuildOptions
from trtqat.engine.profiles import ProfileOptions
from trtqat.errors import PlanError, UsageError
from trtqat.files import sha256_of
from trtqat.runtime.manifest import check_plan

_LOG = logging.getLogger(__name__)

# Options that a float engine takes over from the INT8 engine's manifest.
_SAME = (
    "workspace_bytes",
    "optimization_level",
    "tactic_sources",
    "version_compatible",
    "hardware_compatibility",
)


def float_engine(
    plan: Path,
    manifest: Mapping[str, Any] | None,
    graph: Path,
    precision: Literal["fp16", "fp32"],
) -> Path:
    """Builds the engine of a Q/DQ graph without its quantization, as the INT8 engine was built.

    It is written beside the INT8 engine (``model.engine`` → ``model.fp16.engine``) and taken from
    there the next time, if it is of this graph and these options.

    Args:
        plan: The INT8 engine.
        manifest: Fields of its manifest, which has its shapes and options.
        graph: What it was built from.
        precision: Of the new engine; TensorRT may choose TF32 for ``fp32``, as is its default.

    Returns:
        The float engine's plan.

    Raises:
        UsageError: There is no manifest, or no file can be written beside the plan.
        GraphError: The graph cannot be read, or has an INT8 input.
        BuildError: TensorRT does not build it.
        MissingError: There is no TensorRT builder, or no GPU.
    """
    if not manifest:
        raise UsageError(
            f"'{plan}' has no manifest, so the shapes and options of a float engine are not known.",
            "Build it with trtqat build, or leave out --compare.",
        )
    import onnx_ir as ir

    from trtqat.graph.reading import read_model
    from trtqat.graph.remove_quantization import remove_quantization

    output = plan.with_name(f"{plan.stem}.{precision}{plan.suffix}")
    options = _options(manifest, precision)
    with tempfile.TemporaryDirectory() as folder:
        plain = read_model(graph)
        remove_quantization(plain)
        source = Path(folder) / f"{graph.stem}.{precision}.onnx"
        ir.save(plain, str(source))
        if _is_current(output, manifest, sha256_of(source), options):
            _LOG.info("Taking '%s', which was built before.", output)
        else:
            _LOG.info("Building '%s' to compare with.", output)
            build(source, output, options)
    return output


def _options(manifest: Mapping[str, Any], precision: Literal["fp16", "fp32"]) -> BuildOptions:
    shapes = {
        bound: {name: tuple(each[bound]) for name, each in manifest["profiles"].items()}
        for bound in ("min", "opt", "max")
    }
    recorded = manifest.get("options", {})
    return BuildOptions(
        profile=ProfileOptions(
            min_shapes=shapes["min"], opt_shapes=shapes["opt"], max_shapes=shapes["max"]
        ),
        precision=precision,
        **{name: recorded[name] for name in _SAME if name in recorded},
    )


def _is_current(
    output: Path, manifest: Mapping[str, Any], graph_sha256: str, options: BuildOptions
) -> bool:
    """Whether an earlier float engine is whole, and of the same graph, host and options."""
    try:
        found = check_plan(output.read_bytes(), output)
    except (OSError, PlanError):
        return False
    if found is None:
        return False
    wanted = json.loads(json.dumps({name: getattr(options, name) for name in _SAME}))
    return (
        found.get("graph_sha256") == graph_sha256
        and found.get("profiles") == manifest["profiles"]
        and all(found.get(name) == manifest.get(name) for name in ("tensorrt", "gpu"))
        and {name: found.get("options", {}).get(name) for name in _SAME} == wanted
    )
