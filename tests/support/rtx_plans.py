"""Plans of TensorRT for RTX: a real one, and files with the header of one; GPUs of its cards."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import onnx

from tests.support.graphs import Graph
from tests.support.plans import make_manifest
from trtqat.host.description import Host
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.gpu import Gpu
from trtqat.plan.manifest import Manifest

# What the header of a plan has for its targets; without named ones it has all but Turing's.
MASKS = {
    ("7.5",): 0x01,
    ("8.0",): 0x02,
    ("8.6",): 0x04,
    ("8.9",): 0x08,
    ("12.0",): 0x10,
    ("12.1",): 0x20,
    ("8.6", "8.9"): 0x0C,
    ("12.0", "12.1"): 0x30,
    ("8.0", "8.6", "8.9", "12.0+"): 0x7E,
}
UNNAMED = ("8.0", "8.6", "8.9", "12.0+")
FLAVOUR = TensorRTFlavour("rtx", "tensorrt_rtx_bindings", "1.7.1.116", "", "12")


def make_rtx_plan(
    targets: tuple[str, ...] = UNNAMED,
    *,
    mask: int | None = None,
    version: tuple[int, int, int] = (1, 7, 1),
) -> bytes:
    """The header of a plan as 1.7.1.116 writes it, and no engine behind it."""
    mask = MASKS[targets] if mask is None else mask
    body = b"vtrt" + mask.to_bytes(8, "little") + bytes(16) + (0x140).to_bytes(8, "little")
    body += b"weights" * 10
    head = b"vtrt" + bytes(4) + (2).to_bytes(4, "little") + bytes(4)
    return head + (28 + len(body)).to_bytes(8, "little") + bytes([*version, 116]) + body


def make_rtx_manifest(plan: bytes, targets: tuple[str, ...] = UNNAMED, **fields: Any) -> Manifest:
    made: dict[str, Any] = {
        "plan_sha256": hashlib.sha256(plan).hexdigest(),
        "library": "rtx",
        "targets": targets,
        "tensorrt": "1.7.1.116",
        "gpu": "",
        "compute_capability": "",
        "driver": "",
        "cuda": "12",
    }
    return dataclasses.replace(make_manifest(plan), **{**made, **fields})


def write_graph(folder: Path) -> Path:
    """A graph of two quantized convolutions, as TensorRT 8.6 reads it, too."""
    graph = Graph((1, 8, 8, 8))
    graph.conv(graph.pair("x", 0.1), "c1", (8, 8), kernel=3, kernel_shape=[3, 3])
    relu = graph.node("Relu", ["c1"], "r1")
    graph.conv(graph.pair(relu, 0.1), "y", (8, 8), kernel_shape=[1, 1])
    onnx.save(graph.proto("y"), folder / "m.onnx")
    return folder / "m.onnx"


def gpu(name: str, capability: str, **fields: Any) -> Gpu:
    made: dict[str, Any] = {"memory_bytes": 24 * 2**30, "free_bytes": 20 * 2**30}
    return Gpu(name, capability, "580.82.07", "13.0", **{**made, **fields})


CARDS = {
    "7.5": gpu("NVIDIA GeForce RTX 2080", "7.5"),
    "8.0": gpu("NVIDIA A100-SXM4-80GB", "8.0"),
    "8.6": gpu("NVIDIA GeForce RTX 3090", "8.6"),
    "8.9": gpu("NVIDIA GeForce RTX 4090", "8.9"),
    "9.0": gpu("NVIDIA H100 80GB HBM3", "9.0"),
    "10.0": gpu("NVIDIA B200", "10.0"),
    "12.0": gpu("NVIDIA GeForce RTX 5090", "12.0"),
    "12.1": gpu("NVIDIA GB10", "12.1"),
    "13.0": gpu("An RTX card to come", "13.0"),
}


def host_with(capability: str, **fields: Any) -> Host:
    """A host with such a card and TensorRT for RTX; ``fields`` say what else is other there."""
    card = CARDS[capability]
    made = Host("Linux-x86_64", "3.11.9", card.driver, card.cuda, (card,), "", (FLAVOUR,), (), {})
    return dataclasses.replace(made, **fields)
