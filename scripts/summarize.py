"""A summary of a few kB of what a command wrote with ``--json``: the same figures, fewer of them.

    python -m scripts.summarize runs/bench/eval-vgg16.json --output scripts/results/eval-vgg16.json

It knows figures by their names, wherever they stand. Of a distribution it keeps median, interval
and 99th percentile; of what is said layer by layer, but for accuracy, how many layers there are and
of which kinds; of a curve of batch sizes those points that do not stand in the report already. What
is empty is left out, and so are single predictions. Nothing is computed but counts; fractions have
six digits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Listed layer by layer, tensor by tensor, place by place.
LISTED = {
    *("layers", "layer_times_ms", "times_ms", "findings", "warnings"),
    *("reformats", "quantizers", "others", "uncounted", "region_ms", "floats"),
}
KINDS = ("rule", "operator", "kind", "reason")
LEFT_OUT = {
    *(
        "predictions",
        "samples",
        "inputs",
        "outputs",
        "profiles",
        "more_profiles",
        "provenance",
        "io_names",
    ),
    *("plan_sha256", "graph_sha256", "options"),
    *("wrong_positions", "enqueue", "h2d", "d2h", "queries", "turns"),
}
# More of one kind than these are counted, fewer are kept.
MOST_LISTED, MOST_KINDS = 6, 8
LINE = 400


def main() -> None:
    """Writes the summary of one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--commit", help="default: the report's, $COMMIT, or the working tree's")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    commit = arguments.commit or report.get("commit") or current_commit()
    beginning = {"command": report.get("command"), "commit": commit, "date": today()}
    summary = {**beginning, **summarize(report)}
    arguments.output.write_text(written(summary) + "\n", encoding="utf-8")


def today() -> str:
    """The day, in UTC."""
    return datetime.now(timezone.utc).date().isoformat()


def current_commit() -> str:
    """The commit of the working tree, with ``-dirty`` behind it if it is changed.

    The environment variable ``COMMIT`` says it where there are the files and no git; else it is
    "unknown" there.
    """
    if given := os.environ.get("COMMIT"):
        return given
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def summarize(value: Any, name: str = "") -> Any:  # noqa: ANN401
    """The figures of a report, or of a part of it.

    Args:
        value: What JSON holds.
        name: The key that it stands under.

    Returns:
        The same without what is listed, left out or empty.
    """
    if name in LISTED and is_long(value):
        return tally(value)
    if isinstance(value, list):
        return [summarize(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if not isinstance(value, Mapping):
        return value
    if "quantiles_ms" in value:
        return {key: summarize(value[key]) for key in ("median_ms", "interval_ms", "p99_ms")}
    if name == "seconds" and all(isinstance(each, list) for each in value.values()):
        return {stage: summarize(times[-1]) for stage, times in value.items()}
    parts = {key: summarize(each, key) for key, each in value.items() if key not in LEFT_OUT}
    if "largest_gaps" in parts:
        layers = {layer["name"]: layer for layer in value["layers"]}
        parts["largest_gaps"] = [summarize(layers[each]) for each in value["largest_gaps"]]
    if "curve" in parts:
        own = parts.get("batch_size")
        parts["curve"] = [point for point in parts["curve"] if point.get("batch_size") != own]
    if sha256 := (value.get("predictions") or {}).get("data_sha256"):
        parts["data_sha256"] = sha256
    # No ratio of signal to noise is a figure: there was no noise.
    return {
        key: part
        for key, part in parts.items()
        if part not in (None, [], {}, "") or key == "sqnr_db"
    }


def is_long(value: Any) -> bool:  # noqa: ANN401
    """Whether it lists many layers; what accuracy each of them costs is a figure, and kept."""
    if not isinstance(value, (Mapping, list)) or len(value) <= MOST_LISTED:
        return False
    return not all(isinstance(each, Mapping) and "sqnr_db" in each for each in value)


def tally(listed: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """How many there are, and how many of each kind where there are few kinds."""
    found: dict[str, Any] = {"count": len(listed)}
    if isinstance(listed, Mapping):
        return found
    for kind in KINDS:
        kinds = Counter(each.get(kind) for each in listed if isinstance(each, Mapping))
        kinds.pop(None, None)
        kinds.pop("", None)
        if 0 < len(kinds) <= MOST_KINDS:
            found[kind] = dict(kinds)
    if all(isinstance(each, str) for each in listed) and len(set(listed)) <= MOST_KINDS:
        found["of"] = dict(Counter(listed))
    return found


def written(value: Any, indent: str = "") -> str:  # noqa: ANN401
    """JSON with whatever fits into a line on one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (Mapping, list)) or len(indent + line) <= LINE:
        return line
    deeper = indent + " "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + written(each, deeper) for each in value) + f"\n{indent}]"
    parts = [
        f"{deeper}{json.dumps(key, ensure_ascii=False)}: {written(each, deeper)}"
        for key, each in value.items()
    ]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


if __name__ == "__main__":
    main()
