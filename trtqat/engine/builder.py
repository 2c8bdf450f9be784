"""``build``: from an ONNX file with Q/DQ to a plan and its manifest, by TensorRT's builder."""

from __future__ import annotations

import hashlib
import logging
import platform
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from trtqat.engine import versions
from trtqat.engine.network import GraphFile, read_graph_file
from trtqat.engine.profiles import ProfileOptions, resolve_profile
from trtqat.engine.timing_cache import load_timing_cache, save_timing_cache
from trtqat.errors import BuildError, UsageError
from trtqat.files import check_writable, write_atomically
from trtqat.runtime.environment import describe_gpu
from trtqat.runtime.manifest import Manifest, ProfileShapes, manifest_path
from trtqat.runtime.signature import signature_path
from trtqat.runtime.tensorrt_library import Messages, load_tensorrt, make_logger, open_device
from trtqat.tensors import TensorSpec

_LOG = logging.getLogger(__name__)

_HEARTBEAT_S = 15.0


@dataclass(frozen=True)
class BuildOptions:
    """How to build; None and empty mean TensorRT's default.

    Attributes:
        profile: Batch range or shapes.
        precision: ``int8`` for a graph with Q/DQ; ``fp16`` or ``fp32`` for a float graph to
            compare with.
        workspace_bytes: Ceiling for the scratch memory of any layer.
        optimization_level: 0 (fast build) to 5 (fast engine).
        timing_cache: File to read and update.
        tactic_sources: Changes as trtexec spells them, for example ``"-cublas,-cudnn"``.
        version_compatible: Whether newer TensorRT versions may run the plan.
        hardware_compatibility: ``none``, ``ampere+`` or ``same-cc``.
    """

    profile: ProfileOptions = field(default_factory=ProfileOptions)
    precision: Literal["int8", "fp16", "fp32"] = "int8"
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    tactic_sources: str = ""
    version_compatible: bool = False
    hardware_compatibility: str = "none"


def parse_bytes(text: str) -> int:
    """Parses a size as ``4GiB``, ``512MiB``, ``2G`` (GiB) or plain bytes.

    Raises:
        UsageError: It has another form or is not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?|B)?", text.strip(), re.IGNORECASE)
    factor = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    size = int(float(match[1]) * factor[(match[2] or "").upper()]) if match else 0
    if size <= 0:
        raise UsageError(f"'{text}' is no amount of memory.", "Write 4GiB or 512MiB.")
    return size


@dataclass(frozen=True)
class BuildResult:
    """What was written.

    Attributes:
        path: The plan.
        manifest: What stands in the file beside it.
        qdq_pairs: Number of Q/DQ pairs in the graph.
        warnings: What TensorRT warned of.
    """

    path: Path
    manifest: Manifest
    qdq_pairs: int
    warnings: tuple[str, ...]


def build(graph: Path, output: Path, options: BuildOptions | None = None) -> BuildResult:
    """Builds an INT8 engine, or a float one to compare it with.

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        output: The plan; its manifest goes beside it.
        options: See ``BuildOptions``.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: The shapes do not fit, or the output cannot be written.
        BuildError: TensorRT refuses the graph or finds no implementation.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    options = options or BuildOptions()
    check_writable(output)
    source = read_graph_file(graph, quantized=options.precision == "int8")
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
    profile = resolve_profile(inputs, options.profile)
    config = _configure(trt, builder, profile, options, source)
    cache = load_timing_cache(config, options.timing_cache)
    start = time.monotonic()
    try:
        plan = _build_in_background(builder, network, config, messages, source)
    except BuildError:
        if not _is_refused_cache(messages, options.timing_cache):
            raise
        _LOG.warning(
            "TensorRT %s cannot use the timing cache '%s' for this graph: building without it.",
            trt.__version__,
            options.timing_cache,
        )
        config, cache = _configure(trt, builder, profile, options, source), None
        plan = _build_in_background(builder, network, config, messages, source)
    seconds = time.monotonic() - start
    manifest = _manifest(plan, source, trt.__version__, inputs, outputs, profile, options, seconds)
    # Between the two writes the plan stands without a manifest, never with a wrong one.
    manifest_path(output).unlink(missing_ok=True)
    signature_path(output).unlink(missing_ok=True)
    write_atomically(output, plan)
    write_atomically(manifest_path(output), manifest.to_json().encode())
    save_timing_cache(cache, options.timing_cache)
    return BuildResult(output, manifest, source.qdq_pairs, tuple(messages.warnings))


