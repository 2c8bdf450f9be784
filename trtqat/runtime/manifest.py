"""The manifest beside a plan: what we know of it, in a file of its own.

The plan stays pure, so trtexec, Triton and Polygraphy read it; ``model.engine`` has its
manifest in ``model.engine.json``. TensorRT deserializes a plan with a flipped byte without
complaint, so whoever loads a plan compares the manifest's SHA-256 first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtqat.errors import PlanError
from trtqat.runtime.signature import check_signature
from trtqat.tensors import TensorSpec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ProfileShapes:
    """The shapes that an engine takes for one input, each as ``(N, …)``."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """What was built, from what, with what, for what.

    Attributes:
        plan_sha256: Of the plan file.
        plan_bytes: Its size.
        graph: Name of the ONNX file.
        graph_sha256: Of the ONNX file.
        tensorrt: Version string of the builder.
        cuda: CUDA version of the driver at build time, as ``"12.4"``.
        driver: Driver version.
        gpu: Name of the GPU.
        compute_capability: As ``"9.0"``.
        platform: Operating system and machine, as ``"Linux-x86_64"``.
        inputs: Inputs of the engine.
        outputs: Outputs of the engine.
        profiles: Shapes by input name.
        options: The build options.
        provenance: What the export recorded in the graph.
        build_seconds: Time that TensorRT took.
        created: UTC, ISO 8601.
        device_memory_bytes: Scratch memory of one execution context; None if it is not known.
        io_names: Names of inputs and outputs in the order of the exported model, which is not that
            in which TensorRT lists them; see ``trtqat.io_names``. None in older manifests, whose
            lists have the order of TensorRT's network.
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
    options: Mapping[str, Any]
    provenance: Mapping[str, Any]
    build_seconds: float
    created: str
    device_memory_bytes: int | None = None
    io_names: Mapping[str, Sequence[str]] | None = None
    schema_version: int = field(default=SCHEMA_VERSION)

    def to_json(self) -> str:
        """The content of the manifest file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def manifest_path(plan: Path) -> Path:
    """``model.engine`` → ``model.engine.json``."""
    return plan.with_name(plan.name + ".json")


def check_plan(
    plan: bytes, path: Path, *, trust: Ed25519PublicKey | None = None
) -> Mapping[str, Any] | None:
    """Compares a plan with the manifest beside it.

    Args:
        plan: Content of the plan file.
        path: Where it was read from.
        trust: Whose signature the manifest must have; None asks for none.

    Returns:
        The manifest's fields, or None if there is no manifest.

    Raises:
        PlanError: The manifest is not readable, of a newer schema, of another plan, or not signed
            as asked.
    """
    beside = manifest_path(path)
    if not beside.exists():
        if trust is not None:
            raise PlanError(
                f"The plan '{path}' has no manifest beside it, so nothing of it is signed.",
                "Copy its .json and .sig from the build host.",
            )
        return None
    try:
        content = beside.read_bytes()
        fields = json.loads(content)
        recorded, schema = fields["plan_sha256"], int(fields["schema_version"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise PlanError(
            f"The manifest '{beside}' cannot be read ({type(error).__name__}: {error}).",
            "Copy plan and manifest again from the build host, together.",
        ) from error
    if trust is not None:
        check_signature(path, content, trust)
    if schema > SCHEMA_VERSION:
        raise PlanError(
            f"The manifest '{beside}' has schema {schema}; this version reads up to "
            f"{SCHEMA_VERSION}.",
            "Upgrade trtqat on this host.",
        )
    if recorded != hashlib.sha256(plan).hexdigest():
        raise PlanError(
            f"The plan '{path}' is not the one that its manifest describes: the SHA-256 differs.",
            "It was changed or damaged on the way, or belongs to another manifest; copy both "
            "again from the build host.",
        )
    manifest: Mapping[str, Any] = fields
    return manifest
