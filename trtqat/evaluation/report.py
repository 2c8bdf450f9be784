"""The report of an evaluation: everything that it found, and its form for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from trtqat.errors import GateError
from trtqat.evaluation.accuracy import AccuracyResult
from trtqat.evaluation.counts import Accuracy, Agreement, Paired
from trtqat.evaluation.layers import LayerTime
from trtqat.evaluation.locate import Located
from trtqat.evaluation.recorded import SCHEMA_VERSION, pack
from trtqat.evaluation.sweep import BatchPoint
from trtqat.evaluation.timing import Ratio, Timing
from trtqat.evaluation.trtexec import TrtexecTiming
from trtqat.host.environment import Environment
from trtqat.host.telemetry import Telemetry


@dataclass(frozen=True)
class Measured:
    """One model's figures.

    Attributes:
        name: For tables.
        device: ``"cpu"`` or ``"cuda"``.
        accuracy: Its counts; None if the data has no labels.
        timing: Its times; None if latency was not asked for.
        size_bytes: Of plan, file or parameters; None for what was measured elsewhere.
    """

    name: str
    device: str
    accuracy: Accuracy | None
    timing: Timing | None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Rival:
    """What a user might run instead of the model.

    Attributes:
        measured: Its figures.
        agreement: With the baseline, if there is one.
        paired: Likewise.
        speedup: Its median compute time over the model's, measured in turns.
    """

    measured: Measured
    agreement: Agreement | None
    paired: Paired | None
    speedup: Ratio | None


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation found.

    Attributes:
        model: The model's figures.
        baseline: The baseline's, if there was one.
        comparison: Agreement between the two.
        data: What it ran on.
        images: How many images.
        batch_size: Of every batch but the last.
        speedup: Baseline's median compute time over the model's, measured in turns.
        environment: The host.
        telemetry: Clocks, temperature and power of the GPU during the timing, where NVML tells.
        rivals: What might be run instead.
        trtexec: What trtexec would report, if that was asked for.
        failed_gates: A sentence for every gate that was not met.
        curve: Timings by batch size, ascending; empty without a sweep.
        latency_budget_ms: What 99 % of requests had to keep within, if that was asked.
        best_batch: The best of them within the latency budget, if one was given and met.
        located: In which layers accuracy goes, if that was asked for.
        layers: The engine's layers with their times, if that was asked for.
        schema_version: Of the JSON form.
    """

    model: Measured
    baseline: Measured | None
    comparison: AccuracyResult
    data: str
    images: int
    batch_size: int
    speedup: Ratio | None
    environment: Environment
    failed_gates: tuple[str, ...]
    telemetry: Telemetry | None = None
    rivals: tuple[Rival, ...] = ()
    trtexec: TrtexecTiming | None = None
    curve: tuple[BatchPoint, ...] = ()
    latency_budget_ms: float | None = None
    best_batch: int | None = None
    located: Located = field(default_factory=Located)
    layers: tuple[LayerTime, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __repr__(self) -> str:
        beside = f" beside {self.baseline.name!r}" if self.baseline is not None else ""
        return (
            f"Report({self.model.name!r}{beside} on {self.data!r}, {self.images} images, "
            f"{len(self.failed_gates)} gates failed)"
        )

    @property
    def sides(self) -> tuple[Measured, ...]:
        """The baseline, if there was one, and the model."""
        return (self.model,) if self.baseline is None else (self.baseline, self.model)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils the timings, with the name of the model, and outputs that are wrong."""
        found = [
            f"{name}: {warning}" for name, timing in self._timings() for warning in timing.warnings
        ]
        found += self.telemetry.warnings if self.telemetry else ()
        predicted = [(self.model.name, self.comparison.predictions.model)]
        if self.baseline is not None:
            predicted.append((self.baseline.name, self.comparison.predictions.baseline))
        for name, classes in predicted:
            if count := classes.count(-1):
                found.append(f"{name}: the output for {count} of {self.images} images holds NaN.")
        compared = (
            (self.model.name, self.comparison.agreement),
            *((each.name, each.agreement) for each in self.comparison.others),
            *((each.name, each.agreement) for each in self.comparison.steps),
        )
        for name, agreement in compared:
            if agreement is not None and agreement.wrong_positions:
                where = ", ".join(map(str, agreement.wrong_positions))
                found.append(
                    f"{name}: the outputs at position {where} of the batch are wrong, while those "
                    "at others are not."
                )
        # The model may be wrong beside the baseline and beside the last step.
        return tuple(dict.fromkeys(found))

    def _timings(self) -> Iterator[tuple[str, Timing]]:
        """Every timing, and whose it is; at other batch sizes with these."""
        rivals = [rival.measured for rival in self.rivals]
        for side in (*self.sides, *rivals):
            if side.timing:
                yield side.name, side.timing
        for point in self.curve:
            if point.batch_size == self.batch_size:
                continue
            baseline = [point.baseline] if point.baseline else []
            timings = [*baseline, point.model, *(rival.timing for rival in point.rivals)]
            # A recorded baseline may lack this batch size.
            names = [each.name for each in (*self.sides[-1 - len(baseline) :], *rivals)]
            for name, timing in zip(names, timings, strict=True):
                yield f"{name} at batch {point.batch_size}", timing

    @property
    def top1_drop_points(self) -> float | None:
        """Top-1 points that the model loses to the baseline; negative if it gains."""
        if self.baseline is None or self.baseline.accuracy is None or self.model.accuracy is None:
            return None
        return self.baseline.accuracy.top1_percent - self.model.accuracy.top1_percent

    def check_gates(self) -> None:
        """Raises GateError if a gate was not met; the report is complete all the same."""
        if self.failed_gates:
            raise GateError(" ".join(self.failed_gates), "The figures are in the report.")

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        result = asdict(self)
        del result["comparison"]
        result["steps"] = [asdict(step) for step in self.comparison.steps]
        agreement = self.comparison.agreement
        result["agreement"] = None if agreement is None else asdict(agreement)
        paired = self.comparison.paired
        result["paired"] = None if paired is None else {**asdict(paired), "p_value": paired.p_value}
        result["top1_drop_points"] = self.top1_drop_points
        predictions = self.comparison.predictions
        result["predictions"] = {
            "model": pack(predictions.model),
            "baseline": pack(predictions.baseline),
            "data_sha256": predictions.data_sha256,
            "output": predictions.output,
        }
        return result
