"""scripts.bench.tuned: a table out of what ``trtqat tune`` wrote."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.tuned import main
from scripts.summarize import summarize
from tests.support.examples import exported
from tests.support.tuned import Card
from trtqat.search.speed.options import TuneOptions, parse_tune_options
from trtqat.search.speed.tuning import tune
from trtqat.typed_json import json_text


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


def tuned(folder: Path, options: TuneOptions) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    path, _ = exported("residual", folder)
    graph = path.rename(folder / "unet.onnx")
    found: dict[str, Any] = json.loads(json_text(asdict(tune(graph, folder / "t.onnx", options))))
    return {"commit": "abc", **found}


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.strip("|").split("|")]


def written(folder: Path, *found: dict[str, Any]) -> list[str]:
    paths = [folder / f"{index}.json" for index in range(len(found))]
    for path, each in zip(paths, found, strict=True):
        path.write_text(json.dumps(each))
    return [str(path) for path in paths]


@pytest.mark.parametrize("shortened", [summarize, dict])
def test_a_line_for_each_batch(
    shortened: Any, tmp_path: Path, card: Card, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tuned(tmp_path, parse_tune_options(batch="1,8"))
    ends = {each["name"]: each for each in found["verdict"]}
    assert main(written(tmp_path, shortened(found))) == 0
    head, _, *lines, _, closing = capsys.readouterr().out.splitlines()
    assert cells(head)[1:4] == ["FP16", "INT8 as exported", "tuned"]
    assert [cells(line)[0] for line in lines] == ["U-Net, 1", "U-Net, 8"]
    for line, batch in zip(lines, ("1", "8"), strict=True):
        times = [f"{ends[name]['times'][batch]['median_ms']:.3f}" for name in cells(head)[1:4]]
        assert cells(line)[1:4] == times
        # Beside INT8, which is the better one: only its first region is slower than FP16's.
        best = ends["INT8 as exported"]
        assert cells(line)[4].startswith(f"{best['speed_ups'][batch]['value']:.3f}x (")
        assert cells(line)[5] == f"1 of {len(found['regions'])}"
        assert cells(line)[6] == str(found["builds"])
    assert closing == "A GPU, commit abc"


def test_where_an_end_is_the_answer(
    tmp_path: Path, card: Card, capsys: pytest.CaptureFixture[str]
) -> None:
    card.first_gains = False
    found = tuned(tmp_path, parse_tune_options(batch="8"))
    assert main(written(tmp_path, found)) == 0
    line = capsys.readouterr().out.splitlines()[2]
    assert cells(line)[2] == cells(line)[3]
    assert cells(line)[4:6] == ["it is the same", f"0 of {len(found['regions'])}"]


def test_of_two_commits(tmp_path: Path, card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    found = tuned(tmp_path, parse_tune_options(batch="8"))
    assert main(written(tmp_path, found, {**found, "commit": "def"})) == 1
    assert "not of one run" in capsys.readouterr().err
