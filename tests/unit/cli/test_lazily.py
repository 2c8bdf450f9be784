"""What a command imports for arithmetic that it seldom does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.support.graphs import Graph

IN_COMMAND = """
import sys
sys.argv = ["trtqat", *{arguments!r}]
from trtqat.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code, file=sys.stderr)
print(sorted(sys.modules), file=sys.stderr)
"""

LATER = """
import sys
from trtqat.cli.lazily import import_lazily
{before}
import_lazily()
import onnx_ir
print("sympy.core" in sys.modules)
print(onnx_ir.SymbolicDim("N") * 2 + 1)
print(isinstance(onnx_ir.SymbolicDim("N") / 2, onnx_ir.SymbolicDim), "sympy.core" in sys.modules)
import sympy.abc
from sympy import Symbol
print(Symbol("x") == sympy.abc.x)
"""

NOWHERE = """
from trtqat.cli.lazily import import_lazily
import_lazily(["no.where", "nowhere"])
try:
    import nowhere
except ModuleNotFoundError as error:
    print(error)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("command", [["lint"], ["inspect"], ["export", "-o", "out.onnx"]])
def test_commands_that_read_a_graph_do_without_sympy(command: list[str], tmp_path: Path) -> None:
    graph = Graph((2, 3, 8, 8))
    graph.node("Relu", [graph.pair("x", 0.1)], "y")
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    words = [str(tmp_path / word) if word.endswith(".onnx") else word for word in command]
    done = run(IN_COMMAND.format(arguments=[words[0], str(path), *words[1:]]))
    code, modules = done.stderr.splitlines()[-2:]
    assert code == "0", done.stderr
    assert "onnx_ir" in ast.literal_eval(modules)
    assert "sympy.core" not in ast.literal_eval(modules)


@pytest.mark.parametrize(("before", "was_there"), [("", False), ("import sympy", True)])
def test_it_is_there_when_it_is_asked(before: str, was_there: bool) -> None:
    """Also as a package, and where it was imported before."""
    done = run(LATER.format(before=before))
    assert done.stdout.splitlines() == [str(was_there), "2*N + 1", "True True", "True"]


def test_a_module_that_is_nowhere_is_missed_as_ever() -> None:
    assert run(NOWHERE).stdout == "No module named 'nowhere'\n"
