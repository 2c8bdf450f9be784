"""The figures of a detector, whole and in parts, here and in a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.detection_cases import as_outputs, make_case
from tests.support.measured import NumpyModel
from tests.support.measured_figures import measured
from trtqat.data.batches import Batch
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.report.page import render_page
from trtqat.report.verdict import verdict
from trtqat.report.words import report_tables
from trtqat.tensors import Array


class Scenes:
    """Images of which a detector's outputs are known."""

    name = "scenes"

    def __init__(self) -> None:
        self.found, self.labels = make_case(1, 40, ties=False)

    def __len__(self) -> int:
        return 40

    def batch(self, start: int, stop: int) -> Batch:
        index = np.arange(start, stop, dtype=np.float32)
        return Batch({"x": np.repeat(index[:, None], 7, axis=1)}, self.labels[start:stop])


class Detector(NumpyModel):
    """What the scenes know, moved by a few pixels."""

    outputs = ()

    def __init__(self, scenes: Scenes, moved: float) -> None:
        super().__init__(outputs=())
        self.known, self.moved = as_outputs(scenes.found), moved

    def session(self, batch_size: int) -> Any:
        session = super().session(batch_size)

        def run(inputs: Any) -> dict[str, Array]:
            index = inputs["x"][:, 0].astype(int)
            outputs = {name: array[index] for name, array in self.known.items()}
            outputs["detection_boxes"] = outputs["detection_boxes"] + self.moved
            return outputs

        session.run = run  # type: ignore[method-assign]
        return session


def test_a_detector_passes_and_fails(tmp_path: Path) -> None:
    scenes = Scenes()
    options = EvaluateOptions(8, None, metrics=("map", "map50"), max_drop={"map50": 1})
    close, far = (
        evaluate(Detector(scenes, moved), scenes, options, baseline=Detector(scenes, 0))
        for moved in (0.0, 3.0)
    )
    assert close.failed_gates == ()
    (gate,) = far.failed_gates
    assert gate.startswith("The map50 drops by")
    figure = far.subject.metrics[0]
    assert figure.resamples == 200
    assert figure.to_baseline is not None
    assert figure.to_baseline.high < 0
    assert "significantly worse" in verdict(far)
    far.save(tmp_path / "r.json")
    again = evaluate(Detector(scenes, 3), scenes, options, baseline=tmp_path / "r.json")
    assert again.subject.metrics == far.subject.metrics
    comparison = far.subject.to_baseline
    assert comparison is not None
    assert len(comparison.agreement.outputs) == 4
    # By area of the boxes, which are all small; a record keeps the figures.
    for report in (far, again):
        for side in report.side_by_side:
            (part,) = side.metrics[0].parts
            assert part.name == "small"
            assert part.value == pytest.approx(side.metrics[0].value.value)
    # Reports from before have no such figures.
    fields = json.loads((tmp_path / "r.json").read_text())
    for contender in fields["contenders"]:
        assert all(figure.pop("parts") for figure in contender["metrics"])
    (tmp_path / "r.json").write_text(json.dumps(fields))
    older = evaluate(Detector(scenes, 3), scenes, options, baseline=tmp_path / "r.json")
    assert older.baseline is not None
    assert [each.parts for each in older.baseline.metrics] == [(), ()]
    assert older.subject.metrics == far.subject.metrics
    titles = [title for title, *_ in report_tables(far)]
    assert "Metrics in parts" not in titles
    (table,) = [each for each in report_tables(far, in_full=True) if each[0] == "Metrics in parts"]
    _, columns, rows = table
    assert columns == ["metric", "numpy", "numpy"]
    assert [row[0] for row in rows] == ["map, small", "map50, small"]
    assert rows[0][1] == f"{far.subject.metrics[0].value.value:.2f} %"
    assert "Metrics in parts" in render_page(far)
    without = report_tables(measured(metrics=["mse"]), in_full=True)
    assert "Metrics in parts" not in [title for title, *_ in without]
