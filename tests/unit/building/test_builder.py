"""The order in which a build does its steps, with a stand-in that claims nothing of TensorRT."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import trtqat
from tests.support.builder_host import Host
from trtqat.building.builder import build, build_plan
from trtqat.building.options import BuildOptions, options_again
from trtqat.errors import BuildError, MissingError, UsageError
from trtqat.files import sha256_of
from trtqat.graph.passes.make_weights_float import make_weights_float
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import save, serialized
from trtqat.plan.manifest import ProfileShapes, read_manifest
from trtqat.plan.profiles import batches_of
from trtqat.plan.signature import signature_path
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import random_arrays


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
    assert "building without the cache" in caplog.text
    assert [config.cache is None for config in host.configs] == [False, False, True]
    # What it cannot use is not overwritten with nothing.
    assert cache.read_bytes() == b"of another network"
    # 8.6.0 complains of what it reads in most caches: that hides no reason.
    host.failures += ["myelinCache.h: unknown graph", "10: Could not find any implementation"]
    with pytest.raises(BuildError, match=r"could not build the engine: 10: Could not find"):
        build(graph, tmp_path / "other.engine", options)


@pytest.mark.parametrize("words", ["convertMyelinWeightsToFp32", "chooseHigherPrecision"])
def test_weights_are_float_where_tensorrt_stops_at_codes(
    host: Host, graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    cache = tmp_path / "kernels.cache"
    host.failures.append(f"2: [graphOptimizer.cpp::{words}::7903] Error Code 2")
    built = build(graph, tmp_path / "m.engine", BuildOptions(timing_cache=cache))
    assert "TensorRT 8.6.0 stops at INT8 initializers of 'm.onnx'" in caplog.text
    assert cache.read_bytes() == b"kernels"
    assert built.manifest.graph_sha256 == sha256_of(graph)
    as_it_is, in_float = map(onnx.load_model_from_string, host.graphs)
    assert as_it_is == onnx.load(graph)
    types = [
        {weight.data_type for weight in each.graph.initializer if len(weight.dims) > 1}
        for each in (as_it_is, in_float)
    ]
    assert types == [{onnx.TensorProto.INT8}, {onnx.TensorProto.FLOAT}]
    with OnnxModel(graph) as before, OnnxModel(serialized(in_float)) as after:
        inputs = random_arrays([each.with_batch(2) for each in before.inputs], seed=0)
        expected, found = before.session(2).run(inputs), after.session(2).run(inputs)
    assert (expected["output"] == found["output"]).all()


def test_a_build_that_fails_with_float_weights_too_says_why(
    host: Host, graph: Path, tmp_path: Path
) -> None:
    host.failures += ["convertMyelinWeightsToFp32", "10: Could not find any implementation"]
    with pytest.raises(BuildError, match=r"could not build the engine: 10: Could not find"):
        build(graph, tmp_path / "m.engine")
    # Nothing is tried again where no weight is an initializer of codes.
    in_float = tmp_path / "float.onnx"
    model = read_model(graph)
    make_weights_float(model)
    save(model, in_float)
    host.failures, host.graphs = ["convertMyelinWeightsToFp32"], []
    with pytest.raises(BuildError, match="could not build the engine: convertMyelin"):
        build(in_float, tmp_path / "m.engine")
    assert len(host.graphs) == 1


def test_a_build_that_fails_leaves_nothing(host: Host, graph: Path, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    host.failures.append("10: Could not find any implementation for node conv")
    with pytest.raises(BuildError, match=r"could not build the engine: 10: Could not"):
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
