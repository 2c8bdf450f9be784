"""What ``--metric`` means: ``NAME[@OUTPUT][:KEY=VALUE,…]``, or a pointer to one of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trtqat.errors import UsageError
from trtqat.evaluation.metrics.classification import COUNTED, TopK
from trtqat.evaluation.metrics.detection import MeanAveragePrecision
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.regression import MeanSquaredError, PeakSignalToNoise
from trtqat.evaluation.metrics.segmentation import MeanIou
from trtqat.evaluation.metrics.text import CharacterErrorRate
from trtqat.evaluation.metrics.user_metric import (
    ForeignMetric,
    UserMetric,
    load_metric,
    user_metric,
)
from trtqat.pointers import is_pointer

NAMES = "top1, top5 (any topK), miou, mse, psnr, cer, map, map50 (any overlap) or file.py:function"

# By the letters of the name, the class, and the field of the number behind them.
_CLASSES: Mapping[str, tuple[type[Metric], str | None]] = {
    "top": (TopK, "k"),
    "miou": (MeanIou, None),
    "mse": (MeanSquaredError, None),
    "psnr": (PeakSignalToNoise, None),
    "cer": (CharacterErrorRate, None),
    "map": (MeanAveragePrecision, "overlap"),
}
# An output's name may hold a colon; options begin at the first one with ``key=`` behind it.
_FORM = re.compile(r"(?P<name>[a-z]+)(?P<number>\d*)(@(?P<output>.+?))?(:(?P<options>\w+=.*))?")


def as_metrics(given: Iterable[str | Metric | Callable[..., Any]]) -> tuple[Metric, ...]:
    """Metrics, each of another name.

    Args:
        given: As ``--metric`` takes them, made already, or functions of outputs and labels.

    Raises:
        UsageError: One is none, or two have one name.
    """
    found: dict[str, Metric] = {}
    for each in given:
        metric = _metric(each)
        if metric.label in found:
            raise _twice(found[metric.label], metric)
        found[metric.label] = metric
    return tuple(found.values())


def parse_metric(text: str) -> Metric:
    """One metric.

    Args:
        text: ``top5``, ``miou@mask:classes=5,ignore=255`` or ``file.py:function``.

    Raises:
        UsageError: There is no such metric, or no such option of it, or its value is none.
    """
    form = _FORM.fullmatch(text)
    kind, field = _CLASSES.get(form["name"] if form else "", (None, None))
    if form is None or kind is None or (field is None and form["number"]):
        _check_value(text)
        if is_pointer(text) and not text.endswith(":"):
            return _of_the_users(load_metric(text))
        raise UsageError(f"There is no metric '{text}'.", f"Use {NAMES}.")
    if kind is TopK and not form["number"]:
        raise UsageError(f"'{text}' does not say how many count as an answer.", "Write top5.")
    name = f"{form['name']}{form['number']}"
    options = dict(_option(kind, name, each) for each in _split(form["options"] or ""))
    if field is not None and form["number"]:
        options[field] = int(form["number"][:9])
    return kind(output=form["output"], **options)


def parse_drops(texts: Iterable[str]) -> dict[str, float]:
    """What ``--max-drop`` takes: by a metric's name, how much worse it may be.

    Args:
        texts: As ``miou:0.5``.

    Raises:
        UsageError: One has another form or is below 0, or two are of one metric.
    """
    drops: dict[str, float] = {}
    for text in texts:
        name, _, points = text.rpartition(":")
        try:
            limit = float(points)
        except ValueError:
            name, limit = "", 0.0
        if not name:
            raise UsageError(
                f"'{text}' is no gate on a metric.", "Write its name and a number, as map:1."
            )
        if limit < 0:
            raise UsageError(
                f"--max-drop {name} is {limit:g}.",
                "Give how much worse than the baseline's it may be, 0 or more.",
            )
        if name in drops:
            raise UsageError(f"The metric {name} has two gates.", "Give one --max-drop for it.")
        drops[name] = limit
    return drops


def _metric(given: str | Metric | Callable[..., Any]) -> Metric:
    if isinstance(given, str):
        return parse_metric(given)
    if isinstance(given, Metric):
        return _of_the_users(given)
    if callable(given) and not isinstance(given, type):
        name = getattr(given, "__name__", type(given).__name__)
        return _of_the_users(user_metric(name, given, given))
    raise UsageError(
        f"{given!r} is no metric.", f"Give {NAMES}, or a function of outputs and labels."
    )


def _twice(one: Metric, other: Metric) -> UsageError:
    """The error that two metrics have one name."""
    first, second = (
        each.pointer if isinstance(each, (UserMetric, ForeignMetric)) else each.label
        for each in (one, other)
    )
    if first != second:
        return UsageError(
            f"The metrics '{first}' and '{second}' are both called {other.label}.",
            "Rename one of the functions.",
        )
    both = [each.function for each in (one, other) if isinstance(each, UserMetric)]
    # Of a file a function is made anew each time that it is named.
    # An object that is called may have no hash.
    if len(both) == 2 and both[0] != both[1] and not is_pointer(first):
        return UsageError(
            f"Two functions are called {other.label}, and tables name metrics by that.",
            "Give each a name of its own: define it by def, or set its __name__.",
        )
    return UsageError(
        f"The metric {other.label} is asked for twice.", "Name it once, with all options."
    )


def _of_the_users(metric: Metric) -> Metric:
    """Refuses what tables would show the count of right answers for."""
    if metric.label in COUNTED and not isinstance(metric, TopK):
        raise UsageError(
            f"'{metric.spec}' is a metric of yours, but {metric.label} is what trtqat counts "
            "itself.",
            "Give it another name.",
        )
    return metric


def _check_value(text: str) -> None:
    """Refuses ``miou:ignore``, which would be looked for in a module 'miou'."""
    name, _, option = text.partition(":")
    form = _FORM.fullmatch(name)
    kind, _ = _CLASSES.get(form["name"] if form else "", (None, None))
    if kind is not None and option in kind.OPTIONS:
        raise UsageError(
            f"The option {option} of the metric {name} has no value.", f"Write {text}=VALUE."
        )


def _split(options: str) -> list[str]:
    return options.split(",") if options else []


def _option(kind: type[Metric], name: str, text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if key not in kind.OPTIONS:
        known = ", ".join(kind.OPTIONS) or "none"
        raise UsageError(
            f"The metric {name} has no option '{key}'.",
            f"It has {known}; the output that it reads stands before them, as in {name}@output.",
        )
    try:
        return key, kind.OPTIONS[key](value)
    except ValueError:
        raise UsageError(
            f"The option {key} of the metric {name} is '{value}'.", "Give a number."
        ) from None
