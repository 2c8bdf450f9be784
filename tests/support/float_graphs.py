"""Float ONNX files with data beside them, and what the PyTorch model of one becomes."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.graphs import Graph
from trtqat.quant.quantize import Quantized, quantize
from trtqat.search.quantizing import quantize_source
from trtqat.search.result import QuantizeResult
from trtqat.search.samples import SpreadSamples
from trtqat.tensors import Array

IMAGES, _SAMPLES, _BATCH = 24, 40, 8


@dataclass(frozen=True)
class FloatFile:
    """A float graph in a file, with data for it.

    Attributes:
        graph: The file.
        data: As ``--data`` takes it.
        arrays: The data, ``(N, …)`` by input.
    """

    graph: Path
    data: str
    arrays: dict[str, Array]

    def quantized(self, **options: object) -> QuantizeResult:
        """By the ONNX road, into ``int8.onnx`` beside it."""
        output = self.graph.with_name("int8.onnx")
        given = {"images": IMAGES, "batch_size": _BATCH, **options}
        return quantize_source(self.graph, output, data=self.data, **given)  # type: ignore[arg-type]


def export_float(name: str, folder: Path, *, batch: int | None = None) -> FloatFile:
    """An architecture in FP32 as PyTorch's TorchScript exporter writes it.

    Args:
        name: Of the architecture.
        folder: Where to write it.
        batch: The batch size to fix; None leaves it open.
    """
    architecture = ARCHITECTURES[name]
    made = batches(architecture, _SAMPLES // _BATCH, _BATCH)
    names = [spec.name for spec in architecture.inputs]
    arrays = {
        each: torch.cat([inputs[at] for inputs in made]).numpy() for at, each in enumerate(names)
    }
    path = folder / "float.onnx"
    example = tuple(torch.from_numpy(arrays[each][: batch or 2]) for each in names)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # Of the exporter, which is to go, and of the models that it traces.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            trained_like(name),
            example,
            str(path),
            input_names=names,
            opset_version=17,
            dynamo=False,
            dynamic_axes=None if batch else {each: {0: "batch"} for each in names},
        )
    return with_data(path, arrays)


def by_pytorch(name: str, arrays: dict[str, Array]) -> Quantized:
    """The same architecture by the PyTorch road, on the samples that the ONNX road takes."""
    samples = range(_SAMPLES)
    chosen = SpreadSamples(samples, list(arrays), IMAGES, _BATCH, 0).indices  # type: ignore[arg-type]
    portions = [chosen[start : start + _BATCH] for start in range(0, IMAGES, _BATCH)]
    taken = [
        tuple(torch.from_numpy(each[portion]) for each in arrays.values()) for portion in portions
    ]
    return quantize(trained_like(name), taken)


def with_data(graph: Path, arrays: dict[str, Array]) -> FloatFile:
    """Data beside a graph."""
    np.savez(graph.with_name("data.npz"), **arrays)  # type: ignore[arg-type]
    return FloatFile(graph, f"npz:{graph.with_name('data.npz')}", arrays)


def write_float(graph: Graph, folder: Path, *outputs: str, opset: int = 17) -> FloatFile:
    """A hand-made graph with the input x, and random data for it."""
    path = folder / "float.onnx"
    onnx.save(graph.proto(*outputs, opset=opset), str(path))
    random = np.random.default_rng(0)
    shapes = {"x": graph.shape, **graph.inputs}
    sizes = {name: list(shape[1:]) for name, shape in shapes.items()}
    return with_data(
        path,
        {
            name: random.normal(size=(_SAMPLES, *size)).astype(np.float32)  # type: ignore[arg-type]
            for name, size in sizes.items()
        },
    )
