"""A function in a process of its own: what it logs and raises is as if it had run here."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from tests.support import apart_functions
from trtqat.apart import ChildError, call_apart
from trtqat.errors import UsageError


def test_it_runs_elsewhere_and_logs_here(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A command that ran in this process before may have left its own, for a stream that is closed.
    for name in ("trtqat", "tensorrt"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, logger=name)
    call_apart(apart_functions.write_process, tmp_path / "pid")
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("trtqat.there", f"Writing '{tmp_path / 'pid'}'."),
        ("tensorrt", "Built."),
    ]
    # What a library prints is no result of ours.
    out, err = capfd.readouterr()
    assert (out, err) == ("", "printed by a library\n")


def test_an_error_of_ours_is_raised_here() -> None:
    with pytest.raises(UsageError) as raised:
        call_apart(apart_functions.refuse)
    assert (raised.value.problem, raised.value.remedy) == ("'m.onnx' is none.", "Give another one.")


def test_any_other_end_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChildError, match="fail in a process of its own: it ended with code 1"):
        call_apart(apart_functions.fail)
    assert "of no class of ours" in capfd.readouterr().err
    with pytest.raises(ChildError, match="SIGSEGV"):
        call_apart(apart_functions.crash)


def test_a_process_that_does_not_even_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends without having read what was sent, which is more than a pipe holds."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ChildError, match="it ended with code 3"):
        call_apart(apart_functions.write_process, b" " * 10_000_000)
