"""The float engine of the same graph: what an INT8 engine has to be better than."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trtqat.building.apart import build_plan_apart
from trtqat.building.options import SHARED, BuildOptions, options_again
from trtqat.building.source_graph import read_source_graph
from trtqat.errors import PlanError, UsageError
from trtqat.files import read_input
from trtqat.graph_file.hashing import graph_sha256
from trtqat.host.gpu import describe_gpu
from trtqat.host.tensorrt_library import load_rtx, load_tensorrt
from trtqat.plan.manifest import Manifest, check_plan, read_manifest
from trtqat.tensors import Precision

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FloatEngine:
    """An engine to compare with.

    Attributes:
        path: Its plan.
        is_new: Whether it was built just now, by this process; else it was found in the
            directory, where anybody may have put it.
    """

    path: Path
    is_new: bool


def float_engine(
    plan: Path,
    manifest: Manifest | None,
    graph: Path,
    precision: Precision,
    *,
    reuse: bool = True,
    timing_cache: Path | None = None,
    plugins: Sequence[Path | str] = (),
) -> FloatEngine:
    """Builds the engine of a Q/DQ graph without its quantization, as the INT8 engine was built.

    It is written beside the INT8 engine (``model.engine`` → ``model.fp16.engine``) and taken from
    there the next time, if it is of this graph, this host and these options.

    Args:
        plan: The INT8 engine.
        manifest: Its manifest, which has its shapes and options.
        graph: What it was built from.
        precision: Of the new engine; TensorRT may choose TF32 for ``fp32``, as is its default.
        reuse: Whether one that was built before may be taken.
        timing_cache: File to read and update.
        plugins: Libraries of the plugins that the INT8 engine was opened with.

    Raises:
        UsageError: There is no manifest, the graph is an FP16 one, or the file cannot be
            written beside the plan or is somebody else's.
        GraphError: The graph cannot be read, or reads codes that are computed.
        BuildError: TensorRT does not build it.
        MissingError: There is no TensorRT builder, or no GPU.
    """
    options = options_again(
        manifest, str(plan), precision, timing_cache=timing_cache, plugins=plugins
    )
    if read_source_graph(graph).has_half_scales:
        raise UsageError(
            f"'{graph}' is an FP16 graph; float engines are made of the FP32 graph.",
            "Give --graph with what trtqat export --precision fp32 writes.",
        )
    from trtqat.graph.passes.remove_quantization import remove_quantization
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import save

    output = plan.with_name(f"{plan.stem}.{precision}{plan.suffix}")
    with tempfile.TemporaryDirectory() as folder:
        plain = read_model(graph)
        remove_quantization(plain)
        source = Path(folder) / f"{graph.stem}.{precision}.onnx"
        save(plain, source)
        if reuse and _is_current(output, manifest, graph_sha256(source), options):
            _LOG.info("Taking '%s', which was built before.", output)
            return FloatEngine(output, is_new=False)
        _check_ours(output, source.name)
        _LOG.info("Building '%s' to compare with.", output)
        build_plan_apart(source, output, options)
    return FloatEngine(output, is_new=True)


def _check_ours(output: Path, graph: str) -> None:
    """Refuses to write over an engine that was not made to compare with."""
    if not output.exists():
        return
    try:
        described = read_manifest(output)
    except PlanError as error:
        _LOG.debug("%s", error)
        described = None
    if described is None or described.graph != graph:
        raise UsageError(
            f"'{output}' is in the way of the engine to compare with.",
            "Move it, or leave out --compare.",
        )


def _is_current(
    output: Path, manifest: Manifest | None, sha256: str, options: BuildOptions
) -> bool:
    """Whether an earlier float engine is whole, and of the same graph, host and options."""
    try:
        found = check_plan(read_input(output), output)
    except (OSError, PlanError):
        return False
    if found is None or manifest is None:
        return False
    if manifest.library == "rtx":
        # It was built for targets, on any host.
        here = {"tensorrt": load_rtx("A float engine").__version__, "targets": manifest.targets}
    else:
        trt = load_tensorrt("A float engine")
        here = {"tensorrt": trt.__version__, "gpu": describe_gpu().name}
    return (
        found.graph_sha256 == sha256
        and found.library == manifest.library
        and found.all_profiles == manifest.all_profiles
        and found.plugins == manifest.plugins
        and all(getattr(found, name) == value for name, value in here.items())
        # In a float engine FP16 is a matter of its precision, not of that option.
        and all(
            getattr(found.options, name) == getattr(options, name)
            for name in SHARED
            if name != "fp16"
        )
    )
