"""An ONNX file as the baseline of what runs on a GPU: compared, and not timed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.support.measured import DATA, QUICK, NumpyModel, X, one_of_twenty_wrong
from trtqat.errors import GraphError, UsageError
from trtqat.evaluation import measure
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.report import Report
from trtqat.host.environment import describe_environment
from trtqat.report.page import render_page
from trtqat.report.words import answers, report_tables
from trtqat.runtime.onnx_model import OnnxModel


class OnGpu(NumpyModel):
    """What evaluation takes for a model on a GPU; several sessions may be open at once."""

    device: Literal["cpu", "cuda"] = "cuda"

    def __init__(self) -> None:
        super().__init__(one_of_twenty_wrong)
        self.name = "m.engine"

    def session(self, batch_size: int) -> Any:
        self.is_open = False
        return super().session(batch_size)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Returns its input as ``logits``."""
    x, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 7]) for name in ("x", "logits")
    )
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "g", [x], [logits])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


@pytest.fixture(autouse=True)
def _no_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    here = describe_environment(with_gpu=False)
    monkeypatch.setattr(measure, "describe_environment", lambda **_: here)


def beside(graph: Path, **fields: Any) -> Report:
    return evaluate(OnGpu(), DATA, batch_size=5, baseline=graph, **{"latency": QUICK, **fields})


def test_accuracy_is_compared_and_speed_is_not(graph: Path) -> None:
    found = beside(graph, metrics=["top1", "top3"], sweep=(2,), max_drop={"top1": 5.0})
    baseline = found.baseline
    assert baseline is not None
    assert (baseline.name, baseline.device) == ("float.onnx on ONNX Runtime (CPU)", "cpu")
    assert baseline.timings == ()
    assert found.speedup is None
    assert found.top1_drop_points == pytest.approx(5.0)
    assert found.failed_gates == ()
    comparison = found.subject.to_baseline
    assert comparison is not None
    assert (comparison.agreement.same_top1, comparison.agreement.worst) == (19, 2 * abs(X[3]).max())
    assert comparison.paired is not None
    assert comparison.paired.lost == 1
    # The subject alone, as if there were no baseline: several queries in flight.
    assert [each.batch_size for each in found.subject.timings] == [2, 5]
    assert all(each.timing.throughput is not None for each in found.subject.timings)
    assert "float.onnx on ONNX Runtime (CPU) was not timed, so there is no speed-up." in answers(
        found
    )
    (_, columns, rows), *_ = report_tables(found)
    assert columns[1:] == ["float.onnx on ONNX Runtime (CPU)", "m.engine"]
    (times,) = [row for row in rows if row[0] == "GPU compute time, median"]
    assert times[1:] == ["", "1.000 ms"]
    assert "speed-up (compute" not in {row[0] for row in rows}
    assert "was not timed" in render_page(found)


def test_a_batch_that_only_the_engine_takes_is_timed(graph: Path) -> None:
    proto = onnx.load(str(graph))
    for each in (*proto.graph.input, *proto.graph.output):
        each.type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(proto, str(graph))
    found = beside(graph, sweep=(2,))
    assert [each.batch_size for each in found.subject.timings] == [2, 5]
    with pytest.raises(UsageError, match=r"Batch size 4 is not one that 'float\.onnx on"):
        evaluate(OnGpu(), DATA, batch_size=4, baseline=graph, latency=None)


def test_what_was_opened_on_another_device_is_not_timed_either(graph: Path) -> None:
    with OnnxModel(graph) as opened:
        found = evaluate(
            OnGpu(), DATA, batch_size=5, latency=QUICK, baseline=opened, rivals=[opened]
        )
    assert [each.timings == () for each in found.contenders] == [False, True, True]
    assert found.top1_drop_points == pytest.approx(5.0)


def test_there_is_no_speedup_to_demand(graph: Path) -> None:
    with pytest.raises(UsageError, match=r"\(CPU\)' is not timed beside the model"):
        beside(graph, min_speedup=1.0)


def test_a_record_of_a_cpu_has_no_speedup_either(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    evaluate(NumpyModel(), DATA, batch_size=5, latency=QUICK).save(path)
    found = evaluate(OnGpu(), DATA, batch_size=5, latency=QUICK, baseline=path)
    baseline = found.baseline
    assert baseline is not None
    assert (found.speedup, baseline.timings, baseline.device) == (None, (), "cpu")
    assert found.top1_drop_points == pytest.approx(5.0)
    # Its times would stand beside those of a GPU.
    (_, _, rows), *_ = report_tables(found)
    (times,) = [row for row in rows if row[0] == "GPU compute time, median"]
    assert times[1:] == ["", "1.000 ms"]
    told = f"{baseline.name} is of another kind of device, so there is no speed-up."
    assert told in answers(found)
    with pytest.raises(UsageError, match=r"timed on another kind of device than 'm\.engine'"):
        evaluate(OnGpu(), DATA, batch_size=5, latency=QUICK, baseline=path, min_speedup=1.0)


def test_what_is_no_graph(graph: Path) -> None:
    with pytest.raises(GraphError, match=r"There is no ONNX file 'none\.onnx'"):
        beside(Path("none.onnx"))
    graph.write_bytes(b"no graph")
    with pytest.raises(GraphError, match=r"'float\.onnx'|float\.onnx"):
        beside(graph)


class OnCuda:
    """Stands in for ONNX Runtime's session on a GPU, which this host has not: the CPU's."""

    loads = True
    asked: list[Any] = []  # noqa: RUF012 - what was asked for

    def __init__(self, graph: Any, options: Any, *, providers: list[Any], **more: Any) -> None:
        self.asked.append(providers)
        self._providers = [each if isinstance(each, str) else each[0] for each in providers]
        self._session = REAL(graph, options, providers=["CPUExecutionProvider"], **more)

    def get_providers(self) -> list[str]:
        return self._providers if self.loads else ["CPUExecutionProvider"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


REAL = onnxruntime.InferenceSession


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[OnCuda]:
    monkeypatch.setattr(OnCuda, "asked", [])
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCuda)
    return OnCuda


def test_cuda_runs_it_in_full_precision_where_there_is_a_provider(
    graph: Path, cuda: type[OnCuda]
) -> None:
    found = beside(graph)
    assert cuda.asked == [[("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]]
    assert found.baseline is not None
    assert (found.baseline.name, found.baseline.device) == (
        "float.onnx on ONNX Runtime (CUDA)",
        "cuda",
    )
    # By the wall clock, which is none of a GPU's compute time.
    assert found.baseline.timings == ()
    assert found.top1_drop_points == pytest.approx(5.0)
    cuda.asked.clear()
    # Beside a graph on the CPU it is on the CPU, whatever there is.
    with OnnxModel(graph) as subject:
        evaluate(subject, DATA, batch_size=5, baseline=graph, latency=None)
    assert cuda.asked == [["CPUExecutionProvider"]] * 2


def test_a_provider_that_does_not_load_leaves_it_to_the_cpu(
    graph: Path,
    cuda: type[OnCuda],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cuda, "loads", False)
    with caplog.at_level(logging.WARNING):
        found = beside(graph)
    assert "'float.onnx' runs on the CPU, as CUDA does not take it. ONNX Runtime's CUDA" in (
        caplog.text
    )
    assert found.baseline is not None
    assert (found.baseline.name, found.baseline.device) == (
        "float.onnx on ONNX Runtime (CPU)",
        "cpu",
    )
    assert np.isclose(found.top1_drop_points or 0, 5.0)
