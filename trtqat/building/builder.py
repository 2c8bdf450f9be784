"""``build``: from an ONNX file with Q/DQ to a plan and its manifest, by TensorRT's builder."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trtqat.building import versions
from trtqat.building.failed_build import advice_on_building, is_refused_cache
from trtqat.building.options import BuildOptions
from trtqat.building.plan_files import make_manifest, write_plan
from trtqat.building.profiles import resolve_profile
from trtqat.building.progress import build_watched
from trtqat.building.source_graph import SourceGraph, read_source_graph
from trtqat.building.timing_cache import load_timing_cache, save_timing_cache
from trtqat.building.triton.repository import (
    TritonModel,
    TritonTarget,
    check_repository,
    write_repository,
)
from trtqat.errors import BuildError, UsageError
from trtqat.files import check_writable
from trtqat.host.tensorrt_library import (
    Messages,
    advice_on_loading,
    device_memory_bytes,
    load_tensorrt,
    make_logger,
    open_device,
)
from trtqat.io_names import in_order
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.plan.signature import make_signature, read_private_key
from trtqat.tensors import TensorSpec

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """What was written.

    Attributes:
        path: The plan.
        manifest: What stands in the file beside it.
        qdq_pairs: Number of Q/DQ pairs in the graph.
        warnings: What TensorRT warned of.
        served: What was written for Triton, if that was asked for.
    """

    path: Path
    manifest: Manifest
    qdq_pairs: int
    warnings: tuple[str, ...]
    served: TritonModel | None = None

    def __repr__(self) -> str:
        return (
            f"BuildResult('{self.path}', {self.qdq_pairs} Q/DQ pairs, "
            f"{len(self.warnings)} warnings)"
        )


def build(
    graph: Path | str,
    output: Path | str,
    options: BuildOptions | None = None,
    *,
    sign: Path | str | None = None,
    triton: TritonTarget | None = None,
) -> BuildResult:
    """Builds an INT8 engine, or a float one to compare it with, and loads it once.

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        output: The plan; its manifest goes beside it.
        options: See ``BuildOptions``.
        sign: File of the private Ed25519 key to sign the manifest with.
        triton: A model repository that gets the engine as well.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: The shapes do not fit, the key is none, the output cannot be written, or
            Triton cannot serve such an engine.
        BuildError: TensorRT refuses the graph, finds no implementation, or cannot load its plan.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    options = options or BuildOptions()
    graph, output = Path(graph), Path(output)
    timing_cache = None if options.timing_cache is None else Path(options.timing_cache)
    check_writable(output)
    key = None if sign is None else read_private_key(Path(sign))
    source = read_source_graph(graph, quantized=options.precision == "int8")
    trt = load_tensorrt("Building an engine")
    open_device("Building an engine")
    logger, messages = make_logger(trt)
    builder = trt.Builder(logger)
    flags = versions.network_flags(trt, strongly_typed=source.has_half_scales)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        reasons = versions.parser_errors(parser, source.nodes)
        raise BuildError(
            f"TensorRT {trt.__version__} cannot read '{graph.name}': "
            f"{'; '.join(reasons) or messages.reason()}.",
            "Change that operation in the model, or use a newer TensorRT.",
        )
    inputs = _specs(trt, [network.get_input(i) for i in range(network.num_inputs)])
    outputs = _specs(trt, [network.get_output(i) for i in range(network.num_outputs)])
    # The labels of Triton's config belong to the first one of the model, not of the network.
    inputs, outputs = in_order(inputs, source.io.inputs), in_order(outputs, source.io.outputs)
    profile = resolve_profile(inputs, options.profile)
    if triton is not None:
        check_repository(triton.repository, inputs, outputs, profile, triton.options)
    config = _configure(trt, builder, profile, options, source)
    cache = load_timing_cache(config, timing_cache)
    start = time.monotonic()
    plan, reason = build_watched(trt, builder, network, config, messages)
    if plan is None and is_refused_cache(messages, timing_cache):
        _LOG.warning(
            "TensorRT %s cannot use the timing cache '%s' for this graph: building without it.",
            trt.__version__,
            timing_cache,
        )
        config, cache = _configure(trt, builder, profile, options, source), None
        plan, reason = build_watched(trt, builder, network, config, messages)
    if plan is None:
        raise BuildError(
            f"TensorRT could not build the engine: {reason}.",
            advice_on_building(messages, source, options),
        )
    manifest = make_manifest(
        plan,
        source,
        options,
        tensorrt=trt.__version__,
        inputs=inputs,
        outputs=outputs,
        profile=profile,
        build_seconds=time.monotonic() - start,
        device_memory_bytes=_load_once(trt, logger, messages, plan),
    )
    # Before the plan: with it the next build is fast, should the plan not fit onto the disk.
    save_timing_cache(config, cache, timing_cache)
    signature = None if key is None else make_signature(manifest.to_json().encode(), key)
    write_plan(output, plan, manifest, signature)
    served = None
    if triton is not None:
        served = write_repository(
            triton.repository, plan, manifest, triton.options, signature=signature
        )
    return BuildResult(output, manifest, source.qdq_pairs, tuple(messages.warnings), served)


def _load_once(trt: ModuleType, logger: Any, messages: Messages, plan: bytes) -> int:  # noqa: ANN401
    """Scratch memory of the engine's execution contexts, in bytes; that it loads is the proof."""
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = True  # it is what was built here a moment ago
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(
            f"TensorRT built a plan that it cannot load: {messages.reason()}.",
            advice_on_loading(messages),
        )
    return device_memory_bytes(engine)


def _configure(
    trt: ModuleType,
    builder: Any,  # noqa: ANN401
    profile: Mapping[str, ProfileShapes],
    options: BuildOptions,
    source: SourceGraph,
) -> Any:  # noqa: ANN401
    config = builder.create_builder_config()
    # Layer names, precisions and tactics for the inspector; costs nothing at run time.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    versions.set_precision(trt, config, options.precision, strongly_typed=source.has_half_scales)
    versions.share_profile(trt, config)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.tactic_sources:
        current = config.get_tactic_sources()
        config.set_tactic_sources(versions.tactic_sources(trt, options.tactic_sources, current))
    if options.version_compatible:
        versions.set_version_compatible(trt, config, embed=not options.exclude_lean_runtime)
    elif options.exclude_lean_runtime:
        raise UsageError(
            "Only a version-compatible plan carries a lean runtime.",
            "Add --version-compatible, or leave out --exclude-lean-runtime.",
        )
    if options.strip_weights:
        versions.strip_weights(trt, config)
    versions.set_hardware_compatibility(trt, config, options.hardware_compatibility)
    shapes = builder.create_optimization_profile()
    for name, shape in profile.items():
        shapes.set_shape(name, shape.min, shape.opt, shape.max)
    if config.add_optimization_profile(shapes) < 0:
        raise BuildError(
            "TensorRT refuses the shape profile: "
            + ", ".join(f"{name} {s.min} {s.opt} {s.max}" for name, s in profile.items())
            + ".",
            "Check --batch or the shapes against the graph.",
        )
    return config


def _specs(trt: ModuleType, tensors: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(t.name, tuple(t.shape), np.dtype(trt.nptype(t.dtype)).name) for t in tensors
    )
