"""What a build says of INT8: it asks once all is written, and keeps a plan that cannot tell."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from tests.support.builder_host import Host
from trtqat.building import agreement
from trtqat.building import builder as module
from trtqat.building.agreement import Agreement, ComparedOutput
from trtqat.building.builder import build
from trtqat.building.options import BuildOptions
from trtqat.building.plan_files import write_plan
from trtqat.building.tuned_options import TunedOptions
from trtqat.cli.app import app
from trtqat.errors import BuildError, GateError, GraphError, InferenceError, TrtqatError, UsageError
from trtqat.files import sha256_of
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import save
from trtqat.host.gpu import Gpu
from trtqat.inspection import engine_layers
from trtqat.inspection.words import describe_coverage
from trtqat.plan.manifest import (
    Manifest,
    ProfileShapes,
    check_plan,
    manifest_path,
    read_manifest,
)
from trtqat.plan.profiles import batches_of
from trtqat.plan.signature import signature_path
from trtqat.runtime import engine as runtime
from trtqat.typed_json import json_text


def record_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has what a command does to the logs undone after the test."""
    # A command turns the logs to its standard error, which is gone after it.
    for name in ("trtqat", "tensorrt"):
        for attribute in ("handlers", "level", "propagate"):
            logger = logging.getLogger(name)
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))


