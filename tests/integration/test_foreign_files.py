"""Files of other tools through the command line: what is said of them is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from tests.support.foreign import Foreign, foreign
from tests.support.graphs import Graph, batch_norm
from trtqat.cli.app import app


def trtqat(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def convolution(made: Foreign) -> Graph:
    """A convolution with a BatchNorm behind it."""
    layer = made.layer(made.codes("x", 0.02), "conv", (8, 4, 3, 3))
    made.inputs.clear()
    made.batch_norm(layer, batch_norm(8), "y")
    return made


def depthwise() -> Graph:
    """As tf2onnx writes it: kernels first, channels in the middle."""
    made = Graph((2, 4, 6, 6))
    random = np.random.default_rng(0)
    made.constant("w", random.integers(-127, 128, (3, 3, 4, 1)).astype(np.int8))
    made.constant("s", random.uniform(0.01, 0.1, 4).astype(np.float32))
    made.constant("z", np.zeros(4, np.int8))
    made.constant("shape", np.array([3, 3, 1, 4]))
    weight = made.node("DequantizeLinear", ["w", "s", "z"], "wd", axis=2)
    weight = made.node("Reshape", [weight, "shape"], "wr")
    weight = made.node("Transpose", [weight], "wt", perm=[3, 2, 0, 1])
    layer = made.node("Conv", [made.pair("x", 0.1), weight], "conv", group=4)
    made.batch_norm(layer, batch_norm(4), "y")
    return made


FILES: dict[str, tuple[Callable[[], Graph], str]] = {
    "brevitas": (lambda: convolution(foreign(clip=(-127, 127))), "Clips of INT8 codes went"),
    "uint8": (
        lambda: convolution(foreign(dtype=np.uint8, zero_point=128)),
        "INT8 with zero-point 0",
    ),
    "microsoft": (lambda: convolution(foreign(domain="com.microsoft")), "com.microsoft"),
    "tensorflow": (depthwise, "their codes were moved, none changed"),
}


def write(folder: Path, graph: Graph) -> Path:
    path = folder / "file.onnx"
    onnx.save(graph.proto("y"), str(path))
    return path


@pytest.mark.parametrize("tool", FILES)
def test_export_makes_it_int8_and_says_how(tool: str, tmp_path: Path) -> None:
    make, words = FILES[tool]
    path = write(tmp_path, make())
    better = tmp_path / "better.onnx"
    made = trtqat("export", str(path), "-o", str(better), "--strict")
    assert made.exit_code == 0, made.stderr
    assert words in made.stderr
    assert "BatchNorm: 1 folded, 0 INT8 codes changed, 0 kept" in made.stdout
    assert "INT8: 1 of 1 layers, 100.0% of" in made.stdout
    assert trtqat("inspect", str(better), "--strict").exit_code == 0


@pytest.mark.parametrize("tool", ["brevitas", "uint8", "microsoft", "tensorflow"])
def test_inspect_names_what_export_would_mend(tool: str, tmp_path: Path) -> None:
    seen = trtqat("inspect", str(write(tmp_path, FILES[tool][0]())), "--json", "-")
    findings = json.loads(seen.stdout)["findings"]
    rules = {
        "brevitas": "node-inside-pair",
        "uint8": "codes-not-int8",
        "microsoft": "foreign-quantizer",
        "tensorflow": "weight-behind-moves",
    }
    assert rules[tool] in {each["rule"] for each in findings}
    assert all("skip=" not in each["example"] for each in findings)
    named = [each["remedy"] + each["example"] for each in findings if each["rule"] == rules[tool]]
    assert all("trtqat export" in each for each in named)


def test_uint8_of_another_zero_point_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, convolution(foreign(dtype=np.uint8, zero_point=3)))
    made = trtqat("export", str(path), "-o", str(tmp_path / "better.onnx"), "--strict")
    assert made.exit_code == 3
    assert "The codes of '/x.q' are uint8. [codes-not-int8]" in made.stderr
    assert "INT8: 0 of 1 layers, 0.0% of" in made.stdout


def test_plugin_beside_a_layer_leaves_no_share(tmp_path: Path) -> None:
    made = foreign()
    made.layer(made.codes("x", 0.02), "conv", (8, 4, 3, 3))
    made.inputs.clear()
    made.node("Plugin", ["conv"], "y", domain="my.plugins")
    seen = trtqat("inspect", str(write(tmp_path, made)))
    assert "%" not in seen.stdout.splitlines()[1]
    assert "not counted: '/y' (my.plugins::Plugin)" in seen.stdout
