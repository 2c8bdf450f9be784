"""Evaluation on a GPU: several queries in flight, what is measured besides, rivals and steps."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import models
from tests.support.workloads import VGG, Artefacts, Build, trtqat
from trtqat.data.dataset import open_dataset
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.open_pytorch import open_pytorch
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.running import run_models
from trtqat.evaluation.timing import LatencyOptions
from trtqat.evaluation.trtexec import Like
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.source import ModelSource
from trtqat.numerics import difference, quantize
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel, PyTorchPrecision
from trtqat.tensors import TensorSpec


def test_in_flight_gives_the_same_bytes(vgg: Artefacts, vgg_data: str) -> None:
    _, plan, source = vgg
    engine = Engine(plan)
    baseline = PyTorchModel(load_model(source, device="cuda"), engine.inputs, device="cuda")
    # 29 batches, and one of 19.
    dataset = open_dataset(vgg_data, engine.inputs, limit=947)
    one, four = (
        list(run_models([engine, baseline], dataset, batch_size=32, in_flight=count))
        for count in (1, 4)
    )
    assert [each.start for each in one] == [each.start for each in four]
    session = baseline.session(32)
    is_captured = session.mode == "CUDA graph"
    session.close()
    different = []
    for alone, together in zip(one, four, strict=True):
        ours, theirs = (
            tuple(next(iter(outputs.values())) for outputs in each.outputs)
            for each in (together, alone)
        )
        np.testing.assert_array_equal(ours[0], theirs[0])
        if is_captured:
            np.testing.assert_array_equal(ours[1], theirs[1])
        else:
            # What no CUDA graph captures runs on the threads of the queries, and cuDNN chooses its
            # algorithms for each thread anew: sums are rounded otherwise, and a code may flip.
            np.testing.assert_allclose(ours[1], theirs[1], atol=0.5)
            different.extend(np.any(ours[1] != theirs[1], axis=1))
    # Of all images, not of a batch: 7 of 32 were seen in one batch.
    assert np.mean(different or [0]) < 0.2


def test_a_model_that_takes_channels_first_alone_is_a_baseline_in_fp16() -> None:
    class Viewed(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self[1](self[0](x).view(len(x), -1))
            return logits

    torch.manual_seed(0)
    model = Viewed(torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8 * 6 * 6, 4))
    specs = [TensorSpec("x", (-1, 3, 8, 8), "float32")]
    inputs = {"x": np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)}
    outputs = []
    precisions: tuple[PyTorchPrecision, ...] = ("fp32", "fp16")
    for precision in precisions:
        baseline = PyTorchModel(copy.deepcopy(model), specs, device="cuda", precision=precision)
        with baseline.session(4) as session:
            outputs.append(next(iter(session.run(inputs).values())))
    assert difference(*outputs).sqnr_db > 40


def test_an_engine_without_profile_sharing_runs_all_the_same(
    tmp_path: Path, build_engine: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorrt

    if not hasattr(tensorrt.PreviewFeature, "PROFILE_SHARING_0806"):
        pytest.skip("this TensorRT always shares profiles")
    from trtqat.building import versions

    monkeypatch.setattr(versions, "share_profile", lambda trt, config: None)
    example = models.EXAMPLES["residual"]
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs))
    build_engine(graph, plan, batch=(1, 4, 4))
    engine = Engine(plan)
    dataset = open_dataset("random:41", engine.inputs)
    one, four = (
        [
            next(iter(answers.outputs[0].values()))
            for answers in run_models([engine], dataset, batch_size=4, in_flight=count)
        ]
        for count in (1, 4)
    )
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(four))


def test_everything_is_measured(vgg: Artefacts, vgg_data: str) -> None:
    _, plan, source = vgg
    engine = Engine(plan)
    baseline = open_pytorch(source, engine)
    report = evaluate(
        engine,
        open_dataset(vgg_data, engine.inputs, limit=320),
        EvaluateOptions(latency=LatencyOptions(50, 0.3)),
        baseline=baseline,
        rivals=[open_pytorch(source, engine, precision="tf32")],
        steps=[open_pytorch(source, engine, name="Again", cuda_graph=False)],
    )
    for side in (*report.side_by_side, report.rivals[0]):
        timing = report.timing(side)
        assert timing is not None
        assert timing.h2d is not None
        assert timing.d2h is not None
        assert 0 < timing.d2h.median_ms < timing.request.median_ms
        assert 0 < timing.h2d.median_ms < timing.request.median_ms
        assert timing.throughput is not None
        assert timing.throughput.in_flight == EvaluateOptions().in_flight
        alone = 32e3 / timing.compute.median_ms
        assert 0.2 * 32e3 / timing.request.median_ms < timing.throughput.images_per_second
        # Small kernels of several queries overlap: 2.1 times as much was seen. What is launched
        # kernel by kernel goes by the host, which may be busy in one turn and idle in the next.
        if timing.mode == "CUDA graph":
            assert timing.throughput.images_per_second < 2.5 * alone
        assert side.size_bytes
    telemetry = report.telemetry
    assert telemetry is not None
    assert 100 < telemetry.highest_sm_clock_mhz <= telemetry.max_sm_clock_mhz
    assert 10 < telemetry.after.temperature_c < 100
    assert telemetry.after.power_w > 10
    assert len(report.way) == 3
    assert report.subject.to_baseline is not None
    assert report.subject.to_baseline.agreement.wrong_positions == ()


def test_float_engine_and_steps_on_the_command_line(
    runs: Path, vgg_data: str, work: Path, build_engine: Build, timing_cache: Path
) -> None:
    graph, plan = work / "compared.onnx", work / "compared.engine"
    source = ModelSource(f"{VGG}:qat", runs / "qat.pt")
    from tests.support.workloads import VGG_INPUT

    export_onnx(load_model(source), graph, ExportOptions((VGG_INPUT,)))
    # FP16 at level 0 has no kernel for MaxPool in 8.6.0.
    build_engine(graph, plan)
    command = [
        "eval", plan, "--data", vgg_data, "--limit", "320", "--duration", "0.2",
        "--baseline", f"{VGG}:vgg16", "--checkpoint", runs / "fp32_control.pt",
        "--fake-quantized", f"{VGG}:qat", "--fake-quantized-checkpoint", runs / "qat.pt",
        "--reference", "--compare", "fp16,torch-fp16", "--json", "-",
        "--timing-cache", timing_cache,
    ]  # fmt: skip
    done = trtqat(*command)
    assert done.returncode == 0, done.stderr
    contenders = json.loads(done.stdout)["contenders"]
    rivals = [each for each in contenders if each["role"] == "rival"]
    assert [each["name"] for each in rivals] == ["compared.fp16.engine", "PyTorch FP16"]
    for each in rivals:
        assert each["to_baseline"]["agreement"]["same_top1"] >= 315
        (at,) = each["timings"]
        assert at["speedup"]["value"] > 0
    way = [each for each in contenders if each["role"] != "rival"]
    assert [each["accuracy"]["count"] for each in way] == [320] * 4
    built = plan.with_name("compared.fp16.engine").stat().st_mtime_ns
    done = trtqat(*command)
    assert done.returncode == 0, done.stderr
    assert "was built before" in done.stderr
    assert plan.with_name("compared.fp16.engine").stat().st_mtime_ns == built


def test_like_trtexec(vgg: Artefacts, vgg_data: str) -> None:
    _, plan, _ = vgg
    engine = Engine(plan)
    dataset = open_dataset(vgg_data, engine.inputs, limit=64)
    found = {}
    likes: tuple[Like, ...] = ("trtexec-10", "trtexec-11")
    for like in likes:
        options = EvaluateOptions(latency=LatencyOptions(50, 0.3), like=like)
        report = evaluate(engine, dataset, options)
        assert report.trtexec is not None
        timing = report.timing(report.subject)
        assert timing is not None
        found[like] = report.trtexec
        ours = timing.compute.median_ms
        assert report.trtexec.queries >= 10
        assert report.trtexec.wall_s >= 0.3
    old, new = found["trtexec-10"], found["trtexec-11"]
    assert old.h2d is not None
    assert old.d2h is not None
    assert old.latency.median_ms > old.compute.median_ms
    assert new.h2d is None
    assert new.latency == new.compute
    # A CUDA graph with its inputs resident: what our GPU compute time is, too.
    assert 0.9 < new.compute.median_ms / ours < 1.1
    assert new.queries_per_second == pytest.approx(1e3 / new.compute.mean_ms, rel=0.5)


def test_an_engine_that_takes_codes(tmp_path: Path, build_engine: Build) -> None:
    example = models.EXAMPLES["residual"]
    graph, plan = tmp_path / "m.onnx", tmp_path / "m.engine"
    export_onnx(example.qat(), graph, ExportOptions(example.inputs, quantized_input=True))
    build_engine(graph, plan, batch=(1, 4, 8))
    engine, reference = Engine(plan), OnnxModel(graph, as_written=True)
    assert engine.inputs[0].dtype == "float32"
    session = engine.session(4)
    assert session.input_specs[0].dtype == "int8"
    x = example.batch(4)[0].numpy()
    found = session.run({"x": x})
    for name, expected in reference.session(4).run({"x": x}).items():
        assert difference(expected, found[name]).sqnr_db > 20
    scale = json.loads(plan.with_name("m.engine.json").read_text())["provenance"]
    codes = quantize(x, scale["quantized_inputs"]["x"])
    for name, again in session.run({"x": codes}).items():
        np.testing.assert_array_equal(again, found[name])
