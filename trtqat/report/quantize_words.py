"""What ``trtqat quantize`` made, in lines and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import TYPE_CHECKING

from trtqat.files import is_onnx
from trtqat.report.wording import Table, decibels, percent, share

if TYPE_CHECKING:
    from trtqat.quant.ranges.observing import SeenRange
    from trtqat.search.accuracy_target import Ladder, Rung
    from trtqat.search.result import QuantizeResult
    from trtqat.search.running import Cost
    from trtqat.search.sensitivity import LayerSensitivity

# Rows of a table that only -v shows in full.
_WORST = 10
# Names of layers on a line.
_NAMED = 4
_TASKS = {
    "sensitivity": "one layer quantized at a time, and none",
    "accuracy": "counting right answers, at most",
    "metric": "measuring the metric, at most",
}


def describe_cost(cost: Cost) -> str:
    """What a part of a search takes, on one line.

    Args:
        cost: As the search announces it.
    """
    return (
        f"{_TASKS[cost.task]}: {cost.runs} runs over {cost.images:,} images, "
        f"{cost.forwards:,} forwards, about {_duration(cost.seconds)}"
    )


def opening_lines(result: QuantizeResult) -> Iterator[str]:
    """The file, how much of the model is quantized, and what stays in floating point.

    Args:
        result: What was made.
    """
    quantized = sum(not layer.kept for layer in result.layers)
    yield (
        f"{result.path}: {result.model} with {len(result.ranges)} quantizers, "
        f"{result.size_bytes / 1e6:.1f} MB, {result.seconds:.1f} s"
    )
    of_macs = "an unknown share" if result.int8_share is None else percent(result.int8_share)
    yield (
        f"{quantized} of {len(result.layers)} layers in INT8, {of_macs} of the MACs; ranges by "
        f"{result.method} on {result.images} images"
    )
    kept: dict[str, list[str]] = defaultdict(list)
    for layer in result.layers:
        if layer.kept:
            kept[layer.kept].append(layer.name)
    total = sum(layer.macs for layer in result.layers)
    for reason, names in kept.items():
        macs = sum(layer.macs for layer in result.layers if layer.kept == reason)
        of_all = f", {percent(macs / total)} of the MACs" if macs else ""
        yield f"in floating point, {reason}{of_all}: {', '.join(names)}"
    if empty := [each.places[0] for each in result.ranges if _saw_zeros(each)]:
        yield f"saw zeros alone, so their ranges say nothing: {', '.join(empty)}"


def tables(result: QuantizeResult, *, in_full: bool) -> Iterator[Table]:
    """What the quantizers saw, which layers cost most, the outputs, and the ladder to the target.

    Args:
        result: What was made.
        in_full: Whether the first two have all rows, or the worst ones.
    """
    count = len(result.ranges) if in_full else _WORST
    yield _ranges(result.ranges[:count], len(result.ranges))
    if result.sensitivity:
        count = len(result.sensitivity) if in_full else _WORST
        yield _sensitivity(result.sensitivity[:count], len(result.sensitivity))
    if result.outputs:
        yield _outputs(result)
    if result.ladder is not None:
        yield _ladder(result.ladder)


def closing_lines(
    result: QuantizeResult, source: str, factory_args: Sequence[str] = ()
) -> Iterator[str]:
    """What the search ended on, and the next commands.

    Args:
        result: What was made.
        source: Of the model, as the user gave it.
        factory_args: Those of its factory, as the user gave them.
    """
    ladder = result.ladder
    if ladder is not None and ladder.chosen is not None:
        rung = ladder.chosen
        yield (
            f"the {ladder.metric or 'accuracy'} {ladder.drop_in_words(rung.drop_points)} "
            f"({_interval(rung)}), "
            f"{ladder.max_drop_points:g} are allowed: {_kept_in_words(rung)}"
        )
    if is_onnx(result.path):
        graph, engine = quote(str(result.path)), quote(str(result.path.with_suffix(".engine")))
        lead = "next, with a size for each ?" if "?" in result.shapes else "next"
        options = f" --shapes {quote(result.shapes)}" if result.shapes else ""
        options += f" --for {result.for_}" if result.for_ else ""
        yield f"{lead}: trtqat build {graph} -o {engine}{options}"
        # ONNX Runtime does not run the file either where it has plugins.
        baseline = "" if result.plugins else f" --baseline {quote(source)}"
        yield (
            "then, on labelled data that it has not seen: "
            f"trtqat eval {engine} --data SPEC{baseline}"
        )
        return
    inputs = [f"--input {quote(each.removesuffix(':float32'))}" for each in result.inputs]
    arguments = [f"--factory-arg {quote(each)}" for each in factory_args]
    onnx = quote(str(result.path.with_suffix(".onnx")))
    parts = [quote(source), f"--checkpoint {quote(str(result.path))}", *arguments, *inputs]
    yield f"next: trtqat export {' '.join(parts)} -o {onnx}"


def _ranges(ranges: Sequence[SeenRange], count: int) -> Table:
    title = f"what the quantizers saw, the worst {len(ranges)} of {count}"
    columns = ("quantizer", "min", "max", "range", "clipped", "SQNR", "method")
    rows = [
        [
            each.places[0],
            f"{each.minimum:.4g}",
            f"{each.maximum:.4g}",
            # Not "-0" where there was nothing.
            f"{each.amax + 0.0:.4g}",
            percent(each.clipped) if each.clipped else "0",
            "no signal" if _saw_zeros(each) else decibels(each.sqnr_db),
            each.method,
        ]
        for each in ranges
    ]
    return title, columns, rows


def _saw_zeros(seen: SeenRange) -> bool:
    """Whether there was no value to choose a range by."""
    return seen.minimum == 0 == seen.maximum


def _sensitivity(found: Sequence[LayerSensitivity], count: int) -> Table:
    title = f"the outputs with one layer quantized, the worst {len(found)} of {count}"
    rows = [
        [each.layer, decibels(each.sqnr_db), percent(each.share) if each.share else "0"]
        for each in found
    ]
    return title, ("layer", "SQNR", "of the MACs"), rows


def _outputs(result: QuantizeResult) -> Table:
    count = result.outputs[0].samples
    where = f"{count} samples held out"
    if not result.are_held_out:
        of_all = f"{count} of the" if count < result.images else f"the {count}"
        where = f"{of_all} samples of the ranges"
    whose = "graph" if is_onnx(result.path) else "model"
    title = f"the outputs against the float {whose}'s, on {where}"
    rows = [
        [each.name, decibels(each.sqnr_db), decibels(each.worst_db), f"{each.worst:.4g}"]
        for each in result.outputs
    ]
    return title, ("output", "SQNR", "worst sample", "largest difference"), rows


def _ladder(ladder: Ladder) -> Table:
    if ladder.fp32_right is None:
        return _metric_ladder(ladder)
    title = (
        f"the ladder to a drop of {ladder.max_drop_points:g} points; FP32 has "
        f"{share(ladder.fp32_right, ladder.count)} right"
    )
    columns = ("kept", "MACs in INT8", "right", "drop", "95 % interval", "McNemar p", "holds")
    rows = [
        [
            f"{len(rung.kept)}",
            percent(rung.int8_share),
            f"{rung.right}/{rung.count}",
            f"{rung.drop_points:.2f}",
            _interval(rung),
            f"{rung.p_value:.2g}",
            _held(ladder, number),
        ]
        for number, rung in enumerate(ladder.rungs)
    ]
    return title, columns, rows


def _metric_ladder(ladder: Ladder) -> Table:
    unit = "points" if ladder.unit == "%" else ladder.unit
    title = (
        f"the ladder to a drop of {ladder.max_drop_points:g} {unit}".rstrip()
        + f"; {ladder.metric} of FP32 is {ladder.fp32_value:.4g} {ladder.unit}".rstrip()
    )
    rows = [
        [
            f"{len(rung.kept)}",
            percent(rung.int8_share),
            f"{rung.value:.4g}",
            f"{rung.drop_points:.4g}",
            _interval(rung),
            _held(ladder, number),
        ]
        for number, rung in enumerate(ladder.rungs)
    ]
    columns = ("kept", "MACs in INT8", str(ladder.metric), "drop", "95 % interval", "holds")
    return title, columns, rows


def _held(ladder: Ladder, number: int) -> str:
    if not ladder.rungs[number].holds:
        return "no"
    return "taken" if number == ladder.best else "yes"


def _interval(rung: Rung) -> str:
    form = ".4g" if rung.right is None else ".2f"
    return f"{rung.interval_points.low:{form}} … {rung.interval_points.high:{form}}"


def _kept_in_words(rung: Rung) -> str:
    if not rung.kept:
        return "no layer had to go back"
    more = f" and {len(rung.kept) - _NAMED} more" if len(rung.kept) > _NAMED else ""
    return f"back in floating point: {', '.join(rung.kept[:_NAMED])}{more}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
