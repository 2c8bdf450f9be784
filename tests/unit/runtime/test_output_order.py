"""Outputs of one shape in any order: each is compared with its own, and with no other.

What stands in for an engine runs on ONNX Runtime and lists its inputs and outputs in an order of
its own, as TensorRT does. This shows how we match; what TensorRT does, tests/gpu shows.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from tests.support.measured import PlainModel, agreement, agreement_before
from tests.support.plans import make_manifest, make_plan
from trtqat.cli.output import print_json
from trtqat.data.batches import Batch, check_range
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import read_baseline
from trtqat.evaluation.report import Report
from trtqat.files import sha256_of
from trtqat.io_names import IoNames, record_of
from trtqat.report.page import render_page
from trtqat.report.words import report_tables
from trtqat.runtime.engine_names import names_of_engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.protocol import Session
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import Array, Arrays, TensorSpec

NAMES = ("zeta", "mid", "alpha")
ORDERS = list(itertools.permutations(NAMES))
INPUTS = (TensorSpec("right", (-1, 5)), TensorSpec("left", (-1, 5)))


def write_graph(path: Path) -> Path:
    """Three outputs of one shape: ``left - right``, its negative, and ``3 * left``."""
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["zeta"]),
        helper.make_node("Sub", ["right", "left"], ["mid"]),
        helper.make_node("Sum", ["left", "left", "left"], ["alpha"]),
    ]

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 5])

    graph = helper.make_graph(
        nodes, "g", [value(each.name) for each in INPUTS], list(map(value, NAMES))
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


class Reordered(PlainModel):
    """A graph that lists its outputs, and its inputs in reverse, as an engine may."""

    name = "m.engine"
    size_bytes = 1

    def __init__(self, graph: Path, order: tuple[str, ...], names: IoNames) -> None:
        self._model = OnnxModel(graph)
        self._order = order
        self.io = names
        self.batch_range = self._model.batch_range
        self.inputs = self._model.inputs[::-1]
        outputs = {spec.name: spec for spec in self._model.outputs}
        self.outputs = tuple(outputs[name] for name in order)

    def session(self, batch_size: int) -> Session:
        session = self._model.session(batch_size)
        run = session.run

        def reordered(inputs: Arrays) -> dict[str, Array]:
            found = run(inputs)
            return {name: found[name] for name in self._order}

        session.run = reordered  # type: ignore[method-assign]
        return session

    def close(self) -> None:
        pass


class Net(nn.Module):
    """The same arithmetic, which returns what ``kind`` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, right: torch.Tensor, left: torch.Tensor) -> Any:
        named = {"zeta": left - right, "mid": right - left, "alpha": 3 * left}
        if self.kind == "dict":
            return dict(reversed(named.items()))
        if self.kind == "its own names":
            return dict(zip("mza", (named["mid"], named["zeta"], named["alpha"]), strict=True))
        if self.kind == "fewer":
            return named["zeta"]
        if self.kind == "other names":
            return {f"{name}_out": tensor for name, tensor in named.items()}
        return tuple(named.values())


class Pairs:
    """Inputs and, if wanted, the class that ``zeta`` predicts."""

    name = "pairs"

    def __init__(self, *, labelled: bool) -> None:
        generator = np.random.default_rng(0)
        self._arrays: dict[str, Array] = {
            spec.name: generator.normal(size=(11, 5)).astype(np.float32) for spec in INPUTS
        }
        self._labels = (self._arrays["left"] - self._arrays["right"]).argmax(axis=1)
        self._labelled = labelled

    def __len__(self) -> int:
        return 11

    def batch(self, start: int, stop: int) -> Batch:
        check_range(start, stop, 11)
        inputs = {name: array[start:stop] for name, array in self._arrays.items()}
        return Batch(inputs, self._labels[start:stop] if self._labelled else None)


def measured(
    tmp_path: Path,
    order: tuple[str, ...],
    kind: str,
    *,
    names: IoNames | None = None,
    options: EvaluateOptions | None = None,
) -> Report:
    graph = write_graph(tmp_path / "m.onnx")
    known = names or names_of_engine(
        tmp_path / "m.engine",
        replace(
            make_manifest(make_plan()),
            io_names=record_of(IoNames(("right", "left"), NAMES, ("z", "m", "a"))),
        ),
        ["left", "right"],
        order,
    )
    return evaluate(
        Reordered(graph, order, known),
        Pairs(labelled=True),
        options or EvaluateOptions(4, None),
        baseline=PyTorchModel(Net(kind), INPUTS, device="cpu"),
        steps=[OnnxModel(graph, as_written=True)],
    )


