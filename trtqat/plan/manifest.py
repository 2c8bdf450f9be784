"""The manifest beside a plan: what we know of it, in a file of its own.

The plan stays pure, so trtexec, Triton and Polygraphy read it; ``model.engine`` has its
manifest in ``model.engine.json``. TensorRT deserializes a plan with a flipped byte without
complaint, so whoever loads a plan compares the manifest's SHA-256 first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.errors import PlanError
from trtqat.files import read_input, why_unreadable
from trtqat.io_names import NameRecord
from trtqat.plan.coverage import Coverage
from trtqat.plan.header import LIBRARY_NAMES, Library
from trtqat.plan.plugins import RecordedPlugins
from trtqat.plan.signature import check_signature
from trtqat.plan.targets import OTHER_GPUS, targets_in_words
from trtqat.provenance import Provenance
from trtqat.tensors import DYNAMIC, TensorSpec
from trtqat.typed_json import parse_json, read_as, schema_version_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# The newest that is read; a plan of one profile is written as schema 1.
SCHEMA_VERSION = 2
_MOST_BYTES = 64 * 2**20
_LONGEST = 1000
_SHA256 = re.compile("[0-9a-f]{64}")
_TARGET = re.compile(r"[0-9]{1,2}\.[0-9]\+?")
_MOST_TARGETS = 64


@dataclass(frozen=True)
class ProfileShapes:
    """The shapes that an engine takes for one input, each as ``(N, …)``."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class RecordedOptions:
    """How a plan was built; the default is what a build without the option records.

    Attributes:
        precision: ``int8`` of a graph with Q/DQ; ``fp16`` or ``fp32`` of a float graph.
        fp16: Whether layers that are not INT8 may be FP16; None where the graph's types decide.
        workspace_bytes: Ceiling for the scratch memory of any layer; None is TensorRT's default.
        optimization_level: 0 (fast build) to 5 (fast engine); None is TensorRT's default.
        timing_cache: Whether there was a timing cache.
        tactic_sources: Changes as trtexec spells them, for example ``"-cublas,-cudnn"``.
        version_compatible: Whether newer TensorRT versions may run the plan.
        exclude_lean_runtime: Whether such a plan is without the lean runtime of its version.
        strip_weights: Whether the plan is without its weights.
        hardware_compatibility: ``none``, ``ampere+`` or ``same-cc``.
    """

    precision: str = "int8"
    fp16: bool | None = True
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: bool = False
    tactic_sources: str = ""
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    strip_weights: bool = False
    hardware_compatibility: str = "none"


@dataclass(frozen=True)
class Manifest:
    """What was built, from what, with what, for what.

    Attributes:
        plan_sha256: Of the plan file.
        plan_bytes: Its size.
        graph: Name of the ONNX file.
        graph_sha256: Of the ONNX file.
        tensorrt: Version string of the builder, of whichever library.
        cuda: CUDA version of the driver at build time, as ``"12.4"``. For TensorRT for RTX, which
            needs no driver to build, the CUDA that it was made for, as ``"12"``. Empty if unknown.
        driver: Driver version.
        gpu: Name of the GPU.
        compute_capability: As ``"9.0"``.
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        inputs: Inputs of the engine.
        outputs: Outputs of the engine.
        profiles: Shapes by input name; of several profiles those of the first one.
        options: The build options.
        provenance: What the export recorded in the graph.
        build_seconds: Time that TensorRT took.
        created: UTC, ISO 8601.
        device_memory_bytes: Scratch memory of one execution context; None if it is not known.
        io_names: Names of inputs and outputs in the order of the exported model, which is not that
            in which TensorRT lists them. None in older manifests, whose lists have the order of
            TensorRT's network.
        library: Which library built it: ``tensorrt``, or ``rtx`` for TensorRT for RTX.
        targets: Compute capabilities that a plan of TensorRT for RTX is for, as ``"8.6"``;
            ``"12.0+"`` stands for that one and newer ones.
        coverage: How the plan runs the layers of the graph; None if that was not recorded.
        more_profiles: The profiles behind the first one, in TensorRT's order. Only schema 2 has
            any.
        plugins: The libraries of plugins that it needs, and which operators they run; None if the
            graph has ONNX's operators alone and no library was given.
        device: Which of several GPUs it was built on, as ``--device`` chose; None if nobody chose.
        schema_version: Of this file.
    """

    plan_sha256: str
    plan_bytes: int
    graph: str
    graph_sha256: str
    tensorrt: str
    cuda: str
    driver: str
    gpu: str
    compute_capability: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: Mapping[str, ProfileShapes]
    options: RecordedOptions
    provenance: Provenance
    build_seconds: float
    created: str
    device_memory_bytes: int | None = None
    io_names: NameRecord | None = None
    library: Library = "tensorrt"
    targets: tuple[str, ...] = ()
    coverage: Coverage | None = None
    more_profiles: tuple[Mapping[str, ProfileShapes], ...] = ()
    plugins: RecordedPlugins | None = None
    device: int | None = None
    schema_version: int = 1

    @property
    def all_profiles(self) -> tuple[Mapping[str, ProfileShapes], ...]:
        """Shapes by input name of every profile, in TensorRT's order."""
        return (self.profiles, *self.more_profiles)

    @property
    def built_by(self) -> str:
        """The library and its version, as ``"TensorRT 8.6.0"``."""
        return f"{LIBRARY_NAMES[self.library]} {self.tensorrt}"

    @property
    def built_for(self) -> str:
        """The GPU that it was built on, or the compute capabilities that it is for, in words."""
        if self.library == "tensorrt":
            others = OTHER_GPUS.get(self.options.hardware_compatibility, "")
            return f"{self.gpu} ({self.compute_capability}){others}"
        return f"compute capability {targets_in_words(self.targets)}"

    def to_json(self) -> str:
        """The content of the manifest file, without what a newer version added and is default."""
        fields = {**asdict(self), "provenance": self.provenance.to_fields()}
        if not self.more_profiles:
            del fields["more_profiles"]
        if self.plugins is None:
            del fields["plugins"]
        if self.device is None:
            del fields["device"]
        if self.options.fp16:
            del fields["options"]["fp16"]
        if self.coverage is not None and not self.coverage.profiles:
            del fields["coverage"]["profiles"]
        return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def manifest_path(plan: Path) -> Path:
    """``model.engine`` → ``model.engine.json``."""
    return plan.with_name(plan.name + ".json")


