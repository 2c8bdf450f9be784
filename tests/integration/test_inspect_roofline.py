"""``trtqat inspect layers.json --roofline``: a real engine's files, on a host without its GPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import onnx
import pytest

from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.plans import make_plan
from trtqat.host.ceilings import Ceilings
from trtqat.inspection.inspector import read_layers
from trtqat.inspection.layer_times import LayerTimes

LAYERS = Path(__file__).parents[1] / "data/inspector-8.6/vgg16-shapes.json"
CONVOLUTIONS = ("/features/0/Conv", "/features/3/Conv")
# 1 TOPS, half of it in FP16, and 1 TB/s.
LIMITS = Ceilings("A GPU", 1e12, 5e11, 1e12, "by hand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions of the engine's graph, times of its layers, and ceilings.

    Every layer takes 0.1 ms, every further one 0.01 ms more.
    """
    path = tmp_path_factory.mktemp("roofline")
    graph = Graph((2, 4, 6, 6))
    data = "x"
    for name in CONVOLUTIONS:
        data = graph.conv(graph.pair(data, 0.1, name=f"{name}.p"), name)
    proto = graph.proto(data)
    for node in proto.graph.node:
        node.name = node.name.replace("//", "/")
    onnx.save(proto, str(path / "m.onnx"))
    names = [layer.name for layer in read_layers(LAYERS)]
    times = LayerTimes(({name: 0.1 + 0.01 * number for number, name in enumerate(names)},))
    (path / "profile.json").write_text(json.dumps(times.trtexec()))
    (path / "other.json").write_text(json.dumps(LayerTimes(({"other": 1.0},)).trtexec()))
    LIMITS.write(path / "ceilings.json")
    return path


