"""The README's table "What it gains", out of the reports of one run.

python -m scripts.bench.gains scripts/results/eval-*.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TITLES = {
    "resnet50": "ResNet-50",
    "vgg16": "VGG-16 (32²)",
    "mobilenet": "MobileNetV2",
    "vit": "ViT-S/16",
}
COLUMNS = ("INT8 engine", "FP16 engine", "PyTorch FP16", "PyTorch FP32")
NONE = "-"


def main(given: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if the reports are not of one commit and one kind of GPU.

    Args:
        given: The command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="+", help="of eval --json, or their summaries")
    parser.add_argument("--batch-size", type=int, nargs="+", help="default: all")
    arguments = parser.parse_args(given)
    reports = [json.loads(each.read_text(encoding="utf-8")) for each in arguments.reports]
    reports = [each for each in reports if name_of(each) in TITLES]
    told = {(each.get("commit", "unknown"), gpu_of(each)) for each in reports}
    if len(told) != 1:
        print(f"These reports are not of one run: {sorted(told)}.", file=sys.stderr)
        return 1
    print(table_of(reports, arguments.batch_size))
    ((commit, gpu),) = told
    days = sorted({each["date"] for each in reports if "date" in each})
    print(f"\n{gpu}, commit {commit}{f', {days[-1]}' if days else ''}")
    return 0


def gpu_of(report: dict[str, Any]) -> str:
    """The name of the GPU that a report is of."""
    return str((report["environment"].get("gpu") or {}).get("name", "no GPU"))


def name_of(report: dict[str, Any]) -> str:
    """The name of a report's engine, without its ending; empty for a report of before schema 7."""
    subjects = [each for each in report.get("contenders", ()) if each["role"] == "subject"]
    return subjects[0]["name"].removesuffix(".engine") if subjects else ""


def table_of(reports: Sequence[dict[str, Any]], sizes: Sequence[int] | None = None) -> str:
    """GPU compute times in ms as a table in Markdown, the shortest of each row in bold.

    Args:
        reports: Of schema 7, or their summaries.
        sizes: The batch sizes to show; None shows all.
    """
    lines = [["model, batch", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    for report in sorted(reports, key=lambda each: list(TITLES).index(name_of(each))):
        title, times = TITLES[name_of(report)], times_of(report)
        for size in sorted(times):
            if sizes is None or size in sizes:
                lines.append([f"{title}, {size}", *_cells(times[size])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def times_of(report: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Medians in ms by batch size and column.

    Args:
        report: Of schema 7, or its summary.
    """
    found: dict[int, dict[str, float]] = {}
    for each in report["contenders"]:
        column = "INT8 engine" if each["role"] == "subject" else each["name"]
        if column.endswith(".fp16.engine"):
            column = "FP16 engine"
        for at in each.get("timings", ()):
            found.setdefault(at["batch_size"], {})[column] = at["timing"]["compute"]["median_ms"]
    return found


def _cells(times: dict[str, float]) -> list[str]:
    shown = {column: times[column] for column in COLUMNS if column in times}
    best = min(shown.values())
    return [
        NONE
        if column not in shown
        else f"**{shown[column]:.3f}**"
        if shown[column] == best
        else f"{shown[column]:.3f}"
        for column in COLUMNS
    ]


if __name__ == "__main__":
    sys.exit(main())
