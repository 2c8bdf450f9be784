"""What ``evaluate`` is given by name it opens and closes; what was open before stays so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.support.measured import DATA, LABELS, QUICK, NumpyModel, X, one_of_twenty_wrong
from trtqat.errors import DataError, SourceError, TrtqatError, UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.exporting.source import ModelSource
from trtqat.runtime.onnx_model import OnnxModel


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Returns its input as ``logits``."""
    x, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 7]) for name in ("x", "logits")
    )
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "g", [x], [logits])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=X, labels=LABELS)
    return tmp_path / "m.onnx"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the graphs that were closed."""
    names: list[str] = []
    close = OnnxModel.close

    def noted(model: OnnxModel) -> None:
        names.append(model.name)
        close(model)

    monkeypatch.setattr(OnnxModel, "close", noted)
    return names


def test_paths_and_specifications(graph: Path, closed: list[str]) -> None:
    data = f"npz:{graph.with_name('d.npz')}"
    report = evaluate(str(graph), data, batch_size=8, latency=None, limit=12)
    assert (report.subject.name, report.data, report.images) == ("m.onnx", data, 12)
    assert report.subject.accuracy is not None
    assert report.subject.accuracy.top1 == 12
    assert closed == ["m.onnx"]


def test_what_was_open_stays_open(graph: Path, closed: list[str]) -> None:
    model = OnnxModel(graph)
    report = evaluate(
        model,
        DATA,
        batch_size=8,
        latency=None,
        # These raise where they are closed.
        baseline=NumpyModel(one_of_twenty_wrong),
        steps=[NumpyModel()],
        rivals=[NumpyModel()],
    )
    assert [each.role for each in report.contenders] == ["subject", "baseline", "step", "rival"]
    assert closed == []
    assert evaluate(model, DATA, batch_size=8, latency=None, limit=5).images == 5


def test_an_error_closes_it_too(graph: Path, closed: list[str]) -> None:
    with pytest.raises(DataError):
        evaluate(graph, f"npz:{graph}", latency=None)
    assert closed == ["m.onnx"]
    with pytest.raises(UsageError, match="There is nothing called 'int4'"):
        evaluate(graph, DATA, rivals="fp16,int4")
    with pytest.raises(UsageError, match="--compare is for engines"):
        evaluate(graph, DATA, rivals=["fp16", NumpyModel()])
    assert closed == ["m.onnx", "m.onnx"]


def test_a_report_by_its_path_is_a_baseline(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    evaluate(NumpyModel(one_of_twenty_wrong), DATA, batch_size=8, latency=None).save(path)
    for given in (path, str(path)):
        report = evaluate(graph, DATA, batch_size=8, latency=None, baseline=given)
        assert report.baseline is not None
        assert report.baseline.recorded_on is not None
        assert report.top1_drop_points == pytest.approx(-5.0)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("none.py:fp32", SourceError, r"The file 'none\.py' does not exist"),
        ("no_such_module:fp32", SourceError, r"There is no module 'no_such_module'"),
        ("none.pt2", SourceError, r"There is no model file 'none\.pt2'"),
        (Path("none.json"), UsageError, r"The report 'none\.json' cannot be read"),
        ("none", UsageError, r"'none' is neither a file .* trtqat\.Torch\("),
        (Path(__file__), UsageError, r"is no report of trtqat eval"),
    ],
)
def test_a_baseline_by_its_name(
    graph: Path, given: str | Path, error: type[TrtqatError], said: str
) -> None:
    with pytest.raises(error, match=said):
        evaluate(graph, DATA, batch_size=8, latency=None, baseline=given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_file_is_a_baseline(graph: Path, tmp_path: Path) -> None:
    script = torch.jit.trace(  # type: ignore[no-untyped-call]
        torch.nn.Identity(), torch.zeros(2, 7)
    )
    script.save(tmp_path / "identity.pt")
    report = evaluate(
        graph, DATA, batch_size=8, latency=None, baseline=str(tmp_path / "identity.pt")
    )
    assert report.baseline is not None
    assert report.baseline.name.startswith("PyTorch")
    assert report.top1_drop_points == 0.0


def test_fields_of_the_options_stand_for_them() -> None:
    options = EvaluateOptions(8, QUICK)
    alone = evaluate(NumpyModel(), DATA, options, sweep=(2,))
    assert (alone.batch_size, alone.sweep) == (8, (2, 8))
    with pytest.raises(UsageError, match=r"EvaluateOptions.batch_size is '8'"):
        evaluate(NumpyModel(), DATA, batch_size="8")
    with pytest.raises(UsageError, match=r"'batch_sizes' is no option .* batch_size,"):
        evaluate(NumpyModel(), DATA, batch_sizes=8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": 3}, "The model is 3"),
        ({"model": ModelSource("model.py:fp32")}, "The model is ModelSource"),
        ({"data": [3]}, "The data is [3]"),
        ({"data": X}, "The data is array"),
        ({"options": {"batch_size": 8}}, "options is {"),
        ({"opening": {}}, "opening is {}"),
        ({"baseline": 3}, "The baseline is 3"),
        ({"baseline_precision": "int8"}, "baseline_precision is 'int8'"),
        ({"rivals": 3}, "rivals is 3"),
        ({"rivals": [3]}, "A rival is 3"),
        ({"steps": "x"}, "steps is 'x'"),
        ({"steps": ["x"]}, "A step is 'x'"),
        ({"fake_quantized": 3}, "The model that was exported is 3"),
        ({"fake_quantized": NumpyModel()}, "The model that was exported is"),
    ],
)
def test_what_is_no_model_and_no_data_is_refused(arguments: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"model": NumpyModel(), "data": DATA, **arguments}
    with pytest.raises(UsageError) as caught:
        evaluate(**given)
    assert said in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    "field", ["max_accuracy_drop", "min_sqnr_db", "min_speedup", "latency_budget_ms"]
)
def test_a_limit_of_nan_is_none(field: str) -> None:
    options: dict[str, Any] = {"latency": QUICK, field: math.nan}
    with pytest.raises(UsageError, match="is nan, which is no limit"):
        evaluate(NumpyModel(), DATA, EvaluateOptions(**options), baseline=NumpyModel())


def test_what_was_measured_is_a_baseline(graph: Path) -> None:
    found = evaluate(NumpyModel(one_of_twenty_wrong), DATA, batch_size=8, latency=None)
    report = evaluate(graph, DATA, batch_size=8, latency=None, baseline=found.subject)
    assert [each.role for each in report.contenders] == ["subject", "baseline"]
    assert report.top1_drop_points == pytest.approx(-5.0)


def test_a_fake_quantized_model_by_its_pointer(graph: Path) -> None:
    with pytest.raises(SourceError, match=r"The file 'none\.py' does not exist"):
        evaluate(graph, DATA, latency=None, batch_size=8, fake_quantized="none.py:qat")


def test_where_to_look_is_the_graph_itself(graph: Path) -> None:
    with pytest.raises(UsageError, match="was built from no graph"):
        evaluate(NumpyModel(), DATA, batch_size=8, locate=True)
