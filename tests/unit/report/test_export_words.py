"""An export in lines says what its result holds, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import models
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.lenses.fold_plan import KeptBatchNorm
from trtqat.graph.lint.finding import Finding
from trtqat.report.export_words import describe_details, describe_export


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    example = models.EXAMPLES["residual"]
    path = tmp_path_factory.mktemp("graph") / "my model.onnx"
    return export_onnx(example.qat(), path, ExportOptions(example.inputs))


def test_what_was_made(made: ExportResult) -> None:
    lines = list(describe_export(replace(made, findings=())))
    assert lines[0].startswith(
        f"{made.path}: {made.pairs} Q/DQ pairs for {made.quantizers} quantizers, "
        f"opset {made.opset}, "
    )
    assert lines[1] == f"made by the {made.exporter}"
    assert made.batch_norms is not None
    assert lines[2] == (
        f"BatchNorm: {made.batch_norms.count} folded, 0 INT8 codes changed, "
        f"{len(made.batch_norms.kept)} kept"
    )
    assert any(line.startswith("verified with ONNX Runtime") for line in lines)
    assert lines[-1] == "lint: 0 warnings, 0 notes"
    assert not any(line.startswith(("FP16", "repairs", "input")) for line in lines)
    assert list(describe_details(made)) == []


def test_pairs_that_a_repair_removed_are_not_in_the_file(made: ExportResult) -> None:
    fewer = replace(made, summary=replace(made.summary, pairs=made.pairs - 1))
    (first, *_) = describe_export(fewer)
    assert f": {made.pairs - 1} Q/DQ pairs for {made.quantizers} quantizers, " in first


def test_what_is_there_only_sometimes(made: ExportResult) -> None:
    finding = Finding("a-rule", "warning", "speed", "here", "It is slow.", "Mend it.", "y = x")
    other = replace(made, disabled=2, quantized_inputs={"x": 0.5}, findings=(finding,))
    lines = list(describe_export(other))
    assert " quantizers (2 disabled), opset" in lines[0]
    assert "input 'x' arrives as INT8 codes of scale 0.5, or as floats" in lines
    assert lines[-2] == "lint: 1 warning, 0 notes"
    assert lines[-1].endswith(f"how to mend them: trtqat lint '{made.path}'")


def test_batch_norms_that_stay_for_one_reason_are_one_line(made: ExportResult) -> None:
    assert made.batch_norms is not None
    names = {"/a": "an output", "/b": "a Reshape", "/c": "an output", "/d": "an output"}
    kept = [KeptBatchNorm(name, f"it stands behind {what}", what) for name, what in names.items()]
    folded = replace(made.batch_norms, kept=tuple(kept))
    other = replace(made, improvements=replace(made.improvements, batch_norms=folded))
    assert [line for line in describe_export(other) if "stands behind" in line] == [
        "  /a and 2 more stay: it stands behind an output",
        "  /b stays: it stands behind a Reshape",
    ]
