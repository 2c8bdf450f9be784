"""What is held is closed at the end of a ``with`` statement, also behind an error."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from tests.support.graphs import Graph
from trtqat.errors import PlanError, UsageError
from trtqat.runtime import engine
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


class _Engine:
    """What TensorRT's ICudaEngine says of a graph ``x → y``, as far as an Engine asks."""

    num_io_tensors = 2
    num_optimization_profiles = 1

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_dtype(self, name: str) -> type:
        return np.float32

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3)

    def get_tensor_mode(self, name: str) -> str:
        return {"x": "input", "y": "output"}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        raise RuntimeError("no profile")


class _Runtime:
    def __init__(self, logger: object) -> None:
        del logger

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        assert plan == b"plan"
        return _Engine()


class _WatchedEngine(Engine):
    """Keeps itself, and what it held when it was closed."""

    closed: list[Engine]
    loaded: list[weakref.ref[_Engine]]

    def close(self) -> None:
        if self._engine is not None:
            self.loaded.append(weakref.ref(self._engine))
            self.closed.append(self)
        super().close()


@pytest.mark.parametrize("fault", ["weights", "profiles"])
def test_an_engine_that_fails_half_made_is_closed(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = SimpleNamespace(
        Runtime=_Runtime, nptype=lambda kind: kind, TensorIOMode=SimpleNamespace(INPUT="input")
    )
    found = SimpleNamespace(
        require=lambda path: None,
        plan=b"plan",
        manifest=None,
        flavour=SimpleNamespace(flavour="full", load=lambda: trt),
        header=SimpleNamespace(is_version_compatible=False),
        code_allowed=False,
        plugins=(),
        needs_plugins=False,
    )
    monkeypatch.setattr(engine, "preflight", lambda path, **_: found)
    monkeypatch.setattr(engine, "open_device", lambda purpose: None)
    monkeypatch.setattr(engine, "make_logger", lambda trt: (None, None))
    weights = tmp_path / "none.onnx" if fault == "weights" else None
    kind, words = (PlanError, "There is no file") if weights else (RuntimeError, "no profile")
    monkeypatch.setattr(_WatchedEngine, "closed", [], raising=False)
    monkeypatch.setattr(_WatchedEngine, "loaded", [], raising=False)
    with pytest.raises(kind, match=words):
        _WatchedEngine(tmp_path / "m.engine", weights=weights)
    (half_made,), (loaded,) = _WatchedEngine.closed, _WatchedEngine.loaded
    # The engine itself is still referred to; what it held has gone.
    assert loaded() is None
    with pytest.raises(UsageError, match=r"'m\.engine' is closed"):
        half_made.session(1)
    half_made.close()  # a second call does nothing
