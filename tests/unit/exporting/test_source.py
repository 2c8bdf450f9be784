"""Naming where a model comes from: arguments as text or as values, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trtqat.errors import UsageError
from trtqat.exporting.source import ModelSource


def test_arguments_are_text_or_values() -> None:
    text = ModelSource("net.py:qat", "qat.pt", ["width=64", "act=relu", "sizes=(1, 2)"], ema=True)
    assert text.factory_args == {"width": 64, "act": "relu", "sizes": (1, 2)}
    assert text == ModelSource(
        "net.py:qat", "qat.pt", {"width": 64, "act": "relu", "sizes": (1, 2)}, ema=True
    )
    assert replace(text, ema=False).factory_args == text.factory_args
    assert ModelSource("net.py:qat").factory_args == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["width"], "'width' is no factory argument"),
        (["2x=3"], "'2x=3' is no factory argument"),
        ([64], "where a list of names belongs"),
        ("width=64", "ModelSource.factory_args is 'width=64', a str"),
    ],
)
def test_wrong_arguments_are_refused(arguments: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ModelSource("net.py:qat", factory_args=arguments)  # type: ignore[arg-type]


def test_the_record_names_no_path_of_this_host(tmp_path: Path) -> None:
    weights = tmp_path / "qat.pt"
    weights.write_bytes(b"weights")
    described = ModelSource(f"{tmp_path / 'net.py'}:qat", weights, ["width=64"]).describe()
    assert described.source == "net.py:qat"
    assert described.checkpoint == "qat.pt"
    assert described.factory_args == {"width": 64}
    assert len(described.checkpoint_sha256 or "") == 64
    assert str(tmp_path) not in str(described)


def test_naming_a_model_needs_no_pytorch() -> None:
    code = "import sys, trtqat; trtqat.ModelSource('net.py:qat'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
