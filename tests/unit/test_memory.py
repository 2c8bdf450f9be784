"""Inputs that do not fit into memory are refused before they are allocated."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.graphs import Graph
from trtqat import memory
from trtqat.data.synthetic import Random
from trtqat.errors import UsageError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.tensors import TensorSpec, random_arrays

HUGE = TensorSpec("x", (2, 2**20, 2**20))


def test_random_inputs() -> None:
    with pytest.raises(UsageError, match=r"x:2x1048576x1048576:float32 take 16,384.0 GiB"):
        random_arrays([HUGE], seed=0)
    with pytest.raises(UsageError, match=r"Random samples for x:.* take 16,384.0 GiB"):
        Random([HUGE], 2).batch(0, 2)


def test_a_graph_that_declares_a_large_input(tmp_path: Path) -> None:
    graph = Graph((1, 2**20, 2**21))
    graph.node("Relu", [graph.pair("x", 0.1)], "y")
    (tmp_path / "m.onnx").write_bytes(graph.proto("y").SerializeToString())
    with pytest.raises(UsageError, match=r"16,384.0 GiB; .* GiB of memory are free") as refused:
        improve_onnx(tmp_path / "m.onnx", tmp_path / "out.onnx", ExportOptions(()))
    assert refused.value.exit_code == 2


def test_what_is_free_is_what_the_host_and_the_process_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = memory.free_bytes()
    assert 2**20 < free < 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**20, 2**20))
    assert memory.free_bytes() == 0  # the process itself is larger
    with pytest.raises(UsageError, match=r"Samples take 0.0 GiB; 0.0 GiB of memory are free"):
        memory.check_fits(1, "Samples")
