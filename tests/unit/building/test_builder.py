"""The order in which a build does its steps, with a stand-in that claims nothing of TensorRT."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

import trtqat
from tests.support import models
from trtqat.building import builder as module
from trtqat.building import network, plan_files
from trtqat.building.builder import build, build_plan
from trtqat.building.options import BuildOptions, options_again
from trtqat.building.tuned_options import TunedOptions
from trtqat.cli.app import app
from trtqat.errors import (
    BuildError,
    GateError,
    GraphError,
    InferenceError,
    MissingError,
    TrtqatError,
    UsageError,
)
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.files import sha256_of
from trtqat.graph.passes.remove_quantization import remove_quantization
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import save
from trtqat.host.gpu import Gpu
from trtqat.host.tensorrt_log import Messages
from trtqat.inspection import engine_layers
from trtqat.inspection.words import describe_coverage
from trtqat.plan.manifest import ProfileShapes, read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.plan.signature import signature_path
from trtqat.runtime import engine as runtime
from trtqat.typed_json import json_text


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    example = models.EXAMPLES["residual"]
    export_onnx(example.qat(), path, ExportOptions(example.inputs))
    return path


class Config:
    """What a build was configured with."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.profiles: list[Any] = []
        self.flags: list[str] = []
        self.cache: Any = None

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_preview_feature(self, feature: str, on: bool) -> None:
        pass

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits.append(size)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: b"kernels", combine=lambda *_, **__: True)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True


