"""The command line: in a process of its own, or in this one, which spares its imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from trtqat.cli.app import app


def in_process(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What ``trtqat`` returns, by the same code; what a command needs of a process is its test."""
    words = list(map(str, arguments))
    before, arguments_before = Path.cwd(), sys.argv
    os.chdir(cwd)
    # A report keeps the command line that it was made by.
    sys.argv = ["trtqat", *words]
    try:
        done = CliRunner().invoke(app, words)
    finally:
        os.chdir(before)
        sys.argv = arguments_before
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def trtqat(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trtqat", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
