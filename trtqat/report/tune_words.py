"""What ``trtqat tune`` found, in lines and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

from trtqat.report.wording import Table, hundredths, percent, ratio

if TYPE_CHECKING:
    from trtqat.search.speed.points import Point
    from trtqat.search.speed.tune_log import Int8Part, MeasuredTime
    from trtqat.search.speed.tuning import TuneResult
    from trtqat.search.speed.verdict import RegionTimes
    from trtqat.search.speed.within_target import Score

# Names of regions on a line, and rows of their table.
_NAMED = 6
_ROWS = 12


def verdict_table(result: TuneResult) -> Table:
    """The two ends and the tuned engine at each batch, with how many times the tuned is as fast.

    Args:
        result: What was found.
    """
    # All of them were counted, or none.
    counted = next((each.counted for each in result.verdict if each.counted), None)
    where = "shapes" if result.batches.has_sizes else "batch"
    columns = ["engine", "profiles", where, "ms", "tuned is faster by", "layers in INT8"]
    columns += ["of the arithmetic", "regions in float"]
    columns += [] if counted is None else [counted.metric]
    rows = [
        [
            each.name,
            (", " if each.form.shapes else ",").join(each.form.profiles) or "fixed",
            str(batch),
            _time(time),
            ratio(each.speed_ups[batch]) if batch in each.speed_ups else "",
            *_int8(each.int8),
            f"{len(each.floats)} of {len(result.regions)}",
            *([] if each.counted is None else [_score(each.counted)]),
        ]
        for each in result.verdict
        for batch, time in each.times.items()
    ]
    return "GPU compute time", columns, rows


def region_table(result: TuneResult) -> Table | None:
    """The regions whose times differ most, in INT8 and in floating point; None if none is told.

    Args:
        result: What was found.
    """
    told = [each for each in result.regions if _gain(each) is not None]
    if not told:
        return None
    point = _point(result.batches.measured[-1])
    rows = [
        [
            each.name,
            "float" if each.is_float else "INT8",
            f"{each.int8_ms:.4f}",
            f"{each.float_ms:.4f}",
            f"{_gain(each):+.4f}",
        ]
        for each in told[:_ROWS]
    ]
    columns = ["region", "tuned is", "INT8 ms", "float ms", "gained ms"]
    return f"Regions at {point}, those first that differ most", columns, rows


def closing_lines(result: TuneResult) -> Iterator[str]:
    """What was written, what it is, and what to do next.

    Args:
        result: What was found.
    """
    yield f"{result.output}: {_as_one(result)}"
    yield from _on_repairs(result)
    yield from _on_form(result)
    yield from _on_batches(result)
    if region_table(result) is None:
        yield f"No region has a time both in INT8 and in floating point: {_why_untold(result)}."
    built = _on_builds(result)
    yield built if result.is_complete else f"{_on_budget(result)} {built}"
    yield f"{result.plan}: the plan that was measured, for this GPU and this TensorRT"
    yield (
        f"{result.options}: the options to build it again, which may choose other kernels; "
        f"{result.timing_cache}: the timing cache that goes with them"
    )
    yield f"to build it again: {_build_again(result)}"


def _why_untold(result: TuneResult) -> str:
    # The help of a command imports nothing heavy, and onnx_ir is behind it.
    from trtqat.search.speed.verdict import FP16, INT8, REPAIRED

    names = {each.name for each in result.verdict}
    if FP16 not in names:
        return "no engine in FP16 was built"
    if not names & {INT8, REPAIRED}:
        return "no engine in INT8 was built"
    why = "TensorRT does not tell them, as inside compiled subgraphs"
    if any(0 < len(each.floats) < len(result.regions) for each in result.tries):
        why += ", so kinds of regions were told apart by builds"
    return why


def _on_builds(result: TuneResult) -> str:
    """How many engines there were; those that TensorRT refused are none."""
    refused = sum(each.time_ms is None for each in result.tries)
    count = result.builds - refused
    engines = "1 engine was" if count == 1 else f"{count} engines were"
    text = f"{engines} built and measured in {result.seconds:.0f} s."
    return text + (f" TensorRT did not build or run {refused} more." if refused else "")


def _on_budget(result: TuneResult) -> str:
    """What a longer search might find."""
    option = "--most-builds" if result.is_out_of_builds else "--budget"
    ended = "The number of engines" if result.is_out_of_builds else "The budget"
    if result.promised_gain is None:
        return f"{ended} ended the search: a longer one ({option}) may find a faster engine."
    # That build, and one more from what it shows.
    enough_s = result.seconds + 2 * max(each.seconds for each in result.tries)
    enough = result.builds + 2 if result.is_out_of_builds else f"{math.floor(enough_s / 60) + 1}m"
    return (
        f"{ended} ended the search before an engine was built that should take "
        f"{100 * result.promised_gain:.1f} % less: {option} {enough} has room for it."
    )


def _build_again(result: TuneResult) -> str:
    # Beside the plan that was measured, not over it.
    plan = result.plan.with_name(f"{result.plan.stem}-again.engine")
    line = (
        f"trtqat build {quote(str(result.output))} -o {quote(str(plan))} --options "
        f"{quote(str(result.options))}"
    )
    if result.timing_cache != result.options.with_suffix(".cache"):
        line += f" --timing-cache {quote(str(result.timing_cache))}"
    line += "".join(f" --plugins {quote(str(each))}" for each in result.plugins)
    return line


def _as_one(result: TuneResult) -> str:
    tuned, drop = result.tuned, result.max_drop_points
    fastest = "the fastest"
    if drop is not None:
        fastest += f" within {drop:g} {_points(tuned.counted)} of FP16"
    if not tuned.floats and tuned.form.is_repaired:
        return f"INT8, repaired, is {fastest}, so no region is in floating point"
    if not tuned.floats:
        return f"INT8 as exported is {fastest}, so the graph is what it was"
    if len(tuned.floats) == len(result.regions):
        return (
            f"FP16 throughout is {fastest} here, so no pair is left: its engine is FP16, without "
            "any layer in INT8"
        )
    named = ", ".join(tuned.floats[:_NAMED])
    more = len(tuned.floats) - _NAMED
    return f"in floating point are {named}" + (f" and {more} more" if more > 0 else "")


def _on_repairs(result: TuneResult) -> Iterator[str]:
    """What exact repairs have to do with it, where there are any."""
    is_float = len(result.tuned.floats) == len(result.regions)
    if not result.repairs or is_float:
        return
    said = " ".join(each.what for each in result.repairs[:_NAMED])
    more = len(result.repairs) - _NAMED
    said += f" And {more} more." if more > 0 else ""
    if result.tuned.form.is_repaired:
        yield f"its pairs are repaired, which changes no output bit: {said}"
    elif any(each.form.is_repaired for each in result.verdict):
        what = "repairs that change no output bit were not seen to make it faster"
        yield f"{what}, and are left out: {said}"
    elif any(each.form.is_repaired for each in result.tries):
        yield f"with repairs that change no output bit TensorRT does not build or run it: {said}"
    else:
        yield f"no build was left for repairs that change no output bit: {said}"


def _on_form(result: TuneResult) -> Iterator[str]:
    """Which batches the plan takes, and what else it is built with."""
    form = result.tuned.form
    if form.profiles:
        count = len(form.profiles)
        profiles = "a profile" if count == 1 else f"{count} profiles"
        what = "" if form.shapes else "batch "
        yield f"its plan has {profiles}, for {what}{', '.join(form.profiles)}"
    if form.optimization_level is not None:
        yield f"it is built with --builder-optimization-level {form.optimization_level}"
    if not form.fp16:
        yield "it is built with --no-fp16: layers that are not INT8 are faster in FP32"
    if result.static is not None:
        sizes = " or ".join(f"{_point(each)} alone" for each in result.batches.measured)
        times = ", ".join(_time(each) for each in result.static.times.values())
        points = result.batches.measured
        option = f"--batch {','.join(map(str, points))}"
        if result.batches.has_sizes:
            option = " ".join(map(_option, points))
        yield f"for {sizes} it would take {times} ms: give {option} where that is all"


def _on_batches(result: TuneResult) -> Iterator[str]:
    """Where the answer is the best over several batches, and not at each of them."""
    if len(result.batches.measured) < 2:
        return
    several = "shapes" if result.batches.has_sizes else "batches"
    yield f"over several {several} the geometric mean of the times decides"
    for batch in result.batches.measured:
        for each in result.verdict:
            found = each.speed_ups.get(batch)
            if found is not None and found.interval.high < 1:
                yield (
                    f"at {_point(batch)} {each.name} is faster: {_time(each.times[batch])} ms; "
                    f"tune for it alone with {_option(batch)}"
                )


def _point(point: Point) -> str:
    return f"batch {point}" if isinstance(point, int) else point


def _option(point: Point) -> str:
    return f"--batch {point}" if isinstance(point, int) else f"--shapes {quote(point)}"


def _points(score: Score | None) -> str:
    """The unit of a drop; a metric without one is named instead."""
    if score is None or score.unit == "%":
        return "points"
    return score.unit or f"({score.metric})"


def _score(score: Score) -> str:
    if score.unit == "%":
        return f"{hundredths(score.value)} %"
    form = ".2f" if score.unit else ".4g"
    return f"{score.value:{form}} {score.unit}".rstrip()


def _time(time: MeasuredTime) -> str:
    interval = time.interval
    half = max(interval.high - time.median_ms, time.median_ms - interval.low)
    # Rounded up: what was measured is never known without any doubt.
    return f"{time.median_ms:.3f} ±{math.ceil(round(1000 * half, 6)) / 1000:.3f}"


def _int8(part: Int8Part | None) -> tuple[str, str]:
    if part is None:
        return "", ""
    if part.unknown:
        # A compiled subgraph: 8.6's inspector names no layers inside.
        return f"{part.int8} of {part.layers}, {part.unknown} not told", "?"
    return f"{part.int8} of {part.layers}", "?" if part.share is None else percent(part.share)


def _gain(region: RegionTimes) -> float | None:
    """What the side that it is on gains over the other one, in ms; None if one is not told."""
    if region.int8_ms is None or region.float_ms is None:
        return None
    return (region.int8_ms - region.float_ms) * (1 if region.is_float else -1)