@pytest.mark.parametrize("kind", ["tuple", "dict", "its own names"])
@pytest.mark.parametrize("order", ORDERS)
def test_each_output_with_its_own(tmp_path: Path, order: tuple[str, ...], kind: str) -> None:
    report = measured(tmp_path, order, kind)
    agreements = [agreement(report)]
    agreements += [agreement_before(step) for step in report.way[1:]]
    assert len(agreements) == 3
    for found in agreements:
        assert found is not None
        assert [each.name for each in found.outputs] == list(NAMES)
        assert {each.shape for each in found.outputs} == {(-1, 5)}
        assert all(each.sqnr_db > 100 for each in found.outputs)
        assert all(each.worst < 1e-5 for each in found.outputs)
        assert found.same_top1 == 11
    # The prediction is the first output of the exported model, and not of the engine.
    assert report.subject.accuracy is not None
    assert report.subject.accuracy.top1 == 11
    assert report.subject.predictions.output == "zeta"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["fewer", "other names"])
def test_what_cannot_be_matched_is_no_guess(
    tmp_path: Path, order: tuple[str, ...], kind: str
) -> None:
    with pytest.raises(DataError, match=r"but 'm.engine' has 'zeta', 'mid', 'alpha'"):
        measured(tmp_path, order, kind)


def test_an_order_that_nothing_tells(tmp_path: Path) -> None:
    order = ("alpha", "mid", "zeta")
    unknown = IoNames(("right", "left"), order, is_ordered=False)
    with pytest.raises(DataError, match="which of its outputs 'alpha', 'mid', 'zeta' is the first"):
        measured(tmp_path, order, "dict", names=unknown)
    with pytest.raises(DataError, match=r"in which order 'm.engine' has its outputs"):
        measured(tmp_path, order, "tuple", names=unknown)
    graph = write_graph(tmp_path / "m.onnx")
    report = evaluate(
        Reordered(graph, order, unknown),
        Pairs(labelled=False),
        EvaluateOptions(4, None),
        baseline=PyTorchModel(Net("dict"), INPUTS, device="cpu"),
    )
    found = agreement(report)
    assert found is not None
    assert (found.same_top1, found.sqnr_db) == (None, None)
    assert all(each.sqnr_db > 100 for each in found.outputs)
    assert report.subject.predictions.classes == ()


def test_the_table_the_page_and_the_json_have_every_output(tmp_path: Path) -> None:
    report = measured(tmp_path, ORDERS[3], "tuple")
    tables = report_tables(report)
    (rows,) = [rows for title, _, rows in tables if title == "Every output"]
    assert [row[2] for row in rows] == list(NAMES) * 3
    assert {row[3] for row in rows} == {"Nx5"}
    assert rows[0][:2] == ["m.engine", "PyTorch FP32"]
    assert re.search(r">alpha</td><td[^>]*>Nx5</td>", render_page(report))
    (fields,) = [each for each in report.to_dict()["contenders"] if each["role"] == "subject"]
    outputs = fields["to_baseline"]["agreement"]["outputs"]
    assert [each["name"] for each in outputs] == list(NAMES)
    assert fields["predictions"]["output"] == "zeta"


