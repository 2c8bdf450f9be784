"""Time of each layer of an engine, by TensorRT's profiler.

The profiler puts events between the layers, so the engine is slower under it and the sum of
the layers exceeds the end-to-end time: these figures say where time goes, not how much of it.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.files import read_input, why_unreadable
from trtqat.runtime.engine import Engine
from trtqat.runtime.session import EngineSession
from trtqat.typed_json import parse_json, read_as

# A picosecond, and thirty years: what lies beyond is no time of a layer, unless it is 0.
_SHORTEST_MS, _LONGEST_MS = 1e-9, 1e12
_WAY_OUT = (
    "Write one with trtqat inspect --export-profile, or trtexec --exportProfile=profile.json."
)


@dataclass(frozen=True)
class LayerTimes:
    """What the profiler saw.

    Attributes:
        passes: For each measured pass, time by layer in ms, in the order of execution.
    """

    passes: tuple[Mapping[str, float], ...]

    @property
    def median_ms(self) -> dict[str, float]:
        """Median time by layer."""
        by_layer: dict[str, list[float]] = defaultdict(list)
        for each in self.passes:
            for name, time_ms in each.items():
                by_layer[name].append(time_ms)
        return {name: statistics.median(times) for name, times in by_layer.items()}

    @property
    def sum_ms(self) -> float:
        """Sum of the medians."""
        return sum(self.median_ms.values())

    def trtexec(self) -> list[dict[str, float | str]]:
        """The same in the layout of ``trtexec --exportProfile``."""
        median = self.median_ms
        totals = {name: sum(each.get(name, 0.0) for each in self.passes) for name in median}
        whole = sum(totals.values())
        rows: list[dict[str, float | str]] = [{"count": len(self.passes)}]
        rows += [
            {
                "name": name,
                "timeMs": total,
                "averageMs": total / len(self.passes),
                "medianMs": median[name],
                "percentage": 100 * total / whole if whole else 0.0,
            }
            for name, total in totals.items()
        ]
        return rows


def measure_layers(
    engine: Engine, session: EngineSession, *, passes: int, warm_up: int = 10
) -> LayerTimes:
    """Runs a session under the profiler. The session keeps the profiler: close it afterwards.

    Args:
        engine: Whose session it is.
        session: One of its own, with its inputs loaded.
        passes: How many passes are measured.
        warm_up: How many passes come before.

    Raises:
        InferenceError: TensorRT's enqueue failed.
    """
    seen: list[tuple[str, float]] = []
    profiler = engine.profiler(lambda name, time_ms: seen.append((name, time_ms)))
    session.attach_profiler(profiler)
    measured = []
    for number in range(warm_up + passes):
        seen.clear()
        session.enqueue()
        if number >= warm_up:
            times: dict[str, float] = defaultdict(float)
            for name, time_ms in seen:
                times[name] += time_ms
            measured.append(dict(times))
    return LayerTimes(tuple(measured))


@dataclass(frozen=True)
class _Row:
    """Fields as trtexec spells them."""

    name: str | None = None
    medianMs: float | None = None  # noqa: N815
    averageMs: float | None = None  # noqa: N815


@dataclass(frozen=True)
class _Rows:
    rows: tuple[_Row, ...]


def read_profile(path: Path) -> dict[str, float]:
    """Median time by layer in ms, from what ``trtexec --exportProfile`` or ``LayerTimes`` wrote.

    Raises:
        UsageError: It is missing, or no such file.
    """
    times: dict[str, float] = defaultdict(float)
    try:
        # trtexec writes names as they are, raw control characters of 8.6 among them.
        for row in read_as(_Rows, {"rows": parse_json(read_input(path), foreign=True)}).rows:
            # The first row tells the number of passes.
            if row.name is None:
                continue
            # Older versions of trtexec write no medians.
            time_ms = row.averageMs if row.medianMs is None else row.medianMs
            if time_ms is None or not (time_ms == 0 or _SHORTEST_MS <= time_ms <= _LONGEST_MS):
                raise ValueError(f"{row.name[:40]!r} has no time")
            times[row.name] += time_ms
    except OSError as error:
        raise UsageError(
            f"'{path}' holds no times of layers: {why_unreadable(error)}.", _WAY_OUT
        ) from error
    except ValueError as error:
        raise UsageError(f"'{path}' holds no times of layers: {error}.", _WAY_OUT) from error
    if not times:
        raise UsageError(f"'{path}' holds no times of layers.", _WAY_OUT)
    return dict(times)
