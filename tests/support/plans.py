"""Files with the header of a plan and no engine in them, and manifests for them.

They are for what is told without TensorRT; nothing here is ever given to it.
"""

from __future__ import annotations

import hashlib

from trtqat.plan.coverage import LayerCoverage
from trtqat.plan.manifest import Manifest, ProfileShapes, RecordedOptions
from trtqat.provenance import Provenance
from trtqat.tensors import TensorSpec


def make_plan(
    version: tuple[int, int, int] = (8, 6, 0), *, kind: int = 1, body: bytes = b"weights" * 10
) -> bytes:
    size = 28 + len(body)
    header = b"ftrt" + bytes(4) + kind.to_bytes(4, "little") + bytes(4)
    return header + size.to_bytes(8, "little") + bytes([*version, 12]) + body


def make_manifest(plan: bytes) -> Manifest:
    return Manifest(
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        graph="model.onnx",
        graph_sha256="0" * 64,
        tensorrt="8.6.0",
        cuda="12.4",
        driver="550.0",
        gpu="A GPU",
        compute_capability="9.0",
        platform="Linux-x86_64",
        inputs=(TensorSpec("x", (-1, 3)),),
        outputs=(TensorSpec("y", (-1, 10)),),
        profiles={"x": ProfileShapes((1, 3), (2, 3), (4, 3))},
        options=RecordedOptions(),
        provenance=Provenance(),
        build_seconds=1.5,
        created="2025-01-01T00:00:00+00:00",
    )


# The plan of most tests, and a layer that a build may have recorded of it.
PLAN = make_plan()
LAYER = LayerCoverage(
    name="/conv",
    operator="Conv",
    wants_int8=True,
    runs_int8=True,
    macs=10,
    engine_layer="conv",
    tactic="t",
    fused_with=("/relu",),
    output_dtype="int8",
    time_ms=None,
    reason="",
)
