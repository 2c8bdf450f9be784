"""From TensorRT's network to a plan and its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtqat.building.failed_build import advice_on_building, is_refused_cache
from trtqat.building.network import Network, configure, parse_network
from trtqat.building.options import BuildOptions
from trtqat.building.plan_files import make_manifest
from trtqat.building.progress import build_watched
from trtqat.building.proof import Proof, prove_by_log
from trtqat.building.rtx import forget_failure, targets_of_plan
from trtqat.building.timing_cache import load_timing_cache, save_timing_cache
from trtqat.errors import BuildError
from trtqat.host.plugins import PluginFile
from trtqat.host.tensorrt_library import advice_on_loading, device_memory_bytes
from trtqat.plan.manifest import Manifest, ProfileShapes

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadePlan:
    """A plan before it is written.

    Attributes:
        content: The plan.
        manifest: What is to be said of it.
        proof: What of it runs in INT8; None if the builder does not tell.
    """

    content: bytes
    manifest: Manifest
    proof: Proof | None


def make_plan(
    network: Network,
    profiles: Sequence[Mapping[str, ProfileShapes]],
    options: BuildOptions,
    plugins: Sequence[PluginFile] = (),
) -> MadePlan:
    """Builds; the timing cache is on the disk when it is done.

    Args:
        network: What to build.
        profiles: Shapes by input name, of each profile.
        options: How.
        plugins: The libraries that were loaded for it.

    Raises:
        UsageError: An option is not one of this TensorRT's, or fits no other one.
        BuildError: TensorRT finds no implementation, or cannot load its plan.
        MissingError: This TensorRT lacks an option.
    """
    path = None if options.timing_cache is None else Path(options.timing_cache)
    start = time.monotonic()
    config, fp16 = configure(network, profiles, options)
    cache = load_timing_cache(config, path)
    content, reason = _serialize(network, config)
    if content is None and is_refused_cache(network.messages, path):
        _LOG.warning(
            "%s refuses the timing cache '%s' or the graph: building without the cache.",
            network.builder_name,
            path,
        )
        # What it says of a cache is no reason for what it says of the graph, and the builder may
        # keep what it read.
        network = parse_network(network.trt, network.source, plugins)
        config, _ = configure(network, profiles, options)
        cache = None
        content, reason = _serialize(network, config)
    if content is None:
        advice = advice_on_building(network.messages, network.source, options, network.library)
        forget_failure(network.trt, network.logger)
        raise BuildError(f"{network.builder_name} could not build the engine: {reason}.", advice)
    manifest = make_manifest(
        content,
        network.source,
        options,
        fp16=fp16,
        tensorrt=network.trt.__version__,
        library=network.library,
        targets=targets_of_plan(network.trt, options.targets),
        inputs=network.inputs,
        outputs=network.outputs,
        profiles=profiles,
        plugins=plugins,
        build_seconds=time.monotonic() - start,
    )
    # Before the plan: with it the next build is fast, should the plan not fit onto the disk.
    save_timing_cache(config, cache, path)
    return _proven(content, manifest, network, options)


def _proven(
    content: bytes, manifest: Manifest, network: Network, options: BuildOptions
) -> MadePlan:
    if network.library == "tensorrt":
        return MadePlan(
            content, replace(manifest, device_memory_bytes=_load_once(network, content)), None
        )
    if options.precision != "int8":
        return MadePlan(content, manifest, Proof())
    proof = prove_by_log(network, manifest)
    return MadePlan(content, replace(manifest, coverage=proof.coverage), proof)


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
