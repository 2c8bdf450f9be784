"""``trtqat build --for rtx`` as a user meets it, with the real library, on a host without a GPU."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

import trtqat as package
from tests.support import models
from tests.support.commands import in_process, trtqat
from tests.support.graphs import Graph
from trtqat.building import builder, made_plan, proof
from trtqat.building.builder import BuildResult
from trtqat.cli.app import app
from trtqat.errors import BuildError, GateError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.inspection.inspector import parse_information, read_layers
from trtqat.inspection.profiles import split_profiles
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import read_manifest
from trtqat.plan.signature import signature_path

PROOF = "inputs and weights are INT8 in the built plan"
NOT_RUN = "built and inspected, not run"


def two_layers() -> Graph:
    made = Graph((2, 4, 6, 6))
    first = made.node("Relu", [made.conv(made.pair("x", 0.1), "first", kernel=3)], "relu")
    made.conv(made.pair(first, 0.1), "second", kernel=3)
    return made


def saved(proto: onnx.ModelProto, path: Path) -> Path:
    onnx.save(proto, str(path))
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return saved(two_layers().proto("second"), tmp_path / "m.onnx")


def test_the_command(graph: Path, tmp_path: Path) -> None:
    layers = tmp_path / "layers.json"
    done = trtqat(
        tmp_path,
        *("build", graph, "-o", "m.engine", "--for", "rtx", "--targets", "sm89,sm86"),
        *("--require-int8", "--export-layer-info", layers),
    )
    assert done.returncode == 0, done.stderr
    assert "by TensorRT for RTX 1." in done.stdout
    assert "for compute capability 8.6, 8.9\n" in done.stdout
    assert f"INT8: 2 of 2 quantized layers, 100.0% of the arithmetic: {PROOF}" in done.stdout
    assert NOT_RUN in done.stdout

    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert (manifest.library, manifest.targets) == ("rtx", ("8.6", "8.9"))
    assert (manifest.gpu, manifest.driver) == ("", "")
    assert manifest.cuda in ("12", "13")
    content, header = read_plan(tmp_path / "m.engine")
    assert header.library == "rtx"
    assert manifest.tensorrt.startswith(".".join(map(str, header.version)))
    assert hashlib.sha256(content).hexdigest() == manifest.plan_sha256

    # What was exported is read as any other file of layers.
    read = in_process(tmp_path, "inspect", layers, "--graph", graph, "--require-int8")
    assert read.returncode == 0, read.stderr
    assert PROOF in read.stdout


def test_the_default_is_the_librarys_own(graph: Path, tmp_path: Path) -> None:
    manifest = package.build(graph, tmp_path / "m.engine", for_="rtx").manifest
    assert manifest.targets == ("8.0", "8.6", "8.9", "12.0+")
    assert manifest.built_for == "compute capability 8.0, 8.6, 8.9, 12.0 and newer"


@pytest.mark.parametrize("targets", ["sm75", ["7.5", "SM_89"]])
def test_turing_is_built_for_by_name(
    targets: str | list[str], graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = package.build(graph, tmp_path / "m.engine", for_="rtx", targets=targets)
    assert "7.5" in result.manifest.targets
    # No convolution of such a plan is INT8, for any of its targets.
    assert result.coverage is not None
    assert len(result.coverage.missed) == len(result.coverage.wanted) == 2
    assert "For sm75 (Turing) TensorRT for RTX has no INT8 convolution" in caplog.text


def test_any_host_sees_the_layers_later(graph: Path, tmp_path: Path) -> None:
    package.build(graph, tmp_path / "m.engine", for_="rtx")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("m.engine", "m.engine.json"):
        shutil.move(tmp_path / name, elsewhere / name)
    done = in_process(elsewhere, "inspect", "m.engine", "--require-int8", "-v")
    assert done.returncode == 0, done.stderr
    assert PROOF in done.stdout
    assert "not loaded here" in done.stdout
    assert "| /first " in done.stdout
    found = package.inspect(elsewhere / "m.engine")
    assert isinstance(found, package.InspectedPlan)
    assert found.coverage.missed == ()
    with pytest.raises(UsageError, match="--export-layer-info is for plans that are loaded"):
        package.inspect(elsewhere / "m.engine", export_layer_info=elsewhere / "layers.json")


def test_a_gate_that_is_not_met(tmp_path: Path) -> None:
    made = two_layers()
    weight = np.random.default_rng(0).normal(size=(4, 4, 2, 2)).astype(np.float32)
    name = made.pair(made.constant("up.weight", weight), np.full(4, 0.02), 1)
    made.node("ConvTranspose", [made.pair("second", 0.1), name], "up", strides=[2, 2])
    path = saved(made.proto("up"), tmp_path / "m.onnx")
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx", "--require-int8")
    assert done.returncode == 3
    assert "INT8: 2 of 3 quantized layers" in done.stdout
    assert "/up is not seen in INT8" in done.stdout
    assert "1 of 3 quantized layers are not seen in INT8, first '/up'" in done.stderr
    assert (tmp_path / "m.engine").exists()


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
sys.argv = ["trtqat", *{arguments!r}]
from trtqat.cli.main import main
main()
"""