class Host:
    """A host whose TensorRT has the names that a build uses, and writes a plan of four bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages = Messages(warnings=["a warning"])
        self.configs: list[Config] = []
        self.failures: list[str] = []
        self.parses = self.loads = True
        tensor = {"x": (-1, 3, 16, 16), "output": (-1, 10)}
        tensors = [SimpleNamespace(name=n, shape=s, dtype="float") for n, s in tensor.items()]
        definition = SimpleNamespace(
            num_inputs=1,
            num_outputs=1,
            get_input=lambda _: tensors[0],
            get_output=lambda _: tensors[1],
        )
        members = {"INT8": "INT8", "FP16": "FP16", "TF32": "TF32"}
        self.module = SimpleNamespace(
            __version__="8.6.0",
            NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
            ProfilingVerbosity=SimpleNamespace(DETAILED=2),
            BuilderFlag=SimpleNamespace(**members),
            PreviewFeature=SimpleNamespace(PROFILE_SHARING_0806=1),
            MemoryPoolType=SimpleNamespace(WORKSPACE=0),
            HardwareCompatibilityLevel=SimpleNamespace(NONE=0),
            nptype=lambda _: "float32",
            Builder=lambda _: SimpleNamespace(
                create_network=lambda _: definition,
                create_builder_config=self.configure,
                create_optimization_profile=Profile,
                build_serialized_network=self.serialize,
            ),
            OnnxParser=lambda *_: SimpleNamespace(
                parse_from_file=lambda _: self.parses, num_errors=0
            ),
            Runtime=lambda _: SimpleNamespace(
                deserialize_cuda_engine=lambda _: (
                    SimpleNamespace(device_memory_size=12) if self.loads else None
                )
            ),
        )
        monkeypatch.setattr(module, "load_builder", lambda _: self.module)
        monkeypatch.setattr(module, "open_device", lambda _: None)
        monkeypatch.setattr(network, "make_logger", lambda _: (None, self.messages))
        monkeypatch.setattr(plan_files, "describe_gpu", lambda: Gpu("A GPU", "9.0", "580", "13.0"))

    def configure(self) -> Config:
        self.configs.append(Config())
        return self.configs[-1]

    def serialize(self, definition: Any, config: Config) -> bytes | None:
        if self.failures:
            self.messages.errors.append(self.failures.pop(0))
            return None
        return b"plan"


class Profile:
    """An optimization profile that says what it was given."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes[name] = shapes


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_plan_and_manifest(host: Host, graph: Path, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    result = trtqat.build(str(graph), str(plan), batch="1:4:8", workspace="1GiB")
    assert (result.path, result.qdq_pairs, result.warnings) == (plan, 10, ("a warning",))
    assert plan.read_bytes() == b"plan"
    manifest = read_manifest(plan)
    assert manifest is not None
    assert manifest == result.manifest
    assert manifest.graph_sha256 == sha256_of(graph)
    assert manifest.profiles == {"x": ProfileShapes((1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))}
    assert manifest.device_memory_bytes == 12
    (config,) = host.configs
    assert config.limits == [2**30]
    shapes = manifest.profiles["x"]
    assert config.profiles[0].shapes == {"x": (shapes.min, shapes.opt, shapes.max)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.engine", "m.engine.json"]


def test_several_profiles(host: Host, graph: Path, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    trtqat.build(graph, plan, batch="1:4:8,1,4")
    manifest = read_manifest(plan)
    assert manifest is not None
    assert manifest.schema_version == 2
    assert [str(batches_of(each)) for each in manifest.all_profiles] == ["1:1:1", "4:4:4", "1:4:8"]
    (config,) = host.configs
    assert [each.shapes for each in config.profiles] == [
        {name: (shapes.min, shapes.opt, shapes.max) for name, shapes in each.items()}
        for each in manifest.all_profiles
    ]
    # Another one like it has the same.
    again = options_again(manifest, "m.engine", "fp16")
    build(graph, tmp_path / "again.engine", replace(again, precision="int8"))
    found = read_manifest(tmp_path / "again.engine")
    assert found is not None
    assert found.all_profiles == manifest.all_profiles


def test_a_list_of_one_is_no_other_plan(host: Host, graph: Path, tmp_path: Path) -> None:
    written = []
    for batch in ("1:4:8", [(1, 4, 8)]):
        build(graph, tmp_path / "m.engine", batch=batch)
        fields = json.loads((tmp_path / "m.engine.json").read_text())
        written.append({**fields, "created": "", "build_seconds": 0})
    assert written[0] == written[1]
    assert written[0]["schema_version"] == 1
    assert "more_profiles" not in written[0]


def test_where_a_plan_goes_is_not_how_it_is_built(host: Host, graph: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    plans = [tmp_path / "m.engine", tmp_path / "signed.engine"]
    repository = tmp_path / "models"
    build(graph, plans[0])
    result = build(graph, plans[1], sign=key, triton_repository=repository, triton_instances=2)
    assert result.served is not None
    assert result.served.plan == repository / "signed" / "1" / "model.plan"
    assert "count: 2" in result.served.config_text
    for plan in (plans[1], result.served.plan):
        assert plan.read_bytes() == b"plan"
        assert signature_path(plan).exists()
    recorded = [json.loads(f"{p.with_name(p.name + '.json').read_text()}") for p in plans]
    assert recorded[0]["options"] == recorded[1]["options"]
    assert not {"sign", "triton", "profile"} & set(recorded[1]["options"])


def test_a_timing_cache_that_tensorrt_cannot_use(
    host: Host, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "kernels.cache"
    options = BuildOptions(timing_cache=cache)
    build(graph, tmp_path / "m.engine", options)
    assert cache.read_bytes() == b"kernels"
    cache.write_bytes(b"of another network")
    host.failures.append("myelinCache.h: unknown graph")
    with caplog.at_level(logging.WARNING):
        build(graph, tmp_path / "m.engine", options)
    assert "building without it" in caplog.text
    assert [config.cache is None for config in host.configs] == [False, False, True]
    # What it cannot use is not overwritten with nothing.
    assert cache.read_bytes() == b"of another network"


def test_a_build_that_fails_leaves_nothing(host: Host, graph: Path, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    host.failures.append("10: Could not find any implementation for node conv")
    with pytest.raises(BuildError, match=r"could not build the engine: 10: Could not.*--workspace"):
        build(graph, plan)
    host.loads = False
    with pytest.raises(BuildError, match="a plan that it cannot load"):
        build(graph, plan)
    host.parses = False
    with pytest.raises(BuildError, match=r"TensorRT 8\.6\.0 cannot read 'm\.onnx'"):
        build(graph, plan)
    host.parses = True
    with pytest.raises(UsageError, match="Only a version-compatible plan"):
        build(graph, plan, exclude_lean_runtime=True)
    # Triton is asked before TensorRT has taken its minutes.
    built = len(host.configs)
    with pytest.raises(UsageError, match="from 1 on, but the engine takes 2:4:8"):
        build(graph, plan, batch="2:4:8", triton_repository=tmp_path / "models")
    with pytest.raises(UsageError, match="from 1 to 8, but the engine takes 1, 4 and 8"):
        build(graph, plan, batch="1,4,8", triton_repository=tmp_path / "models")
    assert len(host.configs) == built
    assert list(tmp_path.iterdir()) == []


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
        self.layers: list[Any] = []
        monkeypatch.setattr(runtime, "Engine", self.open)
        monkeypatch.setattr(engine_layers, "ask_inspector", self.inspect)

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


def test_an_int8_engine_without_fp16(host: Host, graph: Path, tmp_path: Path) -> None:
    build_plan(graph, tmp_path / "m.engine", BuildOptions())
    build_plan(graph, tmp_path / "other.engine", BuildOptions(fp16=False))
    assert [config.flags for config in host.configs] == [["INT8", "FP16"], ["INT8"]]
    manifest = read_manifest(tmp_path / "other.engine")
    assert manifest is not None
    assert not manifest.options.fp16
    assert not options_again(manifest, "other.engine", "int8").fp16
    del host.module.BuilderFlag.FP16
    with pytest.raises(MissingError, match="takes the types of the graph"):
        build_plan(graph, tmp_path / "m.engine", BuildOptions(fp16=False))
