"""Plans of TensorRT for RTX, built on the CPU of a host with a GPU.

On a GPU that is none of their targets, as an H100, the refusal is ours and comes before the
library's. On a card that is one, they run; nobody who wrote this had such a card.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support import models
from tests.support.workloads import trtqat
from trtqat.errors import PlanError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.gpu import describe_gpu
from trtqat.host.tensorrt_library import load_rtx, open_device
from trtqat.host.tensorrt_log import make_logger
from trtqat.runtime.opening import open as open_model

LIBRARY = "rtx"
# What a plan without targets is for, and what is newer.
_TARGETS, _NEWEST = ("8.0", "8.6", "8.9"), (12, 0)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for the library's own targets, with its graph and manifest beside it."""
    graph = tmp_path_factory.mktemp("rtx") / "m.onnx"
    example = models.EXAMPLES["residual"]
    export_onnx(example.qat(), graph, ExportOptions(example.inputs))
    path = graph.with_suffix(".engine")
    done = trtqat("build", graph, "-o", path, "--for", "rtx", "--batch", "1:4:8", "--require-int8")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def capability() -> str:
    return describe_gpu().compute_capability


@pytest.fixture
def foreign(capability: str) -> str:
    """Compute capability of a GPU that the plan is not for."""
    if _is_target(capability):
        pytest.skip(f"this GPU ({capability}) runs the plan")
    return capability


@pytest.fixture
def card(capability: str) -> str:
    """Compute capability of a GPU that the plan is for."""
    if not _is_target(capability):
        pytest.skip(f"plans of TensorRT for RTX do not run on this GPU ({capability})")
    return capability


def _is_target(capability: str) -> bool:
    version = tuple(map(int, capability.split(".")))
    return capability in _TARGETS or version >= _NEWEST


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("eval", "{plan}", "--data", "random:8", "--duration", "0"), 2),
        (("doctor", "{plan}"), 1),
        # What the build recorded is shown all the same.
        (("inspect", "{plan}"), 0),
        (("inspect", "{plan}", "--roofline"), 2),
    ],
)
def test_commands_refuse_a_gpu_that_is_no_target(
    command: tuple[str, ...], code: int, plan: Path, foreign: str
) -> None:
    done = trtqat(*(each.format(plan=plan) for each in command))
    assert done.returncode == code, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "targets" in said
    assert "8.6" in said
    assert foreign in said
    # These are the library's words.
    assert "Supported compute capabilities" not in said
    assert "Traceback" not in said


def test_the_refusal_comes_before_the_library(
    plan: Path,
    foreign: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours does not load the library; beside it, what the library says to the same bytes."""

    def load(flavour: TensorRTFlavour) -> None:
        raise AssertionError(f"{flavour.title} was asked")

    with monkeypatch.context() as patched:
        patched.setattr(TensorRTFlavour, "load", load)
        with pytest.raises(PlanError) as ours:
            open_model(plan)
    assert "targets" in ours.value.problem
    assert foreign in ours.value.problem
    assert not plan.with_name("m.engine.runtime-cache").exists()

    trt = load_rtx("This test")
    device = open_device("This test")
    logger, messages = make_logger(trt)
    runtime = trt.Runtime(logger)
    content = plan.read_bytes()
    validity, diagnostics = runtime.get_engine_validity(content)
    header = runtime.get_engine_validity(content[: runtime.engine_header_size])
    messages.errors.clear()
    assert runtime.deserialize_cuda_engine(content) is None
    theirs = " ".join(messages.errors)
    told = {
        "ours": ours.value.problem,
        "deserialize_cuda_engine": theirs,
        "get_engine_validity": f"{validity}, {diagnostics}",
        "of the header": f"{header[0]}, {header[1]}",
        "on": f"{device.name}, TensorRT for RTX {trt.__version__}",
    }
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{name}: {words}" for name, words in told.items()) + "\n")
    assert f"compute capability {foreign}" in theirs
    assert validity == header[0] == trt.EngineValidity.INVALID
    unsupported = int(trt.EngineInvalidityDiagnostics.UNSUPPORTED_CC)
    assert diagnostics & unsupported
    assert header[1] & unsupported


def test_a_card_runs_it_and_keeps_what_it_compiles(plan: Path, card: str, tmp_path: Path) -> None:
    cache = plan.with_name("m.engine.runtime-cache")
    assert not cache.exists()
    found = []
    for start in ("first", "second"):
        path = tmp_path / f"{start}.json"
        done = trtqat(
            *("eval", plan, "--data", "random:64", "--batch-size", "8", "--duration", "0.5"),
            *("--reference", "--min-sqnr-db", "20", "--json", path),
        )
        assert done.returncode == 0, done.stderr
        assert "built and inspected, not run" in done.stderr
        assert cache.stat().st_size > 0
        found.append(json.loads(path.read_text())["contenders"][0])
    first, second = (each["compilations"][0] for each in found)
    assert (first["from_cache"], second["from_cache"]) == (False, True)
    assert second["seconds"] < 0.5 * first["seconds"]
    for each in found:
        assert each["library"].startswith("TensorRT for RTX ")
        (timed,) = each["timings"]
        assert timed["timing"]["mode"] == "CUDA graph of TensorRT for RTX"
        # What compiling takes is in no query, not even the slowest one.
        assert timed["timing"]["compute"]["max_ms"] < 1e3 * first["seconds"] / 2


def test_a_card_runs_it_without_graph_and_cache(plan: Path, card: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    done = trtqat(
        *("eval", plan, "--data", "random:16", "--batch-size", "8", "--duration", "0.2"),
        *("--no-cuda-graph", "--runtime-cache", "none", "--json", path),
    )
    assert done.returncode == 0, done.stderr
    (subject,) = json.loads(path.read_text())["contenders"]
    assert subject["timings"][0]["timing"]["mode"] == "plain enqueue"
    assert not subject["compilations"][0]["from_cache"]


def test_a_card_tells_the_layers(plan: Path, card: str) -> None:
    done = trtqat("inspect", plan, "--require-int8")
    assert done.returncode == 0, done.stderr


def test_a_damaged_cache_is_replaced(plan: Path, card: str, tmp_path: Path) -> None:
    cache = tmp_path / "kernels"
    command = ["eval", plan, "--data", "random:8", "--batch-size", "8", "--duration", "0"]
    for content in (b"", b"no kernels", None):
        if content is not None:
            cache.write_bytes(content)
        else:
            damaged = bytearray(cache.read_bytes())
            damaged[len(damaged) // 2] ^= 1
            cache.write_bytes(damaged)
        before = cache.read_bytes()
        done = trtqat(*command, "--runtime-cache", cache)
        assert done.returncode == 0, done.stderr
        assert "is damaged, or of another GPU" in done.stderr
        assert cache.read_bytes() != before