def inspect(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process(folder, "inspect", LAYERS, "--graph", "m.onnx", *arguments)


ALL = ("--roofline", "--profile", "profile.json", "--ceilings", "ceilings.json")


def test_record(folder: Path) -> None:
    done = inspect(folder, *ALL, "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    found = result["roofline"]
    assert (found["batch_size"], found["ceilings"]["gpu"]) == (32, "A GPU")
    assert (found["share"], found["compute_ms"], found["uncounted"]) == (None, None, [])
    # A NoOp, which runs nothing, has no floor.
    times = [
        0.1 + 0.01 * number
        for number, layer in enumerate(read_layers(LAYERS))
        if layer.kind != "NoOp"
    ]
    assert [each["time_ms"] for each in found["layers"]] == pytest.approx(times)
    assert found["profiled_ms"] == pytest.approx(sum(times))
    assert found["floor_ms"] == pytest.approx(sum(each["floor_ms"] for each in found["layers"]))
    assert 0 < found["network_floor_ms"] < found["floor_ms"]
    second = next(each for each in found["layers"] if "/features/3/Conv" in each["name"])
    # 32 samples of the graph's 4x4x1x1 kernel at 6x6 points are far below the engine's traffic:
    # in and out 32x64x32x32 codes, and 64x64x3x3 weights, at 1 TB/s.
    assert (second["macs"], second["bound"]) == (32 * 4 * 4 * 6 * 6, "memory")
    assert second["floor_ms"] == pytest.approx((2 * 32 * 64 * 32 * 32 + 64 * 64 * 9) / 1e9)
    gaps = {each["name"]: each["time_ms"] - each["floor_ms"] for each in found["layers"]}
    assert found["largest_gaps"] == sorted(gaps, key=lambda name: -gaps[name])[:5]
    # The same times stand beside the graph's layers.
    assert [layer["time_ms"] for layer in result["layers"]] == [
        next(each["time_ms"] for each in found["layers"] if name in each["name"])
        for name in CONVOLUTIONS
    ]


def test_words(folder: Path) -> None:
    done = inspect(folder, *ALL, "--batch-size", 32)
    assert done.returncode == 0, done.stderr
    assert "A GPU at most: 1 TOPS in INT8, 0.5 TFLOPS in FP16, 1 TB/s (by hand)" in done.stdout
    assert "Floor at batch 32: " in done.stdout
    assert "Under the profiler the layers sum up to" in done.stdout
    assert "of the limit is reached" in done.stdout
    table = done.stdout[done.stdout.index("largest gaps") :]
    assert table.count("memory") + table.count("compute") == 5
    verbose = inspect(folder, *ALL, "-v").stdout
    table = verbose[verbose.index("largest gaps") :]
    assert table.count("memory") + table.count("compute") == 22


def test_times_alone(folder: Path) -> None:
    done = inspect(folder, "--profile", "profile.json", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["roofline"] is None
    assert all(layer["time_ms"] > 0 for layer in result["layers"])


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        (("--roofline",), "vgg16-shapes.json' has no times", "--profile profile.json"),
        (("--ceilings", "ceilings.json"), "has no times", "--profile profile.json"),
        (ALL[:3], "reaches at most is not known.", "--ceilings FILE.json"),
        ((*ALL[:4], "none.json"), "there is no file 'none.json'", "--ceilings FILE.json"),
        ((*ALL[:4], "profile.json"), "holds no ceilings", "on that GPU"),
        ((*ALL, "--batch-size", "8"), "is 32, not 8", "--batch-size N"),
        (("--profile", "other.json"), "has a time in 'other.json'", "exported together"),
        (("--profile", "none.json"), "holds no times", "--exportProfile"),
    ],
)
def test_what_is_missing(
    folder: Path, arguments: tuple[str, ...], problem: str, remedy: str
) -> None:
    done = inspect(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    words = " ".join(done.stderr.split())
    assert problem in words
    assert remedy in words
    assert "Traceback" not in words
    assert not (folder / "none.json").exists()


def test_layers_of_dynamic_shapes_have_no_roofline(folder: Path) -> None:
    layers = LAYERS.with_name("vgg16.json")
    command = ("inspect", layers, "--graph", "m.onnx", *ALL[:1], *ALL[3:], "--batch-size", 32)
    names = [layer.name for layer in read_layers(layers)]
    (folder / "dynamic.json").write_text(
        json.dumps(LayerTimes((dict.fromkeys(names, 1.0),)).trtexec())
    )
    done = in_process(folder, *command, "--profile", "dynamic.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "have no shapes" in done.stderr
    assert "--export-layer-info" in done.stderr


def test_options_that_do_not_go_together(folder: Path) -> None:
    (folder / "m.engine").write_bytes(make_plan())
    for arguments, problem in (
        (("m.engine", "--profile", "profile.json"), "whose times are measured"),
        (("m.engine", "--roofline", "--passes", 0), "no times for a roofline"),
        (("m.engine", "--strict"), "is an engine, and --strict is for graphs"),
        (("m.onnx", "--profile", "profile.json"), "is a graph"),
        ((LAYERS, "--graph", "m.onnx", "--export-profile", "p.json"), "--export-profile is not"),
        ((LAYERS, "--graph", "m.onnx", "--trust", "key.pem"), "--trust is not for those"),
        ((LAYERS, "--graph", "m.onnx", "--strict"), "--strict is not for those"),
        ((LAYERS, "--graph", "m.onnx", "--device", 0), "--device is not for those"),
        ((LAYERS, "--graph", "m.onnx", "--batch-size", 32), "--batch-size is for --roofline"),
    ):
        done = in_process(folder, "inspect", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert problem in " ".join(done.stderr.split())


def test_times_of_a_few_layers_are_set_beside_their_own_floors(folder: Path) -> None:
    name = next(layer.name for layer in read_layers(LAYERS) if "/features/3/Conv" in layer.name)
    # Its traffic takes 4.231 us at 1 TB/s.
    (folder / "few.json").write_text(json.dumps(LayerTimes(({name: 0.00846},)).trtexec()))
    done = inspect(folder, *ALL[:1], *ALL[3:], "--profile", "few.json")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "at least 50 % of the limit" in words
    assert "Without a time in the profile: 21 of 22 layers" in words
    assert "Under the profiler 1 layer, floor 0.004 ms, sum up" in words
    # Less than half of the limit is not 50 %.
    (folder / "few.json").write_text(json.dumps(LayerTimes(({name: 0.00847},)).trtexec()))
    done = inspect(folder, *ALL[:1], *ALL[3:], "--profile", "few.json")
    assert "at least 49 % of the limit" in " ".join(done.stdout.split())
