"""scripts.bench.gains and scripts.bench.repeated: tables out of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import gains
from scripts.bench.repeated import figures, spread_percent


def timings(**medians_ms: float) -> list[dict[str, Any]]:
    return [
        {"batch_size": int(size[1:]), "timing": {"compute": {"median_ms": median}}}
        for size, median in medians_ms.items()
    ]


def report(name: str, commit: str = "abc", gpu: str = "NVIDIA H100") -> dict[str, Any]:
    return {
        "commit": commit,
        "date": "2026-11-27",
        "environment": {"gpu": {"name": gpu}},
        "contenders": [
            {"role": "subject", "name": f"{name}.engine", "timings": timings(b32=0.7, b1=0.4)},
            {"role": "baseline", "name": "PyTorch FP32", "timings": timings(b1=2.1, b32=10.9)},
            {"role": "step", "name": "Fake-quantized PyTorch"},
            {"role": "rival", "name": f"{name}.fp16.engine", "timings": timings(b1=0.3, b32=1.1)},
            {"role": "rival", "name": "PyTorch FP16", "timings": timings(b1=0.9, b32=2.6)},
            {"role": "rival", "name": "PyTorch TF32", "timings": timings(b1=0.9, b32=5.6)},
        ],
    }


def written(folder: Path, *reports: dict[str, Any]) -> list[str]:
    paths = [folder / f"{index}.json" for index in range(len(reports))]
    for path, each in zip(paths, reports, strict=True):
        path.write_text(json.dumps(each))
    return list(map(str, paths))


def test_the_table_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = written(tmp_path, report("vit"), report("resnet50"), report("vit-range"))
    assert gains.main(given) == 0
    head, _, *rows, _, last = capsys.readouterr().out.splitlines()
    assert head == "| model, batch | INT8 engine | FP16 engine | PyTorch FP16 | PyTorch FP32 |"
    # In the README's order; of each the batches ascend; the shortest is bold; no other rows.
    assert rows == [
        "| ResNet-50, 1 | 0.400 | **0.300** | 0.900 | 2.100 |",
        "| ResNet-50, 32 | **0.700** | 1.100 | 2.600 | 10.900 |",
        "| ViT-S/16, 1 | 0.400 | **0.300** | 0.900 | 2.100 |",
        "| ViT-S/16, 32 | **0.700** | 1.100 | 2.600 | 10.900 |",
    ]
    assert last == "NVIDIA H100, commit abc, 2026-11-27"


def test_some_batches_and_what_was_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = report("resnet50")
    alone["contenders"] = alone["contenders"][:2]
    assert gains.main([*written(tmp_path, alone), "--batch-size", "32"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[2:3]
    assert row == "| ResNet-50, 32 | **0.700** | - | - | 10.900 |"


@pytest.mark.parametrize("other", [{"commit": "def"}, {"gpu": "NVIDIA H200"}])
def test_two_runs_make_no_table(
    other: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gains.main(written(tmp_path, report("resnet50"), report("vit", **other))) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "not of one run" in printed.err


def test_reports_of_old_schemas_make_no_table(tmp_path: Path) -> None:
    old = {"environment": {"gpu": {"name": "NVIDIA H100"}}, "model": {}, "commit": "abc"}
    assert gains.main(written(tmp_path, old)) == 1


def test_how_far_runs_are_apart() -> None:
    def run(scale: float) -> dict[str, Any]:
        timing = {
            "compute": {"median_ms": scale},
            "request": {"median_ms": 3 * scale},
            "throughput": {"images_per_second": 1000 / scale},
        }
        subject = {"role": "subject", "timings": [{"batch_size": 32, "timing": timing}]}
        return {"contenders": [subject]}

    found = figures([run(1.0), run(1.25), run(1.1)])
    assert found["compute"] == [1.0, 1.25, 1.1]
    assert found["images_per_second"] == pytest.approx([1000, 800, 1000 / 1.1])
    assert [spread_percent(each) for each in found.values()] == pytest.approx([25, 25, 25])
