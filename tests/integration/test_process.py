"""Standard output that cannot be written, and Ctrl-C before a command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.support.graphs import Graph
from tests.support.plans import make_plan

TRTQAT = (sys.executable, "-m", "trtqat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("process")
    graph = Graph((2, 4, 6, 6))
    graph.conv(graph.pair("x", 0.1), "y")
    onnx.save(graph.proto("y"), str(made / "m.onnx"))
    graph.constants["y.weight.scale"][2] = 0
    onnx.save(graph.proto("y"), str(made / "bad.onnx"))
    return made


def shell(
    folder: Path, line: str, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line.replace("trtqat", " ".join(TRTQAT))],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=folder,
    )


FULL = ">/dev/full", "error: Standard output cannot be written: No space left on device."
EVAL = "trtqat eval m.onnx --data random:4 --batch-size 2 --duration 0 -q"


@pytest.mark.parametrize(
    ("command", "where", "says"),
    [
        ("trtqat --help", *FULL),
        ("trtqat inspect m.onnx --json -", *FULL),
        ("trtqat doctor -q", *FULL),
        (EVAL, *FULL),
        ("trtqat export m.onnx -o out.onnx -q", *FULL),
        ("trtqat inspect m.onnx", ">&-", "error: Standard output is closed."),
        # To the pipe whose reader is gone.
        (EVAL, "", "error: Standard output was closed before everything was printed."),
    ],
)
def test_what_is_printed_is_lost(folder: Path, command: str, where: str, says: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = shell(folder, f"{command} {where}", stdout=writer)
    os.close(writer)
    assert done.returncode == 1
    problem, remedy = done.stderr.splitlines()[-2:]
    assert problem == says
    assert remedy.strip().endswith("files that were asked for do not depend on it.")
    assert "Traceback" not in done.stderr
    if "export" in command:
        assert (folder / "out.onnx").read_bytes()
        (folder / "out.onnx").unlink()


def test_files_are_written_and_gates_judged_all_the_same(folder: Path) -> None:
    done = shell(folder, f"{EVAL} --json r.json --html r.html >/dev/full")
    assert done.returncode == 1
    assert (folder / "r.json").stat().st_size > 100
    assert (folder / "r.html").stat().st_size > 100
    gate = shell(folder, "trtqat inspect bad.onnx --strict >/dev/full")
    assert gate.returncode == 3
    assert "Lint warns" in gate.stderr
    assert "No space left on device" in gate.stderr


@pytest.mark.parametrize("where", [">/dev/full 2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_nowhere_to_say_it(folder: Path, where: str) -> None:
    done = shell(folder, f"trtqat export m.onnx -o out.onnx {where}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert (folder / "out.onnx").read_bytes()


def test_only_standard_error_is_lost(folder: Path) -> None:
    done = shell(folder, "trtqat inspect m.onnx -v 2>/dev/full")
    assert done.returncode == 0
    assert "Q/DQ pairs" in done.stdout
    assert shell(folder, "trtqat inspect none.onnx 2>/dev/full").returncode == 2


def test_a_terminal_that_lacks_letters(folder: Path) -> None:
    (folder / "γ.onnx").write_bytes((folder / "m.onnx").read_bytes())
    done = shell(folder, "PYTHONIOENCODING=latin-1 trtqat inspect γ.onnx")
    assert done.returncode == 0
    assert done.stdout.startswith(r"\u03b3.onnx: ")


def test_a_name_that_is_no_text(folder: Path) -> None:
    done = subprocess.run(
        [*TRTQAT, "inspect", os.fsdecode(b"\xff.onnx")], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"There is no ONNX file" in done.stderr


# Ctrl-C while a module is imported that the command line itself needs; the second one as a
# library that makes something else of it.
INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                {then}

sys.meta_path.insert(0, Interrupt())
sys.argv = ["trtqat", "inspect", "m.onnx"]
from trtqat.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("name", "then", "said"),
    [
        ("typer", "raise", "Interrupted.\n"),
        ("trtqat.cli.doctor", "raise ImportError('half of a module')", "Interrupted.\n"),
        # While a command runs.
        ("onnx_ir", "raise ImportError('half')", "Interrupted; nothing half-written is left.\n"),
    ],
)
def test_interrupt_while_it_imports(folder: Path, name: str, then: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(name=name, then=then)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == said


@pytest.mark.parametrize(
    "command",
    [
        "inspect p.onnx",
        "inspect p.engine",
        "inspect p",
        "inspect p.json --graph m.onnx",
        "doctor p.engine",
        "doctor e.engine --trust p",
        "eval m.onnx --data random:2 --baseline-report p",
        "export p.onnx -o out.onnx",
        "export p.pt2 -o out.onnx",
    ],
)
def test_a_pipe_that_nobody_writes_to(folder: Path, command: str) -> None:
    """It would be waited for, without end."""
    for name in ("p", "p.onnx", "p.engine", "p.json", "p.pt2"):
        if not (folder / name).exists():
            os.mkfifo(folder / name)
    (folder / "e.engine").write_bytes(make_plan())
    done = shell(folder, f"trtqat {command}")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "p" in done.stdout + done.stderr


def test_cycles_are_looked_for_seldom_and_not_at_the_end(folder: Path) -> None:
    """Python would look through all of PyTorch again and again, and once more as it ends."""
    code = (
        "import atexit, gc, sys\n"
        "from trtqat.cli.main import main\n"
        "before = gc.get_threshold()[0]\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0, len(gc.get_objects()) < 1000,\n"
        "    gc.isenabled() and gc.get_threshold()[0] > 5 * before))\n"
        "sys.argv = ['trtqat', '--version']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    assert done.stdout.splitlines()[-1] == "True True True"
