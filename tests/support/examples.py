"""The small models exported, with data that fits them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from tests.support import models
from tests.support.measured import Samples
from trtqat.data.batches import Batch
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx


class Images(Samples):
    """The examples' own random inputs, by name."""

    def __init__(self, example: models.Example, count: int) -> None:
        tensors = example.batch(count)
        self.arrays = {
            spec.name: tensor.numpy() for spec, tensor in zip(example.inputs, tensors, strict=True)
        }
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, start: int, stop: int) -> Batch:
        return Batch({name: array[start:stop] for name, array in self.arrays.items()}, None)


def exported(name: str, folder: Path, *, quantized_input: bool = False) -> tuple[Path, Images]:
    """A graph in a file that the caller may change, and data for it."""
    path = folder / f"{name}{'-codes' if quantized_input else ''}.onnx"
    path.write_bytes(_graph(name, quantized_input))
    return path, Images(models.EXAMPLES[name], 24)


@cache
def _graph(name: str, quantized_input: bool) -> bytes:
    example = models.EXAMPLES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        # It takes a third of the time of the other exporter.
        options = ExportOptions(
            example.inputs, exporter="torchscript", quantized_input=quantized_input
        )
        export_onnx(example.qat(), path, options)
        return path.read_bytes()
