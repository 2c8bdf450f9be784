"""``--device`` of the commands that use a GPU, on a host without one, or with two recorded ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import in_process
from tests.support.recorded_gpus import RecordedNvml
from tests.support.rtx_plans import write_graph
from trtqat.host import chosen_gpu
from trtqat.host.nvml import NvmlMissing

VARIABLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True)
def _nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_gpu, "_chosen", None)
    # So that it is set back, whatever is made of it.
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.delenv(VARIABLE)


def set_nvml(monkeypatch: pytest.MonkeyPatch, nvml: Any) -> None:
    @contextmanager
    def opened() -> Iterator[Any]:
        if nvml is None:
            raise NvmlMissing("there is no NVIDIA driver")
        yield nvml

    monkeypatch.setattr(chosen_gpu, "opened_nvml", opened)


def commands(folder: Path) -> dict[str, tuple[object, ...]]:
    graph = write_graph(folder)
    return {
        "build": ("build", graph, "-o", "m.engine"),
        "eval": ("eval", "m.engine", "--data", "random:4"),
        "inspect": ("inspect", "m.engine"),
        "tune": ("tune", graph, "-o", "tuned.onnx"),
    }


@pytest.mark.parametrize("name", ["build", "eval", "inspect", "tune"])
def test_there_is_no_such_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    set_nvml(monkeypatch, RecordedNvml())
    done = in_process(tmp_path, *commands(tmp_path)[name], "--device", "2")
    assert done.returncode == 2
    assert "--device 2 names no GPU; there are 2 here (0: NVIDIA H200, 1:" in done.stderr
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("name", ["build", "eval", "inspect", "tune"])
def test_cuda_sees_that_gpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    set_nvml(monkeypatch, RecordedNvml())
    monkeypatch.setenv(VARIABLE, "1,0")
    # No GPU is here, or no plan: the commands fail behind the choice.
    done = in_process(tmp_path, *commands(tmp_path)[name], "--device", "0")
    assert done.returncode in (0, 2, 4), done.stderr
    assert os.environ[VARIABLE] == "1"
    assert chosen_gpu.chosen_gpu() == 0


def test_no_gpu_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_nvml(monkeypatch, RecordedNvml())
    monkeypatch.setenv(VARIABLE, "-1")
    done = in_process(tmp_path, "eval", "m.engine", "--data", "random:4", "--device", "0")
    assert done.returncode == 4
    assert "CUDA_VISIBLE_DEVICES=-1 hides every GPU" in done.stderr


def test_where_no_gpu_is_used(tmp_path: Path) -> None:
    graph = write_graph(tmp_path)
    done = in_process(tmp_path, "inspect", graph, "--device", "0")
    assert done.returncode == 2
    assert "is a graph itself; --device is for engines" in done.stderr
    done = in_process(tmp_path, "build", graph, "-o", "m.engine", "--for", "rtx", "--device", "0")
    assert done.returncode == 2
    assert "TensorRT for RTX looks at no GPU when it builds" in done.stderr