def _configure(
    trt: ModuleType,
    builder: Any,  # noqa: ANN401
    profile: Mapping[str, ProfileShapes],
    options: BuildOptions,
    source: GraphFile,
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
        versions.set_version_compatible(trt, config)
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


def _build_in_background(
    builder: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    messages: Messages,
    source: GraphFile,
) -> bytes:
    """Builds in a thread of its own, so that Ctrl-C is heard while TensorRT works."""
    results: list[Any] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            results.append(builder.build_serialized_network(network, config))
        # It belongs to the thread that waits: reported below, with TensorRT's own reason.
        except Exception as error:
            failures.append(error)

    start = time.monotonic()
    worker = threading.Thread(target=work, name="trtqat-build", daemon=True)
    worker.start()
    _LOG.info("TensorRT is building; it times many kernels and may take minutes.")
    while worker.is_alive():
        worker.join(_HEARTBEAT_S)
        if worker.is_alive():
            _LOG.info("Still building after %.0f s.", time.monotonic() - start)
    plan = results[0] if results else None
    if plan is None:
        raise BuildError(
            "TensorRT could not build the engine: "
            f"{messages.reason(str(failures[0]) if failures else 'it gave no reason')}.",
            _advice(messages, source),
        )
    return bytes(plan)


def _is_refused_cache(messages: Messages, cache: Path | None) -> bool:
    """Whether a build failed because of what another build left in the timing cache.

    Seen with 8.6.0: a cache with entries of convolutional networks fails the build of a vision
    transformer ("myelinCache.h::deserializeFromBuffer: Myelin error from unknown graph").
    """
    return cache is not None and cache.exists() and "myelinCache" in " ".join(messages.errors)


def _advice(messages: Messages, source: GraphFile) -> str:
    log = " ".join(messages.errors)
    transposed = [name for name, operator in source.nodes if operator == "ConvTranspose"]
    if "Assertion engine failed" in log and transposed:
        # Seen with 8.6.0 for quantized ConvTranspose of every kind: per-tensor and per-channel
        # weights, 8 and 32 channels, kernels of 2 and 4. With the same layer in floating
        # point the engine builds.
        return (
            f"TensorRT 8.6 fails so on quantized transposed convolutions, here '{transposed[0]}': "
            "leave them in floating point, as with insert_quantizers(model, skip=[...])."
        )
    if "convertMyelinWeightsToFp32" in log:
        return (
            "TensorRT 8.6 stops so at an INT8 initializer that a MatMul reads: export the graph "
            "without --int8-weights."
        )
    if "Could not find any implementation" in log:
        return (
            "Raise --workspace; if it stays, the Q/DQ pairs around the named layer are placed "
            "where TensorRT has no INT8 kernel."
        )
    if "scale" in log.lower():
        return "A quantizer's scale is zero or not finite: calibrate the model again."
    if "memory" in log.lower():
        return "Free device memory, or lower --workspace or the largest batch."
    return "Run it with -v to see TensorRT's log."


def _specs(trt: ModuleType, tensors: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(t.name, tuple(t.shape), np.dtype(trt.nptype(t.dtype)).name) for t in tensors
    )


def _manifest(
    plan: bytes,
    source: GraphFile,
    tensorrt: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    profile: Mapping[str, ProfileShapes],
    options: BuildOptions,
    seconds: float,
) -> Manifest:
    gpu = describe_gpu()
    recorded = asdict(options)
    del recorded["profile"]  # its result stands in the manifest's profiles
    recorded["timing_cache"] = options.timing_cache is not None
    return Manifest(
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        graph=source.path.name,
        graph_sha256=source.sha256,
        tensorrt=tensorrt,
        cuda=gpu.cuda,
        driver=gpu.driver,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        platform=f"{platform.system()}-{platform.machine()}",
        inputs=inputs,
        outputs=outputs,
        profiles=profile,
        options=recorded,
        provenance=source.provenance,
        build_seconds=round(seconds, 3),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
