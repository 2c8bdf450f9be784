"""``build``: from an ONNX file with Q/DQ to a plan and its manifest, by TensorRT's builder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtqat.building.failed_build import advice_on_building, is_refused_cache
from trtqat.building.network import Network, configure, parse_network
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import BuildKeywords, parse_options
from trtqat.building.plan_files import make_manifest, write_plan
from trtqat.building.profiles import resolve_profile
from trtqat.building.progress import build_watched
from trtqat.building.source_graph import read_source_graph
from trtqat.building.timing_cache import load_timing_cache, save_timing_cache
from trtqat.building.triton.repository import TritonModel, check_repository, write_repository
from trtqat.checks import check_kind
from trtqat.errors import BuildError, TrtqatError, UsageError
from trtqat.files import check_writable
from trtqat.host.tensorrt_library import (
    advice_on_loading,
    device_memory_bytes,
    load_tensorrt,
    open_device,
)
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.plan.signature import make_signature, read_private_key

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from trtqat.inspection.coverage import Coverage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """What was written, and what of it runs in INT8.

    Attributes:
        path: The plan.
        graph: What it was built from.
        manifest: What stands in the file beside it.
        qdq_pairs: Number of Q/DQ pairs in the graph.
        warnings: What TensorRT warned of.
        served: What was written for Triton, if that was asked for.
        coverage: How the engine runs the layers of the graph; None if that is not known, or if
            nobody asks for INT8.
        coverage_error: Why it is not known; None if it is, or if nobody asks for INT8.
    """

    path: Path
    graph: Path
    manifest: Manifest
    qdq_pairs: int
    warnings: tuple[str, ...]
    served: TritonModel | None = None
    coverage: Coverage | None = None
    coverage_error: TrtqatError | None = field(default=None, repr=False, compare=False)

    def check_int8(self) -> None:
        """The gate ``--require-int8``.

        Raises:
            UsageError: It is no INT8 engine.
            GateError: A quantized layer is not seen in INT8, or there is none.
            TrtqatError: What runs in INT8 is not known: ``coverage_error``.
        """
        if self.coverage_error is not None:
            raise self.coverage_error
        if self.coverage is None:
            raise UsageError(
                f"'{self.path}' was built without INT8, so no layer can be seen in it.",
                "Build it with precision='int8'.",
            )
        self.coverage.check_int8(self.graph)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            "path": self.path,
            "manifest": asdict(self.manifest),
            "qdq_pairs": self.qdq_pairs,
            "warnings": self.warnings,
            "served": None if self.served is None else asdict(self.served),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
        }

    def __repr__(self) -> str:
        return (
            f"BuildResult('{self.path}', {self.qdq_pairs} Q/DQ pairs, "
            f"{len(self.warnings)} warnings)"
        )


def build(
    graph: Path | str,
    plan: Path | str,
    options: BuildOptions | None = None,
    **keywords: Unpack[BuildKeywords],
) -> BuildResult:
    """Builds an INT8 engine and asks which layers run in INT8, or a float one to compare it with.

    Plan, manifest and what Triton gets are written before the engine is asked. Where it does not
    answer, they stay: the log says why, and so does ``coverage_error``.

    Example: ``build("model.onnx", "model.engine", batch="1:32:128").check_int8()``

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        plan: The file to write; its manifest goes beside it.
        options: How to build it; or else keywords say so.
        **keywords: The options of ``trtqat build``, as ``BuildKeywords`` lists them.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: An option has a wrong form, the shapes do not fit, the key is none, the plan
            cannot be written, or Triton cannot serve such an engine.
        BuildError: TensorRT refuses the graph, finds no implementation, or cannot load its plan.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    check_kind("The graph", graph, (str, os.PathLike), "'model.onnx'")
    check_kind("The plan", plan, (str, os.PathLike), "'model.engine'")
    graph, plan = Path(graph), Path(plan)
    if options is None:
        options = parse_options(plan, **keywords)
    elif keywords:
        raise UsageError(
            f"A build got options, and {next(iter(keywords))} besides.",
            "Give BuildOptions alone, or keywords alone.",
        )
    check_kind("The options of a build", options, BuildOptions, "BuildOptions()")
    built = build_plan(graph, plan, options)
    if options.precision != "int8":
        return built
    try:
        return replace(built, coverage=_cover(built, options))
    except TrtqatError as error:
        # The plan is built and written; not to know its layers is no failed build.
        _LOG.warning("Which layers run in INT8 is not known: %s", error)
        return replace(built, coverage_error=error)


