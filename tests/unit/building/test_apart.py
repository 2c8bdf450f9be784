"""A build in a process of its own: refused as one here, and no crash takes this process along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import apart_functions
from trtqat.apart import call_apart
from trtqat.building import apart
from trtqat.building.options import BuildOptions
from trtqat.errors import BuildError, UsageError


def test_a_builder_that_crashes_is_a_build_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        call_apart(apart_functions.crash)

    monkeypatch.setattr(apart, "call_apart", crash)
    with pytest.raises(BuildError, match=r"'.*m\.engine' was not built: crash .* SIGSEGV"):
        apart.build_plan_apart(tmp_path / "m.onnx", tmp_path / "m.engine", BuildOptions())


def test_a_build_is_refused_as_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no ONNX file"):
        apart.build_plan_apart(tmp_path / "none.onnx", tmp_path / "m.engine", BuildOptions())
