"""What ``trtqat build --for rtx`` refuses, and what it says where its library is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from onnx import TensorProto, helper
from typer.testing import CliRunner

import trtqat as package
from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved, two_layers, two_layers_in
from trtqat.cli.app import app
from trtqat.errors import UsageError
from trtqat.plan.manifest import read_manifest


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return two_layers_in(tmp_path)


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
        (("--no-fp16",), "--no-fp16 is not for TensorRT for RTX: the types of the graph decide"),
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


@pytest.mark.parametrize("batch", ["1:8:16", "8"])
def test_two_batches_of_one_name(batch: str, tmp_path: Path) -> None:
    made = Graph(("N", 4, 6, 6), inputs={"other": ("N", 4, 6, 6)})  # type: ignore[arg-type]
    for name in ("x", "other"):
        made.conv(made.pair(name, 0.1), f"of_{name}")
    path = saved(made.proto("of_x", "of_other"), tmp_path / "m.onnx")
    shapes = ("--shapes", "x:1:2:4x4x6x6", "--batch", batch)
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx", *shapes)
    assert done.returncode == 1
    assert "give both the same one in --shapes, and leave out --batch" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["m.onnx"]


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    """Its parser would call the input '__x'; both ways out keep the names."""
    proto = two_layers().proto("second", "x")
    proto.graph.output[1].CopyFrom(proto.graph.input[0])
    path = saved(proto, tmp_path / "m.onnx")
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx")
    assert done.returncode != 0
    assert "The output 'x'" in done.stderr
    assert "would be called '__x'" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["m.onnx"]

    onnx.utils.extract_model(str(path), str(tmp_path / "less.onnx"), ["x"], ["second"])
    made = two_layers()
    made.node("Identity", ["x"], "same")
    saved(made.proto("second", "same"), tmp_path / "more.onnx")
    for name, outputs in (("less", ["second"]), ("more", ["second", "same"])):
        options = ("--for", "rtx", "--shapes", "x:2x4x6x6")
        done = in_process(tmp_path, "build", f"{name}.onnx", "-o", f"{name}.engine", *options)
        assert done.returncode == 0, done.stderr
        manifest = read_manifest(tmp_path / f"{name}.engine")
        assert manifest is not None
        assert [each.name for each in manifest.inputs] == ["x"]
        assert [each.name for each in manifest.outputs] == outputs


def test_targets_of_another_type(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The targets"):
        package.build(graph, tmp_path / "m.engine", for_="rtx", targets=89)  # type: ignore[arg-type]
    default = package.build(graph, tmp_path / "m.engine", for_="rtx", targets=None)
    assert default.manifest.targets == ("8.0", "8.6", "8.9", "12.0+")


def test_types_that_numpy_lacks(tmp_path: Path) -> None:
    given, made = two_layers().proto("second"), two_layers()
    given.graph.node.insert(0, helper.make_node("Cast", ["b"], ["x"], to=TensorProto.FLOAT))
    given.graph.input[0].name = "b"
    given.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    made.node("Cast", ["second"], "y", to=TensorProto.BFLOAT16)
    for proto, says in ((given, "Input 'b'"), (made.proto("y"), "Output 'y'")):
        path = saved(proto, tmp_path / "m.onnx")
        done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx")
        assert done.returncode == 2
        assert f"{says} has a type that NumPy lacks (BF16)." in done.stderr
        assert sorted(os.listdir(tmp_path)) == ["m.onnx"]


@pytest.mark.parametrize("name", ["p.sig", "p.json", "p", "p.runtime-cache"])
def test_a_key_that_the_plan_would_take_the_place_of_is_kept(
    name: str, graph: Path, tmp_path: Path
) -> None:
    key = tmp_path / name
    private = Ed25519PrivateKey.generate()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    before = key.read_bytes()
    with pytest.raises(UsageError, match="would overwrite an input"):
        package.build(graph, tmp_path / "p", for_="rtx", sign=key)
    assert key.read_bytes() == before


def test_a_graph_and_its_weights_are_kept(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would overwrite an input"):
        package.build(graph, graph, for_="rtx")
    model = onnx.load(str(graph))
    apart = tmp_path / "apart.onnx"
    onnx.save(model, apart, save_as_external_data=True, location="p.json", size_threshold=0)
    before = (tmp_path / "p.json").read_bytes()
    with pytest.raises(UsageError, match=r"would overwrite an input, '.*p\.json'"):
        package.build(apart, tmp_path / "p", for_="rtx")
    assert (tmp_path / "p.json").read_bytes() == before