def read_manifest(plan: Path, *, trust: Ed25519PublicKey | None = None) -> Manifest | None:
    """Reads the manifest beside a plan; whoever has it may rely on the type of every field.

    Args:
        plan: The plan file, which need not be there.
        trust: Whose signature the manifest must have; None asks for none.

    Returns:
        The manifest, or None if there is none.

    Raises:
        PlanError: The manifest is not readable, of a newer schema, not signed as asked, or a field
            of it is missing, of another type or beyond what it can be.
    """
    beside = manifest_path(plan)
    # Not what exists: a link that leads nowhere is a manifest that cannot be read.
    if not os.path.lexists(beside):
        if trust is not None:
            raise PlanError(
                f"The plan '{plan}' has no manifest beside it, so nothing of it is signed.",
                "Copy its .json and .sig from the build host.",
            )
        return None
    try:
        content = read_input(beside, most_bytes=_MOST_BYTES)
    except OSError as error:
        raise _unreadable(beside, why_unreadable(error)) from error
    # Nothing is made of what somebody else may have written.
    if trust is not None:
        check_signature(plan, content, trust)
    try:
        # What the export recorded has infinity for the SQNR of what is bit-identical.
        fields = parse_json(content, with_nan=True)
        schema = schema_version_of(fields)
        if schema > SCHEMA_VERSION:
            raise PlanError(
                f"The manifest '{beside}' has schema {schema}; this version reads up to "
                f"{SCHEMA_VERSION}.",
                "Upgrade trtqat on this host.",
            )
        manifest = read_as(Manifest, fields)
        _check_values(manifest)
    except ValueError as error:
        raise _unreadable(beside, str(error)) from error
    return manifest


def check_plan(
    plan: bytes, path: Path, *, trust: Ed25519PublicKey | None = None
) -> Manifest | None:
    """Compares a plan with the manifest beside it.

    Args:
        plan: Content of the plan file.
        path: Where it was read from.
        trust: Whose signature the manifest must have; None asks for none.

    Returns:
        The manifest, or None if there is none.

    Raises:
        PlanError: The manifest is none (``read_manifest``), or another plan's.
    """
    manifest = read_manifest(path, trust=trust)
    if manifest is not None and manifest.plan_sha256 != hashlib.sha256(plan).hexdigest():
        raise PlanError(
            f"The plan '{path}' is not the one that its manifest describes: the SHA-256 differs.",
            "It was changed or damaged on the way, or belongs to another manifest; copy both "
            "again from the build host.",
        )
    return manifest


