"""What ``trtqat.tune`` refuses to read, and to write over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.examples import exported
from tests.support.tuned import Card, data_for
from trtqat.errors import DataError, UsageError
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.tuning import tune


def test_data_that_does_not_fit_is_refused_before_anything_is_built(
    tmp_path: Path, card: Card
) -> None:
    path, _ = exported("residual", tmp_path)
    np.savez(tmp_path / "other.npz", other=np.zeros((4, 1, 2, 2), np.float32))
    (tmp_path / "bad.npz").write_bytes(b"bad")
    for data in ("other.npz", "bad.npz", "missing.npz"):
        with pytest.raises(DataError):
            tune(path, tmp_path / "tuned.onnx", TuneOptions(data=f"npz:{tmp_path / data}"))
    with pytest.raises(UsageError, match="no kind of data"):
        tune(path, tmp_path / "tuned.onnx", TuneOptions(data="what:ever"))
    assert card.made == []
    assert not (tmp_path / "tuned.onnx.tune").exists()


def test_what_is_read_is_not_written_over(tmp_path: Path, card: Card) -> None:
    """The weights of a graph, and the data, whatever name of an output leads to them."""
    path, _ = exported("residual", tmp_path)
    data = data_for("residual", tmp_path, labels=True)
    apart = tmp_path / "apart.onnx"
    weights = {name: tmp_path / name for name in ("weights.bin", "other.json", "third.cache")}
    for name, file in weights.items():
        onnx.save_model(
            onnx.load(path), apart, save_as_external_data=True, location=name, size_threshold=0
        )
        before = file.read_bytes()
        output = file if file.suffix == ".bin" else file.with_suffix(".onnx")
        with pytest.raises(UsageError, match="would overwrite an input"):
            tune(apart, output, TuneOptions())
        assert file.read_bytes() == before
    with pytest.raises(UsageError, match="would overwrite an input"):
        tune(path, tmp_path / "val.npz", TuneOptions(data=data))
    assert card.made == []


def test_a_pipe_is_no_output(tmp_path: Path, card: Card) -> None:
    path, _ = exported("residual", tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(UsageError, match="is no file"):
        tune(path, tmp_path / "pipe.onnx", TuneOptions())
    assert card.made == []
