"""How close the outputs of an INT8 graph are to those of the float graph, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trtqat.errors import GraphError
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import Noise, difference, signal_and_error, worst_db
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, Arrays

# Rounding in another order leaves 100 dB and more.
_LEAST_DB = 60.0


@dataclass(frozen=True)
class OutputAgreement:
    """How close one output is.

    Attributes:
        name: Of the output.
        sqnr_db: Over all samples, in dB; infinite if every value was equal, NaN where a value is
            none or the shapes differ.
        worst_db: Of the worst sample.
        worst: Largest absolute difference; NaN where a value is none.
        samples: That were compared.
        has_other_shapes: Whether the INT8 graph gave another shape, as where the data decides it.
    """

    name: str
    sqnr_db: float
    worst_db: float
    worst: float
    samples: int
    has_other_shapes: bool = False


@dataclass
class _Output:
    noise: Noise = field(default_factory=Noise)
    worst_db: float = math.inf
    worst: float = 0.0
    has_other_shapes: bool = False

    def add(self, expected: Array, actual: Array) -> None:
        if expected.shape != actual.shape:
            self.has_other_shapes = True
            return
        self.noise.add(*signal_and_error(expected, actual))
        rows = zip(expected, actual, strict=True) if expected.ndim else [(expected, actual)]
        for one, other in rows:
            found = difference(one, other)
            self.worst_db = worst_db([self.worst_db, found.sqnr_db])
            # ``max`` would drop a NaN.
            self.worst = float(np.maximum(self.worst, found.worst))


def check_read(source: Path, graph: Serialized, batch: Arrays) -> None:
    """Refuses a float graph that computes something else than the file that it was read from.

    Args:
        source: The file.
        graph: After the passes that bring it into the form that quantizers are put into.
        batch: Inputs by name.

    Raises:
        GraphError: An output is another one, or ONNX Runtime does not accept one of them.
        InferenceError: It fails on the batch.
    """
    with OnnxModel(source, as_written=True) as given, OnnxModel(graph, as_written=True) as read:
        expected, found = given.session(1).run(batch), read.session(1).run(batch)
    for name, array in expected.items():
        if array.dtype.kind not in "biuf":
            continue
        is_same = array.shape == found[name].shape
        # NaN is said where ranges are chosen.
        if is_same and not difference(array, found[name]).sqnr_db < _LEAST_DB:
            continue
        raise GraphError(
            f"Output '{name}' of '{source}' changes when its opset is raised and its constants are "
            "folded, as quantizing needs it.",
            "Have the model's own framework write it in opset 17, and report the graph.",
        )


def compare_outputs(
    source: Path | Serialized, graph: Serialized, batches: Iterable[Arrays], samples: int
) -> tuple[OutputAgreement, ...]:
    """Runs both graphs on ONNX Runtime, and compares every output.

    Args:
        source: The float graph, or its file.
        graph: The INT8 graph, which runs as it is written.
        batches: Inputs by name.
        samples: In all batches together.

    Raises:
        GraphError: ONNX Runtime does not accept one of them.
        InferenceError: It fails on a batch.
    """
    found: dict[str, _Output] = {}
    with OnnxModel(source) as exact, OnnxModel(graph, as_written=True) as rounded:
        float_session, int8_session = exact.session(1), rounded.session(1)
        for batch in batches:
            actual = int8_session.run(batch)
            for name, expected in float_session.run(batch).items():
                found.setdefault(name, _Output()).add(expected, actual[name])
    return tuple(
        OutputAgreement(
            name,
            math.nan if each.has_other_shapes else each.noise.sqnr_db,
            math.nan if each.has_other_shapes else each.worst_db,
            each.worst,
            samples,
            each.has_other_shapes,
        )
        for name, each in found.items()
    )
