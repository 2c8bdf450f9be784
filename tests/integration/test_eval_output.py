"""What ``trtqat eval`` writes, and where to: files, standard output, a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from trtqat.cli.app import app
from trtqat.text import escape, visible, visible_line

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[31m[bold]red[/bold]\u202e\x9b"
SHOWN = r"\x1b]0;title\x07\x1b[2J\x1b[31m[bold]red[/bold]\u202e\x9b"

FUNCTIONS = """
import numpy as np
print("imported")
class Rows:
    def __len__(self):
        return 6
    def batch(self, start, stop):
        print("batch", start)
        from trtqat.data.batches import Batch
        return Batch({"x": np.ones((stop - start, 4), np.float32)})
def rows():
    print("called")
    return Rows()
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        print("forward")
        return {"y": x, "z": 2.2 * x}
def net():
    print("made")
    return Net()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A graph of the outputs ``y``, its input, and ``z``, twice as much."""
    monkeypatch.chdir(tmp_path)
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("Mul", ["x", "two"], ["z"]),
    ]
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xyz")
    graph = helper.make_graph(nodes, "g", [x], [y, z], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, "m.onnx")
    (tmp_path / "f.py").write_text(FUNCTIONS)
    return tmp_path


def trtqat(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["eval", "m.onnx", "--duration", "0", *arguments])


def test_what_user_code_prints_goes_to_standard_error(folder: Path) -> None:
    command = ["--data", "f.py:rows", "--batch-size", "2", "--baseline", "f.py:net"]
    done = trtqat(*command, "--json", "-")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    (subject,) = [each for each in report["contenders"] if each["role"] == "subject"]
    outputs = subject["to_baseline"]["agreement"]["outputs"]
    assert [each["name"] for each in outputs] == ["y", "z"]
    for printed in ("imported", "called", "batch 0", "batch 4", "made", "forward"):
        assert f"{printed}\n" in done.stderr
    done = trtqat(*command)
    assert done.exit_code == 0
    assert "batch 0" not in done.stdout
    assert "| numpy" not in done.stdout
    assert "Nx4" in done.stdout


def test_the_gate_on_the_command_line(folder: Path) -> None:
    command = ["--data", "random:4", "--batch-size", "2", "--baseline", "f.py:net"]
    assert trtqat(*command, "--min-sqnr-db", "20").exit_code == 0
    done = trtqat(*command, "--min-sqnr-db", "21", "--json", "r.json", "--html", "r.html")
    assert done.exit_code == 3
    assert "The SQNR of the output 'z' is 20.8 dB, less than 21." in done.stderr
    assert json.loads((folder / "r.json").read_text())["failed_gates"]
    assert "Every output" in (folder / "r.html").read_text()
    done = trtqat("--data", "random:4", "--min-sqnr-db", "21")
    assert done.exit_code == 2
    assert "needs the outputs of a baseline" in done.stderr


@pytest.mark.parametrize(
    "option",
    [
        ("--in-flight", "3"),
        ("--device", "0"),
        ("--allow-engine-code",),
        ("--no-cuda-graph",),
        ("--graph", "m.onnx"),
        ("--timing-cache", "t.cache", "--locate"),
    ],
)
def test_options_for_engines_are_not_ignored(folder: Path, option: tuple[str, ...]) -> None:
    done = trtqat("--data", "random:4", *option)
    assert done.exit_code == 2
    assert f"'m.onnx' is a graph itself; {option[0]} is for engines." in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_files_come_before_standard_output(folder: Path) -> None:
    command = [sys.executable, "-m", "trtqat", "eval", "m.onnx", "--data", "random:4"]
    command += ["--duration", "0", "--json", "r.json", "--html", "r.html"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert json.loads((folder / "r.json").read_text())["images"] == 4
    assert (folder / "r.html").read_text().endswith("</html>\n")


def test_a_file_that_cannot_be_written_takes_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("trtqat.cli.output.write_atomically", full)
    done = trtqat("--data", "random:4", "--json", "r.json", "--html", "r.html")
    assert done.exit_code != 0
    assert (folder / "r.html").exists()
    assert "random; " in done.stdout


def test_names_are_shown_and_not_obeyed(folder: Path) -> None:
    model = onnx.load("m.onnx")
    model.graph.node[1].output[0] = model.graph.output[1].name = EVIL
    onnx.save(model, "m.onnx")
    (folder / "g.py").write_text(FUNCTIONS.replace('"z"', repr(EVIL)))
    command = ["--data", "random:4", "--batch-size", "2", "--baseline", "g.py:net"]
    done = trtqat(*command, "--min-sqnr-db", "21", "--html", "r.html")
    assert done.exit_code == 3
    assert SHOWN in done.stdout
    assert SHOWN in done.stderr
    page = (folder / "r.html").read_text()
    for text in (done.stdout, done.stderr, page):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert SHOWN in page
    np.savez("d.npz", **{EVIL: np.ones(3)})  # type: ignore[arg-type]
    done = trtqat("--data", "npz:d.npz")
    assert done.exit_code == 2
    assert SHOWN in done.stderr
    done = trtqat("--data", f"npz:{EVIL}.npz")
    assert done.exit_code == 2
    assert SHOWN in done.stderr
    assert "\x1b" not in done.stderr


def test_what_is_printable_stays() -> None:
    for text in ("häßlich → 日本語", "two\nlines\tand a tab", "non-breaking\xa0space", ""):
        assert visible(text) == text
    assert visible("\r\x00\x7f\x85\ud800\u2028") == r"\r\x00\x7f\x85\ud800\u2028"
    assert visible_line("a\nb\tc") == r"a\nb\tc"
    assert escape("<b>\x1b&") == r"&lt;b&gt;\x1b&amp;"
