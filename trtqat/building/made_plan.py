"""From TensorRT's network to a plan and its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtqat.building.failed_build import advice_on_building, is_refused_cache
from trtqat.building.float_weights import parse_with_float_weights, stops_at_codes
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
from trtqat.host.tensorrt_log import Messages
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
    tried = _try(network, profiles, options, path)
    if tried.content is None and is_refused_cache(tried.messages, path):
        _LOG.warning(
            "%s refuses the timing cache '%s' or the graph: building without the cache.",
            network.builder_name,
            path,
        )
        # What it says of a cache is no reason for what it says of the graph, and the builder may
        # keep what it read.
        again = parse_network(network.trt, network.source, plugins)
        tried = _try(again, profiles, options, None)
    if tried.content is None and stops_at_codes(tried.messages):
        in_float = parse_with_float_weights(tried.network, plugins)
        if in_float is not None:
            tried = _try(in_float, profiles, options, path if tried.has_cache else None)
    if tried.content is None:
        advice = advice_on_building(tried.messages, network.source, options, network.library)
        forget_failure(network.trt, tried.network.logger)
        raise BuildError(
            f"{network.builder_name} could not build the engine: {tried.reason}.", advice
        )
    manifest = make_manifest(
        tried.content,
        network.source,
        options,
        fp16=tried.fp16,
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
    save_timing_cache(tried.config, tried.cache, path)
    return _proven(tried.content, manifest, tried.network, options)


@dataclass(frozen=True)
class _Tried:
    """One try: what was built and how, and the plan or why there is none."""

    network: Network
    config: Any
    fp16: bool | None
    cache: Any
    content: bytes | None
    reason: str

    @property
    def messages(self) -> Messages:
        return self.network.messages

    @property
    def has_cache(self) -> bool:
        return self.cache is not None


def _try(
    network: Network,
    profiles: Sequence[Mapping[str, ProfileShapes]],
    options: BuildOptions,
    cache_path: Path | None,
) -> _Tried:
    config, fp16 = configure(network, profiles, options)
    cache = load_timing_cache(config, cache_path)
    content, reason = build_watched(
        network.trt, network.builder, network.definition, config, network.messages
    )
    return _Tried(network, config, fp16, cache, content, reason)


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