def without(names: list[str], cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command on a host that lacks these modules."""
    code = WITHOUT.format(names=names, arguments=[str(each) for each in arguments])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


RTX = ["tensorrt_rtx", "tensorrt_rtx_bindings"]


def test_no_library(graph: Path, tmp_path: Path) -> None:
    done = without(RTX, tmp_path, "build", graph, "-o", "m.engine", "--for", "rtx")
    assert done.returncode == 4
    assert "needs TensorRT for RTX" in done.stderr
    assert "pip install -e '.[rtx]'" in done.stderr
    assert "Traceback" not in done.stderr
    both = without([*RTX, "tensorrt"], tmp_path, "build", graph, "-o", "m.engine")
    assert both.returncode == 4
    assert "needs TensorRT, which" in both.stderr
    assert "pip install -e '.[rtx]'" in both.stderr
    assert not (tmp_path / "m.engine").exists()


def test_where_only_this_one_is_installed(graph: Path, tmp_path: Path) -> None:
    done = without(["tensorrt"], tmp_path, "build", graph, "-o", "m.engine")
    assert done.returncode == 0, done.stderr
    assert "TensorRT is not installed here, so TensorRT for RTX builds." in done.stderr
    assert "by TensorRT for RTX" in done.stdout


def test_another_version_is_asked_for(graph: Path, tmp_path: Path) -> None:
    done = without(["tensorrt"], tmp_path, "build", graph, "-o", "m.engine", "--for", "10")
    assert done.returncode == 4
    assert "Building with TensorRT 10 needs TensorRT" in done.stderr
    unknown = in_process(tmp_path, "build", graph, "-o", "m.engine", "--for", "9")
    assert unknown.returncode == 2
    assert "'8.6', '10', '11', 'rtx'" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--targets", "sm90"), "does not build for compute capability 9.0"),
        (("--targets", "rtx4090"), "'rtx4090' is no compute capability. Write sm89 for 8.9."),
        (("--targets", "current"), "'current' is no compute capability"),
        (("--timing-cache", "t.cache"), "--timing-cache is not for TensorRT for RTX"),
        (("--tactic-sources", "-cudnn"), "--tactic-sources is not for TensorRT for RTX"),
        (("--version-compatible",), "--version-compatible is not for TensorRT for RTX"),
        (("--strip-weights",), "--strip-weights is not for TensorRT for RTX"),
        (("--hardware-compatibility", "ampere+"), "--hardware-compatibility is not for TensorRT"),
        (("--triton-repository", "models"), "--triton-repository is not for TensorRT for RTX"),
    ],
)
def test_options_that_it_does_not_take(
    arguments: tuple[str, ...], says: str, graph: Path, tmp_path: Path
) -> None:
    plan = str(tmp_path / "m.engine")
    done = CliRunner().invoke(app, ["build", str(graph), "-o", plan, "--for", "rtx", *arguments])
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert sorted(os.listdir(tmp_path)) == ["m.onnx"]


def test_the_targets_that_there_are(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        package.build(graph, tmp_path / "m.engine", for_="rtx", targets="sm90")
    assert caught.value.remedy == "It builds for sm75, sm80, sm86, sm89, sm120, sm121."


def test_a_graph_that_its_parser_refuses(tmp_path: Path) -> None:
    made = two_layers()
    made.node("Unheard", ["second"], "y", domain="of.nobody")
    path = saved(made.proto("y"), tmp_path / "m.onnx")
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx")
    assert done.returncode == 1
    assert "TensorRT for RTX 1." in done.stderr
    assert "node '/y' (Unheard)" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["m.onnx"]


def test_names_that_look_like_the_list_itself(tmp_path: Path) -> None:
    """What cannot be read for certain is not counted as INT8."""
    proto = two_layers().proto("second")
    hostile = "/second], Constants: [], LayerType: correlation, Inputs: ["
    next(node for node in proto.graph.node if node.name == "/second").name = hostile
    result = package.build(saved(proto, tmp_path / "m.onnx"), tmp_path / "m.engine", for_="rtx")
    assert result.coverage is not None
    assert [layer.name for layer in result.coverage.missed] == [hostile]
    with pytest.raises(GateError, match="1 of 2 quantized layers"):
        result.check_int8()


def test_nodes_without_names(tmp_path: Path) -> None:
    proto = two_layers().proto("second")
    for node in proto.graph.node:
        node.name = ""
    result = package.build(saved(proto, tmp_path / "m.onnx"), tmp_path / "m.engine", for_="rtx")
    assert result.coverage is not None
    assert len(result.coverage.wanted) == 2
    for layer in result.coverage.missed:
        assert layer.reason


def test_another_builder_in_the_process(graph: Path, tmp_path: Path) -> None:
    """The library warns of a second logger; the list of layers comes to the right one."""
    code = f"""
import tensorrt_rtx_libs, tensorrt_rtx_bindings as trt, trtqat
class Mine(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, message):
        pass
mine = Mine()
builder = trt.Builder(mine)
result = trtqat.build({str(graph)!r}, {str(tmp_path / "m.engine")!r}, for_="rtx")
result.check_int8()
print(len(result.coverage.wanted))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_several_builds_at_once_in_a_process(tmp_path: Path) -> None:
    results: dict[int, BuildResult] = {}

    def build(number: int) -> None:
        made = Graph((2, 4, 6, 6))
        data = "x"
        for depth in range(number):
            data = made.conv(made.pair(data, 0.1), f"layer{depth}", kernel=3)
        path = saved(made.proto(data), tmp_path / f"{number}.onnx")
        results[number] = package.build(path, tmp_path / f"{number}.engine", for_="rtx")

    threads = [threading.Thread(target=build, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for number, result in results.items():
        assert result.coverage is not None
        assert (len(result.coverage.wanted), result.coverage.missed) == (number, ())


def test_two_commands_into_one_file_at_once(graph: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trtqat",
        "build",
        str(graph),
        "-o",
        "m.engine",
        "--for",
        "rtx",
    ]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for each in running:
        _, errors = each.communicate()
        assert each.returncode == 0, errors
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    content = (tmp_path / "m.engine").read_bytes()
    assert manifest.plan_sha256 == hashlib.sha256(content).hexdigest()


def killed(command: list[str], cwd: Path, is_reached: Callable[[str], bool]) -> None:
    """Kills a process as soon as it has said something."""
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if is_reached(line):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert process.returncode in (-signal.SIGKILL, 0)


def test_killed_in_the_middle(tmp_path: Path) -> None:
    made = Graph((2, 4, 6, 6))
    data = "x"
    for depth in range(60):
        data = made.conv(made.pair(data, 0.1), f"layer{depth}", kernel=3)
    path = saved(made.proto(data), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "trtqat", "build", str(path), "-o", "m.engine"]
    killed([*command, "--for", "rtx"], tmp_path, lambda line: "is building" in line)
    files = sorted(os.listdir(tmp_path))
    # Either nothing, or all of it if it was done before the signal came.
    assert files in (["m.onnx"], ["m.engine", "m.engine.json", "m.onnx"])


def test_the_record_as_json(graph: Path, tmp_path: Path) -> None:
    done = in_process(tmp_path, "build", graph, "-o", "m.engine", "--for", "rtx", "--json", "-")
    record = json.loads(done.stdout)
    assert record["manifest"]["library"] == "rtx"
    assert record["coverage"]["wanted"] == 2
    assert {layer["weight_dtype"] for layer in record["coverage"]["layers"]} == {"int8"}
    assert record["coverage"]["has_kernels"] is False


def test_a_failed_build_leaves_no_trace_in_the_process(tmp_path: Path) -> None:
    """1.7.1 compiles what comes next in another way; so that is nothing of the user's."""
    made = Graph((2, 4, 6, 6))
    half = made.constant("half", np.array(0.05, np.float32))
    names = [made.node("Add", [half, half], "scale"), made.constant("zero", np.array(0, np.int8))]
    made.node("QuantizeLinear", ["x", *names], "q")
    made.conv(made.node("DequantizeLinear", ["q", *names], "dq"), "y")
    path = saved(made.proto("y"), tmp_path / "m.onnx")

    def kinds() -> list[str]:
        layers = package.build(path, tmp_path / "m.engine", for_="rtx").layers
        assert layers is not None
        return [layer["LayerType"] for layer in layers["Layers"]]

    product = Graph((2, 8))
    weight = product.constant("w", np.eye(8, dtype=np.float32))
    product.node("MatMul", [product.pair("x", 0.1), product.pair(weight, 0.01)], "y")
    refused = saved(product.proto("y"), tmp_path / "product.onnx")
    before = kinds()
    with pytest.raises(BuildError, match="Turing"):
        package.build(refused, tmp_path / "no.engine", for_="rtx", targets="sm75")
    assert kinds() == before


def test_a_key_that_is_gone_when_the_plan_is_built(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took long to build is signed all the same."""
    private = Ed25519PrivateKey.generate()
    key = tmp_path / "key.pem"
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    made = made_plan.make_plan

    def remove_key_and_make(*arguments: Any) -> Any:
        key.unlink()
        return made(*arguments)

    monkeypatch.setattr(builder, "make_plan", remove_key_and_make)
    package.build(graph, tmp_path / "m.engine", for_="rtx", sign=key)
    assert signature_path(tmp_path / "m.engine").exists()


def test_targets_of_another_type(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The targets"):
        package.build(graph, tmp_path / "m.engine", for_="rtx", targets=89)  # type: ignore[arg-type]
    default = package.build(graph, tmp_path / "m.engine", for_="rtx", targets=None)
    assert default.manifest.targets == ("8.0", "8.6", "8.9", "12.0+")


@pytest.fixture(scope="module", params=["residual", "attention"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose batch is open."""
    made = models.EXAMPLES[request.param]
    path = tmp_path_factory.mktemp("open") / "m.onnx"
    export_onnx(made.qat(), path, ExportOptions(made.inputs))
    return path


def test_several_profiles_in_one_plan(example: Path, tmp_path: Path) -> None:
    """The builder lists the layers of each, as many as it lists for one, and each is proven."""
    layers = tmp_path / "layers.json"
    done = in_process(
        tmp_path,
        *("build", example, "-o", "m.engine", "--for", "rtx", "--batch", "1:4:8,1,4"),
        *("--require-int8", "--export-layer-info", layers),
    )
    assert done.returncode == 0, done.stderr
    assert "shapes of 3 profiles, for batch 1, 4, 1:4:8" in done.stdout
    assert "in each of 3 profiles (batch 1, 4, 1:4:8)" in done.stdout
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert (manifest.schema_version, len(manifest.all_profiles)) == (2, 3)
    assert manifest.coverage is not None
    assert len(manifest.coverage.wanted) >= 4
    assert manifest.coverage.missed == ()

    read = in_process(tmp_path, "inspect", layers, "--graph", example, "--require-int8")
    assert read.returncode == 0, read.stderr
    assert "in each of 3 profiles (profile 0, profile 1, profile 2)" in read.stdout

    found = split_profiles(read_layers(layers), 3, "m")
    for batch, profile in zip((1, 4, None), found, strict=True):
        products = [each for each in profile if each.is_product]
        # The shapes of a profile are those of its list, open ones where it is a range.
        shapes = [each.inputs[0].shape for each in products if each.inputs]
        assert len(products) >= 3
        assert {shape[0] if shape else None for shape in shapes} <= {batch, *sizes(batch)}
    alone = package.build(example, tmp_path / "one.engine", for_="rtx", batch=4)
    listed = parse_information(alone.layers, "one")
    assert [each.tactic for each in listed] == [each.tactic for each in found[1]]


def sizes(batch: int | None) -> set[int]:
    """What a product may have for its first dimension besides the batch: nine tokens a sample."""
    return set() if batch is None else {9 * batch}


def test_a_layer_that_one_profile_lacks_is_not_int8(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the builder had kept one profile's last product in floating point."""
    read = proof.read_logged_layers

    def changed(network: Any) -> Any:
        listed = dict(read(network))
        last = max(
            index
            for index, each in enumerate(listed["Layers"])
            if "_myl1_" in each["Name"] and each["LayerType"] in ("gemm", "correlation")
        )
        floats = [{**each, "Datatype": "Float"} for each in listed["Layers"][last]["Inputs"]]
        listed["Layers"][last] = {**listed["Layers"][last], "Inputs": floats}
        return listed

    monkeypatch.setattr(proof, "read_logged_layers", changed)
    built = package.build(example, tmp_path / "m.engine", for_="rtx", batch="1,4,8")
    assert built.coverage is not None
    (missed,) = built.coverage.missed
    assert missed.reason.startswith("in the profile for batch 4: in the plan it reads float32")
    with pytest.raises(GateError, match=r"1 of \d quantized layers are not seen in INT8"):
        built.check_int8()
