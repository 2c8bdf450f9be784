"""Ctrl-C while the command line still imports what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOOK = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt as error:
                raise ImportError("half of a module") from error
sys.meta_path.insert(0, Interrupt())
sys.argv = ["trtqat", "export", "f.py:f", "-o", "m.onnx"]
from trtqat.cli.main import main
main()
"""


@pytest.mark.parametrize("name", ["typer", "trtqat.cli.console", "trtqat.cli.inspecting", "onnx"])
def test_interrupt_during_an_import(name: str, tmp_path: Path) -> None:
    """Before a command has begun and in it; an import may turn it into another error."""
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(name=name)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("Interrupted")
    assert done.stderr.count("\n") == 1


def test_nothing_is_imported_before_an_interrupt_is_answered() -> None:
    code = "import sys; import trtqat.cli.main; print(sorted({'typer', 'click'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
