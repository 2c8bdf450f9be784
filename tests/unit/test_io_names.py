"""Outputs are matched by their names, and by their place only where there is nothing else."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.support import models
from tests.support.plans import make_manifest, make_plan
from trtqat.building.source_graph import read_source_graph
from trtqat.errors import DataError, PlanError, UsageError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.files import sha256_of
from trtqat.io_names import (
    ByPosition,
    IoNames,
    NameRecord,
    in_order,
    match_outputs,
    names_of_graph,
    record_of,
)
from trtqat.plan.manifest import Manifest, manifest_path, read_manifest
from trtqat.provenance import Provenance, read_provenance
from trtqat.runtime.engine_names import names_of_engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec

NAMES = IoNames(("x",), ("scores", "boxes", "masks"), ("s", "b", "x"), model="m.onnx")


@given(st.permutations(["scores", "boxes", "masks"]))
def test_names_decide_and_never_the_place(order: list[str]) -> None:
    found = match_outputs({name: name.upper() for name in order}, NAMES, model="other")
    assert list(found.items()) == [(name, name.upper()) for name in NAMES.outputs]


@given(st.permutations(["s", "b", "x"]))
def test_the_names_that_the_exported_model_gave_decide_as_well(order: list[str]) -> None:
    found = match_outputs({name: name for name in order}, NAMES, model="other")
    assert found == {"scores": "s", "boxes": "b", "masks": "x"}


def test_what_has_no_names_stands_in_the_order_of_the_exported_model() -> None:
    swapped = IoNames(("x",), ("output_1", "output_0"))
    found = match_outputs(ByPosition(output_0=1, output_1=2), swapped, model="other")
    assert found == {"output_1": 1, "output_0": 2}
    # A dict with the same keys names them.
    assert match_outputs({"output_0": 1, "output_1": 2}, swapped, model="other") == {
        "output_1": 2,
        "output_0": 1,
    }


@pytest.mark.parametrize("found", [{"logits": 1}, ByPosition(output=1)])
def test_the_only_one_is_the_one(found: dict[str, int]) -> None:
    assert match_outputs(found, IoNames((), ("y",)), model="other") == {"y": 1}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"scores": 1, "boxes": 2}, "the outputs 'scores', 'boxes', but 'm.onnx' has 'scores', "),
        ({"scores": 1, "boxes": 2, "mask": 3}, "'mask', but 'm.onnx'"),
        ({"scores": 1, "boxes": 2, "masks": 3, "loss": 4}, "'loss', but"),
        ({"s": 1, "boxes": 2, "masks": 3}, "'s', 'boxes', 'masks', but"),
        (ByPosition(output=1), "1 outputs without names, but"),
        (ByPosition(output_0=1, output_1=2), "2 outputs without names"),
    ],
)
def test_what_does_not_belong_together_is_refused(found: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        match_outputs(found, NAMES, model="other")
    assert "'scores', 'boxes', 'masks'" in (raised.value.remedy or "")


def test_a_tuple_is_refused_where_the_order_is_not_known() -> None:
    unknown = IoNames((), ("a", "b"), is_ordered=False, model="m.engine")
    assert unknown.prediction is None
    assert match_outputs({"b": 2, "a": 1}, unknown, model="other") == {"a": 1, "b": 2}
    with pytest.raises(DataError, match=r"in which order 'm.engine' has its outputs 'a', 'b'"):
        match_outputs(ByPosition(output_0=1, output_1=2), unknown, model="other")


def test_specifications_in_order() -> None:
    specs = [TensorSpec(name, (1,)) for name in "cabd"]
    assert [spec.name for spec in in_order(specs, ["a", "b", "gone", "c"])] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        {"io_names": None},
        {"io_names": {"inputs": [], "outputs": ["a"]}},
        {"io_names": {"inputs": "x", "outputs": ["b", "a"], "returned": []}},
        {"io_names": {"inputs": ["x"], "outputs": ["b", "a", "a"], "returned": []}},
        {"io_names": {"inputs": ["x"], "outputs": ["b", 3], "returned": []}},
        # Of another graph, or of this one before a tool renamed its outputs.
        {"io_names": {"inputs": ["x"], "outputs": ["b", "c"], "returned": ["b", "a"]}},
    ],
)
def test_a_record_that_says_nothing_leaves_the_graph_s_order(record: object) -> None:
    assert names_of_graph(["x"], ["a", "b"], in_record(json.dumps(record))) == IoNames(
        ("x",), ("a", "b")
    )
    assert names_of_graph(["x"], ["a", "b"], in_record("no JSON")) == IoNames(("x",), ("a", "b"))


def test_what_was_recorded_is_read_again() -> None:
    names = IoNames(("x", "y"), ("b", "a"), ("first", "second"))
    assert in_record(recorded(names)) == record_of(names)
    assert names_of_graph(["y", "x"], ["a", "b"], in_record(recorded(names))) == names


def recorded(names: IoNames) -> str:
    return Provenance(io_names=record_of(names)).to_json()


def in_record(text: str) -> NameRecord | None:
    return read_provenance(text).io_names


def two_outputs(path: Path, names: IoNames | None = None) -> Path:
    """A graph with the outputs ``zeta`` and ``alpha``, which is twice as much."""
    nodes = [
        helper.make_node("Identity", ["x"], ["zeta"]),
        helper.make_node("Add", ["x", "x"], ["alpha"]),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])
        for name in ("x", "zeta", "alpha")
    }
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["zeta"], values["alpha"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names is not None:
        helper.set_model_props(model, {"trtqat": recorded(names)})
    onnx.save(model, str(path))
    return path


def test_onnx_runtime_follows_the_record(tmp_path: Path) -> None:
    plain = OnnxModel(two_outputs(tmp_path / "m.onnx"))
    assert [spec.name for spec in plain.outputs] == ["zeta", "alpha"]
    names = IoNames(("x",), ("alpha", "zeta"), ("a", "z"))
    model = OnnxModel(two_outputs(tmp_path / "m.onnx", names))
    assert model.io == names
    assert [spec.name for spec in model.outputs] == ["alpha", "zeta"]
    found = model.session(1).run({"x": np.ones((1, 3), np.float32)})
    assert {name: array[0, 0] for name, array in found.items()} == {"zeta": 1, "alpha": 2}


def manifest_of(graph: str, sha256: str = "0" * 64, names: IoNames | None = None) -> Manifest:
    record = None if names is None else record_of(names)
    made = make_manifest(make_plan())
    return replace(made, graph=graph, graph_sha256=sha256, io_names=record)


@pytest.mark.parametrize("order", list(itertools.permutations(["zeta", "mid", "alpha"])))
def test_the_manifest_tells_whatever_the_order_of_tensorrt(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    names = IoNames(("x", "w"), ("zeta", "alpha", "mid"), ("z", "a", "m"))
    manifest = manifest_of("m.onnx", names=names)
    assert names_of_engine(tmp_path / "m.engine", manifest, ["w", "x"], order) == names
    # TensorRT leaves out an input that nothing reads.
    assert names_of_engine(tmp_path / "m.engine", manifest, ["w"], order).inputs == ("w",)


@pytest.mark.parametrize("order", [("zeta", "alpha"), ("alpha", "zeta")])
def test_beside_an_older_manifest_lies_the_graph(tmp_path: Path, order: tuple[str, ...]) -> None:
    graph, plan = two_outputs(tmp_path / "m.onnx"), tmp_path / "m.engine"
    found = names_of_engine(plan, manifest_of("m.onnx", sha256_of(graph)), ["x"], order)
    assert found == IoNames(("x",), ("zeta", "alpha"))
    # Another file of that name tells nothing, and without a manifest the user has to say it.
    other = manifest_of("m.onnx")
    found = names_of_engine(plan, other, ["x"], order)
    assert found == IoNames(("x",), order, is_ordered=False)
    with pytest.raises(UsageError, match="is not the graph that"):
        names_of_engine(plan, other, ["x"], order, graph=graph)
    found = names_of_engine(plan, None, ["x"], order, graph=graph)
    assert found == IoNames(("x",), ("zeta", "alpha"))


def test_without_any_of_them_only_one_output_is_the_first(tmp_path: Path) -> None:
    assert names_of_engine(tmp_path / "m.engine", None, ["x"], ["y"]).prediction == "y"
    assert names_of_engine(tmp_path / "m.engine", None, ["x"], ["y", "z"]).prediction is None


@pytest.mark.parametrize("graph", ["../m.onnx", "", ".", "gone.onnx"])
def test_a_manifest_does_not_lead_elsewhere(tmp_path: Path, graph: str) -> None:
    (tmp_path / "in").mkdir()
    manifest = manifest_of(graph, sha256_of(two_outputs(tmp_path / "m.onnx")))
    plan = tmp_path / "in" / "m.engine"
    assert not names_of_engine(plan, manifest, ["x"], ["alpha", "zeta"]).is_ordered


def test_a_graph_that_cannot_be_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 20)
    manifest = manifest_of("m.onnx", sha256_of(tmp_path / "m.onnx"))
    assert not names_of_engine(tmp_path / "m.engine", manifest, ["x"], ["a", "b"]).is_ordered
    assert "is not an ONNX file" in caplog.text


def test_the_manifest_keeps_the_names(tmp_path: Path) -> None:
    plan, names = tmp_path / "m.engine", IoNames(("x",), ("b", "a"), ("first", "second"))
    manifest = manifest_of("m.onnx", names=names)
    manifest_path(plan).write_text(manifest.to_json())
    assert read_manifest(plan) == manifest
    twice = replace(manifest, io_names=NameRecord(("x",), ("a", "a")))
    manifest_path(plan).write_text(twice.to_json())
    with pytest.raises(PlanError, match=r"'io_names.outputs' is not different names"):
        read_manifest(plan)


def test_a_build_knows_the_order_of_its_graph(tmp_path: Path) -> None:
    names = IoNames(("x",), ("alpha", "zeta"), ("a", "z"))
    assert read_source_graph(two_outputs(tmp_path / "m.onnx"), quantized=False).io.outputs == (
        "zeta",
        "alpha",
    )
    assert read_source_graph(two_outputs(tmp_path / "m.onnx", names), quantized=False).io == names


def test_an_export_records_what_the_model_returns(tmp_path: Path) -> None:
    example = models.EXAMPLES["two_inputs"]
    export_onnx(
        example.qat(), tmp_path / "m.onnx", ExportOptions(example.inputs, exporter="torchscript")
    )
    expected = IoNames(("image", "vector"), ("logits", "features"), ("logits", "features"))
    assert OnnxModel(tmp_path / "m.onnx").io == expected
    # Another export of the file keeps it, and so does a tool that changes the graph's own order.
    improve_onnx(tmp_path / "m.onnx", tmp_path / "again.onnx", ExportOptions(()))
    model = onnx.load(str(tmp_path / "again.onnx"))
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, str(tmp_path / "again.onnx"))
    assert OnnxModel(tmp_path / "again.onnx").io == expected
