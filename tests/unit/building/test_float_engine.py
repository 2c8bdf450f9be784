"""When a float engine is built, and when one that lies there is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import models
from tests.support.plans import make_manifest
from trtqat.building import float_engine as module
from trtqat.building.builder import build
from trtqat.building.float_engine import FloatEngine, float_engine
from trtqat.building.options import SHARED, BuildOptions, options_again
from trtqat.errors import MissingError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.files import sha256_of
from trtqat.host.gpu import Gpu
from trtqat.plan.manifest import (
    ProfileShapes,
    RecordedOptions,
    manifest_path,
    read_manifest,
)

SHAPES = ProfileShapes((1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))


def export(path: Path, **options: Any) -> bytes:
    example = models.EXAMPLES["residual"]
    made = ExportOptions(example.inputs, exporter="torchscript", **options)
    export_onnx(example.qat(), path, made)
    return path.read_bytes()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return export(tmp_path_factory.mktemp("graph") / "m.onnx")


class Host:
    """A host whose builder writes down what it is asked for; nothing of TensorRT is claimed."""

    def __init__(self, folder: Path, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graph, self.plan = folder / "m.onnx", folder / "m.engine"
        self.graph.write_bytes(graph)
        self.built: list[BuildOptions] = []
        self.version, self.gpu = "8.6.0", "A GPU"
        self.options = RecordedOptions(tactic_sources="-cudnn", workspace_bytes=1000)
        self.profiles = {"x": SHAPES}
        self.more_profiles: tuple[dict[str, ProfileShapes], ...] = ()
        monkeypatch.setattr(module, "build_plan_apart", self.build)
        monkeypatch.setattr(
            module, "load_tensorrt", lambda purpose: type("Trt", (), {"__version__": self.version})
        )
        monkeypatch.setattr(module, "describe_gpu", lambda: Gpu(self.gpu, "9.0", "580", "13.0"))

    def build(self, graph: Path, output: Path, options: BuildOptions) -> None:
        self.built.append(options)
        output.write_bytes(b"a plan")
        manifest = replace(
            make_manifest(b"a plan"),
            graph=graph.name,
            graph_sha256=sha256_of(graph),
            tensorrt=self.version,
            gpu=self.gpu,
            profiles={"x": SHAPES},
            options=RecordedOptions(**{name: getattr(options, name) for name in SHARED}),
        )
        manifest_path(output).write_text(manifest.to_json())

    def get(self, *, reuse: bool = True, timing_cache: Path | None = None) -> FloatEngine:
        manifest = replace(
            make_manifest(b"a plan"),
            profiles=self.profiles,
            more_profiles=self.more_profiles,
            options=self.options,
        )
        return float_engine(
            self.plan, manifest, self.graph, "fp16", reuse=reuse, timing_cache=timing_cache
        )


@pytest.fixture
def host(tmp_path: Path, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, graph, monkeypatch)


def test_it_is_built_as_the_int8_engine_was_and_taken_again(host: Host) -> None:
    first = host.get()
    assert first == FloatEngine(host.plan.with_name("m.fp16.engine"), is_new=True)
    (options,) = host.built
    assert (options.precision, options.tactic_sources) == ("fp16", "-cudnn")
    assert options.workspace_bytes == 1000
    assert options.profile.opt_shapes == {"x": (4, 3, 16, 16)}
    assert host.get() == FloatEngine(first.path, is_new=False)
    assert len(host.built) == 1
    # Who trusts nothing that lies there gets a new one.
    assert host.get(reuse=False, timing_cache=Path("kernels.cache")).is_new
    assert [each.timing_cache for each in host.built] == [None, Path("kernels.cache")]


def test_one_of_other_profiles_is_not_taken(host: Host) -> None:
    first = host.get()
    (options,) = host.built
    assert options.profile.more == ()
    host.more_profiles = ({"x": ProfileShapes(*[(4, 3, 16, 16)] * 3)},)
    assert host.get().is_new
    assert host.built[1].profile.more[0].opt_shapes == {"x": (4, 3, 16, 16)}
    assert first.path == host.get().path


@pytest.mark.parametrize("change", ["options", "profiles", "tensorrt", "gpu", "plan", "graph"])
def test_another_one_is_not_taken(host: Host, change: str) -> None:
    path = host.get().path
    if change == "options":
        host.options = replace(host.options, workspace_bytes=2000)
    elif change == "profiles":
        host.profiles = {"x": replace(SHAPES, max=(9, 3, 16, 16))}
    elif change == "tensorrt":
        host.version = "8.6.1"
    elif change == "gpu":
        host.gpu = "Another"
    elif change == "plan":
        path.write_bytes(b"another plan")
    else:
        export(host.graph, static_batch=True)
    assert host.get().is_new
    assert len(host.built) == 2


def test_somebody_elses_engine_is_not_overwritten(host: Host) -> None:
    path = host.plan.with_name("m.fp16.engine")
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is in the way"):
        host.get()
    assert (path.read_bytes(), host.built) == (b"mine", [])


def test_an_fp16_graph_has_no_float_engine(host: Host) -> None:
    export(host.graph, opset=19, precision="fp16")
    with pytest.raises(UsageError, match="is an FP16 graph"):
        host.get()
    assert host.built == []


@pytest.fixture(scope="module")
def rtx_plan(graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is in the extra rtx")
    folder = tmp_path_factory.mktemp("rtx")
    (folder / "m.onnx").write_bytes(graph)
    build(folder / "m.onnx", folder / "m.engine", for_="rtx", targets="sm86,sm89")
    return folder / "m.engine"


def test_an_rtx_plan_is_compared_with_one_for_the_same_targets(rtx_plan: Path) -> None:
    """By the library itself, which builds without a GPU."""
    manifest, graph = read_manifest(rtx_plan), rtx_plan.with_suffix(".onnx")
    first = float_engine(rtx_plan, manifest, graph, "fp32")
    assert first.is_new
    described = read_manifest(first.path)
    assert described is not None
    assert (described.library, described.targets) == ("rtx", ("8.6", "8.9"))
    # The graph's types decide, in the INT8 one as well; so that is no option of the next build.
    assert manifest is not None
    assert (described.options.fp16, manifest.options.fp16) == (None, None)
    assert options_again(manifest, "m.engine", "int8").fp16
    assert not float_engine(rtx_plan, manifest, graph, "fp32").is_new
    # Of other targets it is another one.
    elsewhere = replace(manifest, targets=("8.9",))
    assert float_engine(rtx_plan, elsewhere, graph, "fp32").is_new


def test_it_has_no_fp16_engine_of_an_fp32_graph(rtx_plan: Path) -> None:
    graph = rtx_plan.with_suffix(".onnx")
    with pytest.raises(MissingError, match=r"TensorRT for RTX .* builds no FP16 engine"):
        float_engine(rtx_plan, read_manifest(rtx_plan), graph, "fp16")
    assert not rtx_plan.with_name("m.fp16.engine").exists()
