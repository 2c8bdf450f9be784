"""The report of an evaluation: everything that it found, which is what stands in its JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trtqat.errors import GateError
from trtqat.evaluation.contenders import Lineup, Measured
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.layers import LayerTime
from trtqat.evaluation.locate import Located
from trtqat.evaluation.timing import Timing
from trtqat.evaluation.trtexec import TrtexecTiming
from trtqat.files import write_atomically
from trtqat.host.environment import Environment
from trtqat.host.telemetry import Telemetry
from trtqat.typed_json import Unbounded, as_fields, json_schema, json_text

SchemaVersion = Literal[8]
SCHEMA_VERSION: SchemaVersion = 8

_FIRST_FIGURES = (
    "When trtqat was made, plans of TensorRT for RTX were built and inspected, not run. Nobody has "
    "held such figures against another measurement yet."
)


@dataclass(frozen=True, kw_only=True)
class Report(Lineup):
    """Everything that one evaluation found.

    Attributes:
        contenders: What was found of each, by their roles.
        data: What it ran on.
        images: How many images.
        batch_size: Of every batch but the last; the subject's times at it are the report's.
        top1_drop_points: Top-1 points that the subject loses to the baseline; negative if it
            gains, None if one of the two has no accuracy.
        environment: The host.
        failed_gates: A sentence for every gate that was not met.
        telemetry: Clocks, temperature and power of the GPU during the timing, where NVML tells.
        trtexec: What trtexec would report, if that was asked for.
        latency_budget_ms: What 99 % of requests had to keep within, if that was asked.
        best_batch: The best of the batch sizes within the latency budget, if one was given and met.
        located: In which layers accuracy goes, if that was asked for.
        layers: The engine's layers with their times, if that was asked for.
        command: What made the report, to make it again; empty if no command did.
        schema_version: Of the JSON form.
    """

    data: str
    images: int
    batch_size: int
    top1_drop_points: float | None
    environment: Environment
    failed_gates: tuple[str, ...]
    telemetry: Telemetry | None = None
    trtexec: TrtexecTiming | None = None
    latency_budget_ms: Unbounded | None = None
    best_batch: int | None = None
    located: Located = field(default_factory=Located)
    layers: tuple[LayerTime, ...] = ()
    command: str = ""
    schema_version: SchemaVersion = SCHEMA_VERSION

    def __repr__(self) -> str:
        beside = f" beside {self.baseline.name!r}" if self.baseline is not None else ""
        return (
            f"Report({self.subject.name!r}{beside} on {self.data!r}, {self.images} images, "
            f"{len(self.failed_gates)} gates failed)"
        )

    @property
    def side_by_side(self) -> tuple[Measured, ...]:
        """The baseline, if there was one, and the subject."""
        return (self.subject,) if self.baseline is None else (self.baseline, self.subject)

    @property
    def speedup(self) -> Ratio | None:
        """Baseline's median compute time over the subject's, at the report's batch size."""
        at = self.baseline.at(self.batch_size) if self.baseline is not None else None
        return at.speedup if at else None

    @property
    def is_unstable(self) -> bool:
        """Whether compute times of baseline or subject vary, so that their ratio is in doubt."""
        timings = (self.timing(side) for side in self.side_by_side)
        return any(timing.is_unstable for timing in timings if timing is not None)

    @property
    def sweep(self) -> tuple[int, ...]:
        """The batch sizes that were timed, ascending; empty if that was no more than one."""
        sizes = tuple(each.batch_size for each in self.subject.timings)
        return sizes if len(sizes) > 1 else ()

    def timing(self, side: Measured) -> Timing | None:
        """A contender's times at the report's batch size; None if there are none.

        Args:
            side: One of the contenders.
        """
        at = side.at(self.batch_size)
        return at.timing if at else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils the timings, with the name of the model, and outputs that are wrong.

        A baseline that is another model is among them, as one whose checkpoint was forgotten: gates
        pass beside a poor one.
        """
        found = [
            f"{name}: {warning}" for name, timing in self._timings() for warning in timing.warnings
        ]
        found += self.telemetry.warnings if self.telemetry else ()
        found += [f"{side.name}: {_FIRST_FIGURES}" for side in self.contenders if side.compilations]
        for side in self.contenders:
            count = side.nan_images
            if count is None:
                count = side.predictions.classes.count(-1)
            if count:
                found.append(
                    f"{side.name}: the output for {count} of {self.images} images holds NaN."
                )
        compared = [(each, each.to_baseline) for each in (self.subject, *self.rivals)]
        compared += [(each, each.to_step_before) for each in self.way]
        for side, comparison in compared:
            if comparison is not None and comparison.agreement.wrong_positions:
                where = ", ".join(map(str, comparison.agreement.wrong_positions))
                found.append(
                    f"{side.name}: the outputs at position {where} of the batch are wrong, while "
                    "those at others are not."
                )
        found += self._on_another_model()
        # The subject may be wrong beside the baseline and beside the last step.
        return tuple(dict.fromkeys(found))

    def _on_another_model(self) -> Iterator[str]:
        """Whether no output has to do with the baseline's.

        A model that is quantized to any use is well above 0 dB, which zeros have.
        """
        comparison = self.subject.to_baseline
        if comparison is None or not comparison.agreement.outputs:
            return
        best_db = max(each.sqnr_db for each in comparison.agreement.outputs)
        # False for NaN as well.
        if best_db <= 0:
            yield (
                f"{self.subject.name}: no output is nearer to that of {comparison.against} than "
                f"zeros would be (SQNR {best_db:.1f} dB at best). That is another model, as where "
                "--checkpoint was forgotten, or quantization has destroyed this one."
            )

    def _timings(self) -> Iterator[tuple[str, Timing]]:
        """Every timing, and whose it is; at other batch sizes with these."""
        timed = (*self.side_by_side, *self.rivals)
        for side in timed:
            timing = self.timing(side)
            if timing is not None:
                yield side.name, timing
        for size in self.sweep:
            for side in timed:
                at = side.at(size)
                if at is not None and size != self.batch_size:
                    yield f"{side.name} at batch {size}", at.timing

    def check_gates(self) -> None:
        """Raises GateError if a gate was not met; the report is complete all the same."""
        if self.failed_gates:
            raise GateError(" ".join(self.failed_gates), "The figures are in the report.")

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, as it stands in JSON."""
        return as_fields(self, Report)

    def save(self, path: Path | str) -> None:
        """Writes the report as JSON, of which ``evaluate`` takes the baseline again.

        Args:
            path: The file; one that is there is replaced.

        Raises:
            UsageError: The file cannot be written.
        """
        write_atomically(Path(path), (json_text(self.to_dict()) + "\n").encode())


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a report, which ``report.schema.json`` holds.

    A test compares the file with this; when the report changes, write it again:

        python -m trtqat.evaluation.report > trtqat/evaluation/report.schema.json
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of trtqat eval",
        **json_schema(Report, closed=True),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report_schema(), indent=1) + "\n")
