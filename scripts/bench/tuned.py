"""The table of what ``trtqat tune`` found, out of what it wrote with ``--json``.

python -m scripts.bench.tuned scripts/results/tune-*.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.bench.gains import TITLES

COLUMNS = ("FP16", "INT8 as exported", "tuned", "tuned is faster than the better by", "in float")
# Beside those of the other table.
NAMES = {**TITLES, "efficientnet": "EfficientNet-Lite0", "unet": "U-Net"}


def main(given: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if the searches are not of one commit and one kind of GPU.

    Args:
        given: The command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("found", type=Path, nargs="+", help="of tune --json, or their summaries")
    arguments = parser.parse_args(given)
    found = [json.loads(each.read_text(encoding="utf-8")) for each in arguments.found]
    told = {(each.get("commit", "unknown"), each["host"]["gpu"]) for each in found}
    if len(told) != 1:
        print(f"These searches are not of one run: {sorted(told)}.", file=sys.stderr)
        return 1
    print(table_of(found))
    ((commit, gpu),) = told
    print(f"\n{gpu}, commit {commit}")
    return 0


def table_of(found: Sequence[dict[str, Any]]) -> str:
    """GPU compute times in ms as a table in Markdown, a line for each model and batch.

    Args:
        found: Of tune, or their summaries.
    """
    lines = [["model, batch", *COLUMNS, "builds"], ["---", *["---:"] * (len(COLUMNS) + 1)]]
    for each in found:
        name = Path(each["graph"]).stem
        for batch in each["verdict"][-1]["times"]:
            title = f"{NAMES.get(name, name)}, {batch}"
            lines.append([title, *_cells(each, batch), str(each["builds"])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(found: dict[str, Any], batch: str) -> list[str]:
    *ends, tuned = found["verdict"]
    # In the form that was asked for an end may stand twice; the faster one is the rival.
    times = {"tuned": tuned["times"][batch]["median_ms"]}
    ratios: dict[str, dict[str, Any]] = {}
    for end in ends:
        name, time_ms = end["name"], end["times"][batch]["median_ms"]
        if time_ms < times.get(name, float("inf")):
            times[name] = time_ms
            if batch in end.get("speed_ups", {}):
                ratios[name] = end["speed_ups"][batch]
    shown = [f"{times[name]:.3f}" if name in times else "-" for name in COLUMNS[:3]]
    rival = min((name for name in times if name != "tuned"), key=lambda name: times[name])
    gain = "it is the same" if rival not in ratios else _ratio(ratios[rival])
    return [*shown, gain, f"{_count(tuned.get('floats', []))} of {_count(found['regions'])}"]


def _ratio(ratio: dict[str, Any]) -> str:
    interval = ratio["interval"]
    return f"{ratio['value']:.3f}x ({interval['low']:.3f} to {interval['high']:.3f})"


def _count(listed: Any) -> int:  # noqa: ANN401
    """Of a list, or of what a summary keeps of it."""
    return int(listed["count"]) if isinstance(listed, dict) else len(listed)


if __name__ == "__main__":
    sys.exit(main())
