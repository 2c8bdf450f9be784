"""How far five runs of one command are apart: ``trtqat eval`` of one engine, each a process.

python -m scripts.bench.repeated runs/bench/resnet50.engine --output results/eval-repeated.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.bench.record import describe_run
from scripts.summarize import summarize, written


def main() -> None:
    """Measures, writes the file, and prints the spread of each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "report.json")
        command = [
            *(sys.executable, "-m", "trtqat", "eval", str(arguments.engine)),
            *("--data", "random:64", "--duration", str(arguments.seconds), "-q"),
            *("--json", str(output)),
        ]
        runs = []
        for _ in range(arguments.times):
            subprocess.run(command, check=True)
            runs.append(json.loads(output.read_text()))
    record = {
        **describe_run("repeated"),
        "environment": runs[0]["environment"],
        "schema_version": runs[0]["schema_version"],
        "spread_percent": {name: spread_percent(values) for name, values in figures(runs).items()},
        "runs": [
            {"timing": summarize(timing_of(run)), "telemetry": summarize(run["telemetry"])}
            for run in runs
        ],
    }
    arguments.output.write_text(written(record) + "\n")
    print({name: f"{each:.2f} %" for name, each in record["spread_percent"].items()})


def timing_of(report: dict[str, Any]) -> dict[str, Any]:
    """The subject's only timing.

    Args:
        report: As ``trtqat eval --json`` writes it.
    """
    (subject,) = [each for each in report["contenders"] if each["role"] == "subject"]
    (at,) = subject["timings"]
    timing: dict[str, Any] = at["timing"]
    return timing


def figures(reports: list[dict[str, Any]]) -> dict[str, list[float]]:
    """What is compared, of each run.

    Args:
        reports: Of the runs.
    """
    timings = [timing_of(each) for each in reports]
    return {
        "compute": [each["compute"]["median_ms"] for each in timings],
        "request": [each["request"]["median_ms"] for each in timings],
        "images_per_second": [each["throughput"]["images_per_second"] for each in timings],
    }


def spread_percent(values: list[float]) -> float:
    """From the lowest to the highest, of the lowest.

    Args:
        values: At least one.
    """
    return 100 * (max(values) / min(values) - 1)


if __name__ == "__main__":
    main()
