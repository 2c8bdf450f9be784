"""Writes what a build made: plan, manifest and signature, all three or none."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from trtqat.building.options import BuildOptions
from trtqat.building.source_graph import SourceGraph
from trtqat.errors import PlanError, UsageError
from trtqat.files import check_not_overwritten, write_together
from trtqat.host.chosen_gpu import chosen_gpu
from trtqat.host.flavours import rtx_cuda
from trtqat.host.gpu import Gpu, describe_gpu
from trtqat.host.plugins import PluginFile
from trtqat.host.system import platform_name
from trtqat.io_names import record_of
from trtqat.plan.header import Library
from trtqat.plan.manifest import (
    SCHEMA_VERSION,
    Manifest,
    ProfileShapes,
    RecordedOptions,
    manifest_path,
    read_manifest,
)
from trtqat.plan.plugins import RecordedPlugins
from trtqat.plan.signature import signature_path
from trtqat.runtime.runtime_cache import runtime_cache_path
from trtqat.tensors import TensorSpec

_LOG = logging.getLogger(__name__)


def make_manifest(
    plan: bytes,
    source: SourceGraph,
    options: BuildOptions,
    *,
    fp16: bool | None,
    tensorrt: str,
    library: Library,
    targets: tuple[str, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    profiles: Sequence[Mapping[str, ProfileShapes]],
    build_seconds: float,
    plugins: Sequence[PluginFile] = (),
) -> Manifest:
    """Says of a plan what it was built from, with what, and for what.

    Args:
        plan: The plan.
        source: The graph.
        options: How it was built.
        fp16: Whether FP16 was allowed; None where the graph's types decided.
        tensorrt: Version string of the builder.
        library: Which library that is.
        targets: The GPUs that a plan of TensorRT for RTX is for; it was built without one.
        inputs: Of the network, in the order of the graph.
        outputs: Of the network, in the order of the graph.
        profiles: Shapes by input, of each profile.
        build_seconds: How long TensorRT took.
        plugins: The libraries that were loaded for it.
    """
    # TensorRT for RTX looks at no GPU when it builds.
    gpu = describe_gpu() if library == "tensorrt" else Gpu("", "", "", rtx_cuda())
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
        platform=platform_name(),
        inputs=inputs,
        outputs=outputs,
        profiles=profiles[0],
        options=_recorded(options, fp16),
        provenance=source.provenance,
        io_names=record_of(source.io),
        build_seconds=round(build_seconds, 3),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        library=library,
        targets=targets,
        more_profiles=tuple(profiles[1:]),
        plugins=_recorded_plugins(source, plugins),
        device=chosen_gpu() if library == "tensorrt" else None,
        schema_version=SCHEMA_VERSION if len(profiles) > 1 else 1,
    )


def _recorded_plugins(source: SourceGraph, plugins: Sequence[PluginFile]) -> RecordedPlugins | None:
    if not plugins and not source.foreign_operators:
        return None
    return RecordedPlugins(tuple(each.library for each in plugins), source.foreign_operators)


def _recorded(options: BuildOptions, fp16: bool | None) -> RecordedOptions:
    """The options that the manifest keeps; what became of ``profile`` stands in its profiles."""
    return RecordedOptions(
        precision=options.precision,
        fp16=fp16,
        workspace_bytes=options.workspace_bytes,
        optimization_level=options.optimization_level,
        timing_cache=options.timing_cache is not None,
        tactic_sources=options.tactic_sources,
        version_compatible=options.version_compatible,
        exclude_lean_runtime=options.exclude_lean_runtime,
        strip_weights=options.strip_weights,
        hardware_compatibility=options.hardware_compatibility,
    )


def check_kept(plan: Path, read: Sequence[Path | str | None]) -> None:
    """Refuses a plan whose files would take the place of what the build reads.

    Args:
        plan: The plan file; its manifest and signature go beside it.
        read: Names of files that are read; empty ones are passed over.

    Raises:
        UsageError: One is among the plan's files.
    """
    for written in (plan, manifest_path(plan), signature_path(plan), runtime_cache_path(plan)):
        check_not_overwritten(written, read)


def write_plan(
    output: Path, plan: bytes, manifest: Manifest, signature: bytes | None = None
) -> None:
    """Writes a plan with its manifest and, with a key, its signature.

    Of two builds into one file at once the later one wins, with all its files. A runtime cache of
    an older plan is removed.

    Args:
        output: The plan file.
        plan: Its content.
        manifest: Its manifest.
        signature: Of the manifest; without one an older signature is removed.

    Raises:
        UsageError: They cannot be written; what was there before is still there.
    """
    files = {
        output: plan,
        manifest_path(output): manifest.to_json().encode(),
        signature_path(output): signature,
        # Kernels of the plan that lay there.
        runtime_cache_path(output): None,
    }
    try:
        write_together(files)
    except UsageError as error:
        kept = _rescue({path.name: data for path, data in files.items() if data is not None})
        if kept is None:
            raise
        raise UsageError(error.problem, f"The plan is not lost: it lies in '{kept}'.") from error


def write_manifest(plan: Path, manifest: Manifest, signature: bytes | None = None) -> None:
    """Writes the manifest of a plan that is written already, and its signature.

    Where another build has written the file since, its own manifest stays.

    Args:
        plan: The plan file.
        manifest: Its manifest.
        signature: Of the manifest; without one an older signature is removed.

    Raises:
        UsageError: They cannot be written; what was there before is still there.
    """

    def is_ours() -> bool:
        with contextlib.suppress(PlanError):
            found = read_manifest(plan)
            return found is not None and found.plan_sha256 == manifest.plan_sha256
        return False

    content = manifest.to_json().encode()
    files = {manifest_path(plan): content, signature_path(plan): signature}
    if not write_together(files, only_if=is_ours):
        _LOG.warning(
            "The manifest beside '%s' is no longer this build's, so it is not told there what "
            "runs in INT8. Give each build a file of its own.",
            plan,
        )


def _rescue(files: Mapping[str, bytes]) -> Path | None:
    """Keeps what took minutes to build in the temporary directory, if there is room."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="trtqat-"))
        write_together({folder / name: data for name, data in files.items()})
    except (OSError, UsageError) as error:
        _LOG.debug("The plan cannot be kept in the temporary directory either: %s", error)
        return None
    return folder
