"""How close the outputs of an INT8 model are to those of the float one, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trtqat.numerics import Noise, difference, signal_and_error, worst_db
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.placing.steps import Recording
from trtqat.search.running import Progress, outputs_of
from trtqat.search.samples import SpreadSamples
from trtqat.tensors import Array, Arrays

# What ``progress`` calls it.
TASK = "agreement"
# Below it answers change, as a rule.
_LEAST_DB = 20.0
_ORDERING = frozenset(["argsort", "sort", "topk"])


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
        has_other_shapes: Whether the INT8 model gave another shape, as where the data decides it.
        is_real: Whether its values are real numbers, and no classes or places.
    """

    name: str
    sqnr_db: float
    worst_db: float
    worst: float
    samples: int
    has_other_shapes: bool = False
    is_real: bool = True


class Agreements:
    """Compares outputs batch by batch."""

    def __init__(self) -> None:
        """Nothing is compared yet."""
        self._found: dict[str, _Output] = {}

    def add(self, expected: Arrays, actual: Arrays) -> None:
        """Compares the outputs of one batch; those that are no numbers of ONNX are left out.

        Args:
            expected: Of the float model, by name.
            actual: Of the INT8 model.
        """
        for name, array in expected.items():
            if array.dtype.kind in "biuf":
                output = self._found.setdefault(name, _Output(is_real=array.dtype.kind == "f"))
                output.add(array, actual.get(name))

    def result(self, samples: int) -> tuple[OutputAgreement, ...]:
        """What was found of each output, in the order of the float model.

        Args:
            samples: In all batches together.
        """
        return tuple(
            OutputAgreement(
                name,
                math.nan if each.has_other_shapes else each.sqnr_db,
                math.nan if each.has_other_shapes else each.worst_db,
                each.worst,
                samples,
                each.has_other_shapes,
                each.is_real,
            )
            for name, each in self._found.items()
        )


def compare_models(
    exact: torch.nn.Module,
    rounded: torch.nn.Module,
    batches: SpreadSamples,
    progress: Progress | None = None,
) -> tuple[OutputAgreement, ...]:
    """Runs both models, and compares every output; neither is changed.

    Args:
        exact: The float model, in eval mode.
        rounded: The INT8 model, in eval mode.
        batches: Samples, best such that no range was chosen on.
        progress: Called after every batch.

    Raises:
        Exception: Whatever forward raises, or who gives the samples.
    """
    found, done, samples = Agreements(), 0, len(batches.indices)
    with buffers_kept(exact), buffers_kept(rounded):
        for batch in batches:
            found.add(outputs_of(exact, batch), outputs_of(rounded, batch))
            done += len(batch[0])
            if progress is not None:
                progress(TASK, done, samples)
    return found.result(samples)


def notes_on_outputs(
    outputs: Sequence[OutputAgreement], *, are_held_out: bool, way_out: str | None
) -> list[str]:
    """What is to be said of outputs, for the user.

    Args:
        outputs: What was found.
        are_held_out: Whether no range was chosen on these samples.
        way_out: A sentence on what to do about outputs that are far off; None says nothing of them.
    """
    notes = []
    if outputs and not are_held_out:
        notes.append(
            "Outputs are compared on the very samples that ranges were chosen on, as the data has "
            "too few others."
        )
    notes += [
        f"Output '{each.name}' has a shape that depends on the data, and another one in INT8: its "
        "values are not compared."
        for each in outputs
        if each.has_other_shapes
    ]
    compared = [each for each in outputs if each.is_real and not each.has_other_shapes]
    far = [each for each in compared if worst_db([each.sqnr_db]) < _LEAST_DB]
    if far and way_out is not None:
        worst = min(far, key=lambda each: worst_db([each.sqnr_db]))
        found = f"has an SQNR of {worst.sqnr_db:.1f} dB"
        if math.isnan(worst.sqnr_db):
            found = "has values that are no numbers"
        more = f", and {len(far) - 1} more have less than {_LEAST_DB:g} dB" if far[1:] else ""
        notes.append(
            f"Output '{worst.name}' {found}{more}: answers may differ from the float model's. "
            f"{way_out}"
        )
    return notes


def where_far_off(recording: Recording) -> str:
    """What to do about outputs of a model that are far off.

    Args:
        recording: Of a run of the model. Where it orders by scores, as a detector its boxes, an
            SQNR says little of what is ordered.
    """
    ordering = next(
        (
            each.name
            for each in recording.steps
            if each.name in _ORDERING
            and any(value.is_computed and value.dtype.is_floating_point for value in each.inputs)
        ),
        None,
    )
    if ordering is not None:
        return (
            f"Forward orders by scores ('{ordering}'), and two that change places count as noise: "
            "a metric says more, as with --eval-data, --metric and --max-accuracy-drop."
        )
    return (
        "See which layers cost most with --sensitivity, and leave them in floating point with "
        "--keep; or let --eval-data and --max-accuracy-drop choose them."
    )


@dataclass
class _Output:
    is_real: bool
    noise: Noise = field(default_factory=Noise)
    worst_db: float = math.inf
    worst: float = 0.0
    has_other_shapes: bool = False

    @property
    def sqnr_db(self) -> float:
        # Where no sample has any element, as no box, none was unequal.
        return self.noise.sqnr_db if self.noise.count else math.inf

    def add(self, expected: Array, actual: Array | None) -> None:
        # A list of outputs may be as long as the data decides.
        if actual is None or expected.shape != actual.shape:
            self.has_other_shapes = True
            return
        self.noise.add(*signal_and_error(expected, actual))
        rows = zip(expected, actual, strict=True) if expected.ndim else [(expected, actual)]
        for one, other in rows:
            found = difference(one, other)
            self.worst_db = worst_db([self.worst_db, found.sqnr_db])
            # ``max`` would drop a NaN.
            self.worst = float(np.maximum(self.worst, found.worst))