@pytest.mark.parametrize(
    ("outputs", "min_sqnr_db", "failed"),
    [
        ({}, 60.0, []),
        ({"alpha": lambda x: x * 1.1}, 10.0, []),
        ({"alpha": lambda x: x * 1.1}, 21.0, ["'alpha' is 20.0 dB, less than 21."]),
        (
            {"mid": lambda x: x * np.nan, "alpha": np.zeros_like},
            0.5,
            ["'mid' is no number", "'alpha' is 0.0 dB"],
        ),
        ({"zeta": lambda x: x[:, :0]}, 1.0, ["'zeta' is no number: it holds NaN or .* no element"]),
    ],
)
@pytest.mark.parametrize("how", ["baseline", "step"])
def test_every_output_must_meet_the_gate(
    tmp_path: Path, outputs: Mapping[str, Any], min_sqnr_db: float, failed: list[str], how: str
) -> None:
    graph = write_graph(tmp_path / "m.onnx")

    def changed(model: OnnxModel, names: Mapping[str, Any]) -> OnnxModel:
        session = model.session

        def opened(batch_size: int) -> Any:
            found = session(batch_size)
            run = found.run
            found.run = lambda inputs: {  # type: ignore[method-assign]
                name: names.get(name, np.asarray)(array) for name, array in run(inputs).items()
            }
            return found

        model.session = opened  # type: ignore[method-assign]
        return model

    # An output that is empty is so in both.
    empty = {name: each for name, each in outputs.items() if name == "zeta"}
    other = changed(OnnxModel(graph), empty)
    report = evaluate(
        changed(OnnxModel(graph), outputs),
        Pairs(labelled=False),
        EvaluateOptions(4, None, min_sqnr_db=min_sqnr_db),
        baseline=other if how == "baseline" else None,
        steps=[other] if how == "step" else [],
    )
    assert len(report.failed_gates) == len(failed)
    for message in failed:
        with pytest.raises(GateError, match=message):
            report.check_gates()
    compared = agreement(report) or agreement_before(report.way[-1])
    assert compared is not None
    for each in compared.outputs:
        assert (each.sqnr_db == math.inf) is (each.name not in outputs)


def test_a_gate_needs_outputs_to_compare_with(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "m.onnx")
    options = EvaluateOptions(4, None, min_sqnr_db=20.0)
    with pytest.raises(UsageError, match="needs the outputs of a baseline; there is none"):
        evaluate(OnnxModel(graph), Pairs(labelled=False), options)
    report = measured(tmp_path, NAMES, "tuple")
    print_json(report.to_dict(), str(tmp_path / "r.json"))
    recorded = read_baseline(tmp_path / "r.json")
    assert recorded.predictions.output == "zeta"
    with pytest.raises(UsageError, match="a recorded one has predictions alone"):
        evaluate(OnnxModel(graph), Pairs(labelled=True), options, baseline=recorded)


def test_recorded_predictions_are_of_one_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph, path = write_graph(tmp_path / "m.onnx"), tmp_path / "r.json"
    print_json(measured(tmp_path, NAMES, "tuple").to_dict(), str(path))
    options = EvaluateOptions(4, None)
    recorded = read_baseline(path)
    report = evaluate(OnnxModel(graph), Pairs(labelled=True), options, baseline=recorded)
    found = agreement(report)
    assert found is not None
    assert found.same_top1 == 11
    # An engine of which another output is the first.
    other = Reordered(graph, NAMES, IoNames(("right", "left"), ("alpha", "mid", "zeta")))
    with pytest.raises(DataError, match="are of the output 'zeta', and those of the model of 'alp"):
        evaluate(other, Pairs(labelled=True), options, baseline=recorded)
    # A report of an earlier version does not tell.
    fields = json.loads(path.read_text())
    baseline = next(each for each in fields["contenders"] if each["role"] == "baseline")
    predictions = baseline["predictions"]
    sides = {"model": predictions["classes"], "baseline": predictions["classes"]}
    fields["schema_version"] = 5
    fields["predictions"] = {**sides, "data_sha256": predictions["data_sha256"]}
    fields["model"] = fields["baseline"] = {**baseline, "timing": None}
    path.write_text(json.dumps(fields))
    evaluate(OnnxModel(graph), Pairs(labelled=True), options, baseline=path)
    assert "does not tell which output its predictions are of" in caplog.text


def test_the_graph_beside_an_older_engine(tmp_path: Path) -> None:
    graph, order = write_graph(tmp_path / "m.onnx"), ORDERS[4]
    manifest = replace(
        make_manifest(make_plan()), graph="m.onnx", graph_sha256=sha256_of(graph), io_names=None
    )
    names = names_of_engine(tmp_path / "m.engine", manifest, ["left", "right"], order)
    report = measured(tmp_path, order, "tuple", names=names)
    assert report.subject.predictions.output == "zeta"