class Asked:
    """What a build asks which layers run in INT8, once everything is written."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.opened = self.closed = 0
        self.problem: TrtqatError | None = None
        self.profiles: list[int] = []
        self.manifest: Manifest | None = None
        # What others do before the engine is opened, and before it is closed.
        self.meanwhile: Callable[[Path], object] = lambda plan: None
        self.at_close: Callable[[], object] = lambda: None
        self.layers: list[Any] = []
        monkeypatch.setattr(runtime, "Engine", self.open)
        monkeypatch.setattr(engine_layers, "ask_inspector", self.inspect)
        self.agreement = Agreement({"y": ComparedOutput(45.0, 20.0)})
        monkeypatch.setattr(agreement, "compare_with_graph", lambda *_: self.agreement)

    def open(
        self,
        plan: Path,
        *,
        allow_engine_code: bool,
        flavour: str,
        weights: None,
        plugins: tuple[Path, ...],
    ) -> Asked:
        assert plugins == ()
        assert (allow_engine_code, flavour) == (True, "full")
        assert plan.read_bytes() == b"plan"
        assert read_manifest(plan) is not None
        self.meanwhile(plan)
        self.manifest = read_manifest(plan)
        assert (self.folder / "models" / "m" / "1" / "model.plan").exists()
        self.opened += 1
        return self

    def inspect(self, engine: Asked, profile: int) -> Any:
        assert engine is self
        self.profiles.append(profile)
        if self.problem is not None:
            raise self.problem
        return {"Layers": self.layers}

    def close(self) -> None:
        self.at_close()
        self.closed += 1


@pytest.fixture
def asked(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(tmp_path, monkeypatch)


def test_what_runs_in_int8_is_asked_when_all_is_written(
    asked: Asked, graph: Path, tmp_path: Path
) -> None:
    result = build(graph, tmp_path / "m.engine", triton_repository=tmp_path / "models")
    assert (asked.opened, asked.closed) == (1, 1)
    assert result.coverage is not None
    assert result.coverage_error is None
    wanted = len(result.coverage.wanted)
    assert wanted > 1
    with pytest.raises(GateError, match=f"{wanted} of {wanted} quantized layers are not seen"):
        result.check_int8()
    record = json.loads(json_text(result.to_dict()))
    assert record["coverage"]["missed"] == wanted
    assert record["manifest"]["plan_bytes"] == 4
    assert record["agreement"]["outputs"] == {"y": {"sqnr_db": 45.0, "least_db": 20.0}}


def write_another(plan: Path) -> None:
    """What a second build into the same file does."""
    mine, content = read_manifest(plan), b"another plan"
    assert mine is not None
    sha256 = hashlib.sha256(content).hexdigest()
    theirs = replace(mine, plan_sha256=sha256, plan_bytes=len(content))
    write_plan(plan, content, theirs, b"signed by another")


def test_another_builds_plan_is_no_proof_of_this_one(
    asked: Asked, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, asked.meanwhile = tmp_path / "m.engine", write_another
    result = build(graph, plan, triton_repository=tmp_path / "models")
    assert (asked.closed, asked.profiles) == (1, [])
    with pytest.raises(BuildError, match=r"m\.engine' is another build's by now\. Give each"):
        result.check_int8()
    assert f"'{plan}' is another build's by now" in caplog.text
    assert check_plan(plan.read_bytes(), plan) is not None


def test_another_build_meanwhile_keeps_its_manifest(
    asked: Asked, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tmp_path / "m.engine"
    asked.at_close = lambda: write_another(plan)
    result = build(graph, plan, triton_repository=tmp_path / "models")
    assert result.coverage is not None
    assert f"The manifest beside '{plan}' is no longer this build's" in caplog.text
    theirs = check_plan(plan.read_bytes(), plan)
    assert theirs is not None
    assert theirs.coverage is None
    assert signature_path(plan).read_bytes() == b"signed by another"
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json", "m.engine.sig", "models"]
    # What Triton got is this build's all the same.
    served = tmp_path / "models" / "m" / "1" / "model.plan"
    mine = check_plan(served.read_bytes(), served)
    assert mine is not None
    assert mine.coverage == result.coverage


def test_a_manifest_that_is_none_by_now_is_left_alone(
    asked: Asked, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tmp_path / "m.engine"
    asked.at_close = lambda: manifest_path(plan).write_text("{}")
    build(graph, plan, triton_repository=tmp_path / "models")
    assert manifest_path(plan).read_text() == "{}"
    assert f"The manifest beside '{plan}' is no longer this build's" in caplog.text


def test_what_triton_gets_is_signed_with_its_coverage(
    asked: Asked, graph: Path, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    private = tmp_path / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    repository = tmp_path / "models"
    result = build(graph, tmp_path / "m.engine", triton_repository=repository, sign=private)
    assert result.served is not None
    for plan in (result.path, result.served.plan):
        found = read_manifest(plan, trust=key.public_key())
        assert found is not None
        assert found.coverage == result.coverage
    assert sorted(os.listdir(result.served.plan.parent)) == [
        "model.plan",
        "model.plan.json",
        "model.plan.sig",
    ]


def test_every_profile_is_asked(asked: Asked, graph: Path, tmp_path: Path) -> None:
    asked.layers = ["a", "b", "a [profile 1]", "b [profile 1]", "a [profile 2]"]
    result = build(
        graph, tmp_path / "m.engine", batch="1,4,1:8:8", triton_repository=tmp_path / "models"
    )
    assert asked.profiles == [0, 1, 2]
    assert result.coverage is not None
    assert result.coverage.profiles == ("1", "4", "1:8:8")
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert manifest.coverage == result.coverage


def test_profiles_that_are_not_told_apart(
    asked: Asked, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked.layers = ["a", "a"]
    repository = tmp_path / "models"
    result = build(graph, tmp_path / "m.engine", batch="1,1:4:4", triton_repository=repository)
    assert "does not tell its 2 profiles apart" in caplog.text
    with pytest.raises(GraphError, match="does not tell its 2 profiles apart"):
        result.check_int8()
    # What TensorRT said can be read all the same.
    result.write_layers(tmp_path / "layers.json")
    assert json.loads((tmp_path / "layers.json").read_text()) == {"Layers": ["a", "a"]}
    result.write_layers(str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_text() == (tmp_path / "layers.json").read_text()


SUBGRAPH = {"Name": "{ForeignNode[/conv1/Conv.../fc/Gemm]}", "LayerType": "Myelin"}


def test_a_wide_profile_of_a_compiled_subgraph(
    asked: Asked, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked.layers = [SUBGRAPH]
    build(graph, tmp_path / "m.engine", batch="1:4:8", triton_repository=tmp_path / "models")
    (told,) = [each for each in caplog.messages if "one profile for batches 1 to 8" in each]
    assert "2.730 ms at batch 32 with --batch 1:32:32, and 1.848 ms" in told
    assert "Build it with --batch 1,4,8,1:4:8:" in told


@pytest.mark.parametrize(
    "problem",
    [InferenceError("No context.", "Free memory."), BuildError("Nor that.", "Leave it.")],
)
def test_a_plan_whose_layers_are_not_known(
    asked: Asked,
    graph: Path,
    tmp_path: Path,
    problem: TrtqatError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked.problem = problem
    result = build(graph, tmp_path / "m.engine", triton_repository=tmp_path / "models")
    assert (asked.opened, asked.closed) == (1, 1)
    assert result.path.read_bytes() == b"plan"
    assert (result.coverage, result.coverage_error) == (None, problem)
    assert f"Which layers run in INT8 is not known: {problem}" in caplog.text
    assert result.to_dict()["coverage"] is None
    with pytest.raises(type(problem)) as raised:
        result.check_int8()
    assert raised.value is problem


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--require-int8",), 1)])
def test_the_command_keeps_a_plan_whose_layers_are_not_known(
    asked: Asked,
    graph: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked.problem = InferenceError("No context.", "Free memory.")
    plan, models_folder = tmp_path / "m.engine", tmp_path / "models"
    record_logs(monkeypatch)
    triton = ("--triton-repository", str(models_folder))
    done = CliRunner().invoke(app, ["build", str(graph), "-o", str(plan), *triton, *options])
    assert done.exit_code == code
    assert plan.read_bytes() == b"plan"
    assert "Which layers run in INT8 is not known: No context. Free memory." in done.output
    assert ("error: No context." in done.output) is bool(code)


def test_no_name_of_an_input_begins_a_line_of_what_is_said(
    asked: Asked, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = build(graph, tmp_path / "m.engine", triton_repository=tmp_path / "models")
    name = "x\nINT8: 9 of 9 quantized layers"
    first, second = ({name: ProfileShapes(*[(8, width)] * 3)} for width in (160, 320))
    manifest = replace(result.manifest, profiles=first, more_profiles=(second,))
    monkeypatch.setattr(module, "build", lambda *_, **__: replace(result, manifest=manifest))
    record_logs(monkeypatch)
    done = CliRunner().invoke(app, ["build", str(graph), "-o", str(tmp_path / "m.engine")])
    assert done.exit_code == 0
    assert r"of 2 profiles, for x\nINT8: 9 of 9 quantized layers:8x160, x\nINT8" in done.output
    assert "\nINT8: 9" not in done.output


def test_a_float_engine_is_not_asked_for_int8(asked: Asked, graph: Path, tmp_path: Path) -> None:
    result = build(graph, tmp_path / "m.engine", BuildOptions(precision="fp16"))
    assert (result.coverage, result.coverage_error, asked.opened) == (None, None, 0)
    with pytest.raises(UsageError, match="was built without INT8"):
        result.check_int8()


def test_a_tuned_graph_without_pairs_is_fp16_and_says_so(
    asked: Asked, host: Host, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "describe_gpu", lambda: Gpu("A GPU", "9.0", "580", "13.0"))
    tuned = tmp_path / "tuned.onnx"
    model = read_model(graph)
    remove_quantization(model)
    save(model, tuned)
    options = tmp_path / "tuned.json"
    fields = TunedOptions(
        "tuned.onnx", sha256_of(tuned), "A GPU", "8.6.0", "0.1.0", "fp16", ("8", "1:8:16")
    )
    options.write_text(fields.to_json())
    plan = tmp_path / "m.engine"
    with pytest.raises(GraphError, match="no QuantizeLinear"):
        build(tuned, plan)
    result = build(tuned, plan, options, triton_repository=tmp_path / "models")
    assert host.configs[-1].flags == ["FP16"]
    manifest = read_manifest(plan)
    assert manifest is not None
    assert manifest.options.precision == "fp16"
    assert [batches_of(each).as_option for each in manifest.all_profiles] == ["8", "1:8:16"]
    assert asked.profiles == [0, 1]
    assert manifest.coverage is not None
    assert len(manifest.coverage.layers) > 1
    assert manifest.coverage.wanted == ()
    assert not any(layer.runs_int8 for layer in manifest.coverage.layers)
    count = len(manifest.coverage.layers)
    assert f"INT8: 0 of {count} layers, as the graph" in describe_coverage(manifest.coverage)
    with pytest.raises(GateError, match=f"0 of {count} layers are INT8"):
        result.check_int8()
    record_logs(monkeypatch)
    triton = ("--triton-repository", str(tmp_path / "models"))
    command = ["build", str(tuned), "-o", str(plan), "--options", str(options), *triton]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "FP16: no Q/DQ pair in the graph" in done.output
    assert f"INT8: 0 of {count} layers" in done.output
    assert CliRunner().invoke(app, [*command, "--require-int8"]).exit_code == 3
