"""What is held is closed at the end of a ``with`` statement, also behind an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.support.graphs import Graph
from trtqat.errors import UsageError
from trtqat.runtime.engine import Engine
from trtqat.runtime.held import Held
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.runtime.session import EngineSession
from trtqat.tensors import TensorSpec

BATCH = {"x": np.ones((2, 3), np.float32)}


def relu() -> bytes:
    graph = Graph((2, 3))
    graph.node("Relu", ["x"], "y")
    written: bytes = graph.proto("y").SerializeToString()
    return written


def test_a_graph_and_its_session() -> None:
    with OnnxModel(relu()) as model, model.session(2) as session:
        assert session.run(BATCH)["y"].tolist() == BATCH["x"].tolist()
    with pytest.raises(UsageError, match="closed"):
        session.run(BATCH)
    with pytest.raises(UsageError, match="closed"):
        model.session(2)


def test_a_pytorch_model_and_its_session() -> None:
    inputs = [TensorSpec("x", (-1, 3))]
    with (
        PyTorchModel(nn.ReLU(), inputs, device="cpu") as model,
        model.session(2) as session,
    ):
        (output,) = session.run(BATCH).values()
        assert output.tolist() == BATCH["x"].tolist()
    with pytest.raises(UsageError, match="closed"):
        session.run(BATCH)


def test_an_error_passes_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(relu())
    with pytest.raises(ZeroDivisionError), OnnxModel(path) as model:
        _ = 1 / 0
    with pytest.raises(UsageError, match=r"'m\.onnx' is closed"):
        model.session(2)


def test_an_engine_is_held_alike() -> None:
    """Its sessions need a GPU: tests/gpu."""
    assert issubclass(Engine, Held)
    assert issubclass(EngineSession, Held)