def _check_values(manifest: Manifest) -> None:
    """What the types do not tell.

    Raises:
        ValueError: A field is beyond what it can be.
    """
    for name in ("plan_sha256", "graph_sha256"):
        _require(bool(_SHA256.fullmatch(getattr(manifest, name))), name, "a SHA-256")
    for name in ("graph", "tensorrt", "cuda", "driver", "gpu", "compute_capability", "platform"):
        # Longer digits are no version, and no number to Python.
        _require(len(getattr(manifest, name)) <= _LONGEST, name, "a name or version")
    _require(manifest.schema_version >= 1, "schema_version", "1 or more")
    for name in ("plan_bytes", "build_seconds"):
        _require(getattr(manifest, name) >= 0, name, "0 or more")
    _require((manifest.device or 0) >= 0, "device", "0 or more")
    _require((manifest.device_memory_bytes or 0) >= 0, "device_memory_bytes", "0 or more")
    for kind, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        names = [spec.name for spec in specs]
        _require(len(set(names)) == len(names), kind, "a list of different names")
        for spec in specs:
            sound = all(dim >= DYNAMIC for dim in spec.shape)
            _require(sound, f"{kind}: {spec.name}", "a shape")
    if manifest.io_names is not None:
        for kind, listed in asdict(manifest.io_names).items():
            _require(len(set(listed)) == len(listed), f"io_names.{kind}", "different names")
    _check_profiles(manifest)
    _check_targets(manifest)
    _check_plugins(manifest.plugins or RecordedPlugins())
    if manifest.coverage is not None:
        _check_coverage(manifest.coverage)


def _check_profiles(manifest: Manifest) -> None:
    sound = manifest.schema_version > 1 or not manifest.more_profiles
    _require(sound, "more_profiles", "empty, which it is in schema 1")
    for index, profile in enumerate(manifest.all_profiles):
        place = f"more_profiles[{index - 1}]" if index else "profiles"
        _require(set(profile) == set(manifest.profiles), place, "a profile of the same inputs")
        for name, shapes in profile.items():
            each = (shapes.min, shapes.opt, shapes.max)
            sound = len(set(map(len, each))) == 1 and all(
                0 <= low <= best <= high for low, best, high in zip(*each, strict=True)
            )
            _require(sound, f"{place}.{name}", "three shapes that ascend")


def _check_targets(manifest: Manifest) -> None:
    targets = manifest.targets
    of_rtx = manifest.library == "rtx" or not targets
    _require(of_rtx, "targets", "empty, which it is of a plan of TensorRT")
    sound = len(targets) <= _MOST_TARGETS and len(set(targets)) == len(targets)
    _require(sound, "targets", "a list of different compute capabilities")
    for index, target in enumerate(targets):
        _require(bool(_TARGET.fullmatch(target)), f"targets[{index}]", "a compute capability")


def _check_plugins(plugins: RecordedPlugins) -> None:
    names = [library.name for library in plugins.libraries]
    _require(len(set(names)) == len(names), "plugins.libraries", "a list of different names")
    for index, library in enumerate(plugins.libraries):
        where = f"plugins.libraries[{index}]"
        _require(bool(_SHA256.fullmatch(library.sha256)), f"{where}.sha256", "a SHA-256")
        # It is compared with the names of files, and shown.
        is_name = 0 < len(library.name) <= _LONGEST and not set(library.name) & set("/\\\0")
        _require(is_name, f"{where}.name", "the name of a file")


def _check_coverage(coverage: Coverage) -> None:
    for index, layer in enumerate(coverage.layers):
        where = f"coverage.layers[{index}]"
        for dtype in (layer.output_dtype, layer.weight_dtype, *layer.input_dtypes):
            _require(len(dtype) <= _LONGEST, where, "a layer: a type is too long")
        _require((layer.macs or 0) >= 0, f"{where}.macs", "0 or more")
        _require((layer.time_ms or 0) >= 0, f"{where}.time_ms", "0 or more")
    for index, cost in enumerate(coverage.costs):
        sound = cost.amount >= 0 and cost.least >= 0
        _require(sound, f"coverage.costs[{index}]", "0 or more")
        _require(bool(cost.layers), f"coverage.costs[{index}].layers", "a list of any layers")
    sound = all(time_ms >= 0 for time_ms in coverage.times_ms.values())
    _require(sound, "coverage.times_ms", "0 or more for each layer")


def _require(sound: bool, field_name: str, what: str) -> None:
    if not sound:
        raise ValueError(f"{field_name!r} is not {what}")


def _unreadable(path: Path, why: str) -> PlanError:
    return PlanError(
        f"The manifest '{path}' cannot be read: {why}.",
        "Copy plan and manifest again from the build host, together.",
    )
