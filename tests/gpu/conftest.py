from __future__ import annotations

import functools
import logging
from pathlib import Path

import pytest

from tests.support.workloads import RESNET, RESNET_INPUT, VGG, VGG_INPUT, Artefacts, Build
from trtqat.building.builder import BuildResult, build
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import MissingError
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.source import ModelSource
from trtqat.host.tensorrt_library import load_rtx, load_tensorrt, open_device


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this host cannot run, or fails it with --require-gpu; before any fixture builds.

    A module that needs TensorRT for RTX says so by its ``LIBRARY``.
    """
    library = getattr(getattr(item, "module", None), "LIBRARY", "tensorrt")
    if library == "rtx" and (problem := _missing_library("rtx")):
        # It is an extra of its own, and no card of the GPU lane runs its plans.
        pytest.skip(problem)
    if problem := _missing_library(library) or _missing_gpu():
        if item.config.getoption("--require-gpu"):
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)


@pytest.fixture(autouse=True, scope="session")
def _quiet_exporters() -> None:
    """What they log at level DEBUG hides why a test failed."""
    for name in ("torch", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)


@functools.cache
def _missing_library(library: str) -> str:
    """Why the library cannot be had; empty if it can."""
    try:
        (load_rtx if library == "rtx" else load_tensorrt)("This test")
    except MissingError as error:
        return str(error)
    return ""


@functools.cache
def _missing_gpu() -> str:
    """Why there is no GPU; empty if there is one."""
    try:
        open_device("This test")
    except MissingError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def tactic_sources(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--tactic-sources"))


@pytest.fixture(scope="session")
def timing_cache(request: pytest.FixtureRequest, work: Path) -> Path:
    """Without it each of two engines of the same layers takes a minute."""
    given = str(request.config.getoption("--timing-cache"))
    return Path(given) if given else work / "timing.cache"


@pytest.fixture(scope="session")
def build_engine(tactic_sources: str, timing_cache: Path) -> Build:
    def build_with(
        graph: Path, output: Path, batch: tuple[int, int, int] = (1, 32, 32), **options: object
    ) -> BuildResult:
        made = BuildOptions(
            profile=ProfileOptions(batch=batch),
            tactic_sources=tactic_sources,
            timing_cache=timing_cache,
            **options,  # type: ignore[arg-type]
        )
        return build(graph, output, made)

    return build_with


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Path:
    folder = Path(str(request.config.getoption("--vgg-runs")))
    if not (folder / "qat.pt").exists():
        message = f"no trained VGG-16 in '{folder}': run scripts/test-gpu, which trains one"
        if request.config.getoption("--require-gpu"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def vgg_data(request: pytest.FixtureRequest) -> str:
    return f"cifar10:{request.config.getoption('--vgg-data')}"


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session", params=["checkpoint", "torchscript"])
def vgg(request: pytest.FixtureRequest, runs: Path, work: Path, build_engine: Build) -> Artefacts:
    """Graph, engine and source of the trained VGG-16, from either kind of source."""
    source = (
        ModelSource(f"{VGG}:qat", runs / "qat.pt")
        if request.param == "checkpoint"
        else ModelSource(str(runs / "vgg16_qat.jit.pt"))
    )
    graph = work / f"vgg16-{request.param}.onnx"
    export_onnx(
        load_model(source), graph, ExportOptions((VGG_INPUT,)), provenance=source.describe()
    )
    engine = graph.with_suffix(".engine")
    build_engine(graph, engine)
    return graph, engine, source


@pytest.fixture(scope="session")
def resnet(work: Path, build_engine: Build) -> Artefacts:
    source = ModelSource(f"{RESNET}:qat")
    graph = work / "resnet50.onnx"
    export_onnx(load_model(source), graph, ExportOptions((RESNET_INPUT,)))
    engine = graph.with_suffix(".engine")
    build_engine(graph, engine)
    return graph, engine, source
