"""The small models exported, with data that fits them."""

from __future__ import annotations

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


def exported(name: str, folder: Path) -> tuple[Path, Images]:
    example = models.EXAMPLES[name]
    path = folder / f"{name}.onnx"
    export_onnx(example.qat(), path, ExportOptions(example.inputs))
    return path, Images(example, 24)