def build_plan(graph: Path | str, plan: Path | str, options: BuildOptions) -> BuildResult:
    """Builds an engine and loads it once, without asking which layers run in INT8.

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        plan: The file to write; its manifest goes beside it.
        options: How to build it.

    Returns:
        What was written, without its coverage.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: The shapes do not fit, the key is none, the plan cannot be written, or Triton
            cannot serve such an engine.
        BuildError: TensorRT refuses the graph, finds no implementation, or cannot load its plan.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    graph, plan = Path(graph), Path(plan)
    check_writable(plan)
    key = None if options.sign is None else read_private_key(Path(options.sign))
    source = read_source_graph(graph, quantized=options.precision == "int8")
    trt = load_tensorrt("Building an engine")
    open_device("Building an engine")
    network = parse_network(trt, source)
    profile = resolve_profile(network.inputs, options.profile)
    triton = options.triton
    if triton is not None:
        shapes = network.inputs, network.outputs, profile
        check_repository(triton.repository, *shapes, triton.options)
    content, manifest = _make_plan(network, profile, options)
    signature = None if key is None else make_signature(manifest.to_json().encode(), key)
    write_plan(plan, content, manifest, signature)
    served = None
    if triton is not None:
        served = write_repository(
            triton.repository, content, manifest, triton.options, signature=signature
        )
    warnings = tuple(network.messages.warnings)
    return BuildResult(plan, graph, manifest, source.qdq_pairs, warnings, served)


def _cover(built: BuildResult, options: BuildOptions) -> Coverage:
    """Asks TensorRT's inspector which layers of the graph run in INT8 in what was just built."""
    from trtqat.inspection.engine_layers import cover_graph, inspect_engine
    from trtqat.runtime.engine import Engine

    engine = Engine(
        built.path,
        allow_engine_code=True,  # it is what was built here a moment ago
        flavour="full",
        weights=built.graph if options.strip_weights else None,
    )
    with closing(engine):
        return cover_graph(built.graph, inspect_engine(engine).layers)


def _make_plan(
    network: Network, profile: Mapping[str, ProfileShapes], options: BuildOptions
) -> tuple[bytes, Manifest]:
    """The plan and what is to be said of it; the timing cache is on the disk by then."""
    path = None if options.timing_cache is None else Path(options.timing_cache)
    config = configure(network, profile, options)
    cache = load_timing_cache(config, path)
    start = time.monotonic()
    plan, reason = _serialize(network, config)
    if plan is None and is_refused_cache(network.messages, path):
        _LOG.warning(
            "TensorRT %s cannot use the timing cache '%s' for this graph: building without it.",
            network.trt.__version__,
            path,
        )
        config, cache = configure(network, profile, options), None
        plan, reason = _serialize(network, config)
    if plan is None:
        raise BuildError(
            f"TensorRT could not build the engine: {reason}.",
            advice_on_building(network.messages, network.source, options),
        )
    manifest = make_manifest(
        plan,
        network.source,
        options,
        tensorrt=network.trt.__version__,
        inputs=network.inputs,
        outputs=network.outputs,
        profile=profile,
        build_seconds=time.monotonic() - start,
        device_memory_bytes=_load_once(network, plan),
    )
    # Before the plan: with it the next build is fast, should the plan not fit onto the disk.
    save_timing_cache(config, cache, path)
    return plan, manifest


def _serialize(network: Network, config: Any) -> tuple[bytes | None, str]:  # noqa: ANN401
    return build_watched(network.trt, network.builder, network.definition, config, network.messages)


def _load_once(network: Network, plan: bytes) -> int:
    """Scratch memory of the engine's execution contexts, in bytes; that it loads is the proof."""
    trt = network.trt
    runtime = trt.Runtime(network.logger)
    runtime.engine_host_code_allowed = True  # it is what was built here a moment ago
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(
            f"TensorRT built a plan that it cannot load: {network.messages.reason()}.",
            advice_on_loading(network.messages),
        )
    return device_memory_bytes(engine)
