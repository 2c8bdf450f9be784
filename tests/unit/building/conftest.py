"""What a build is tested with: a quantized graph, and a host whose TensorRT is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builder_host import Host
from tests.support.examples import exported


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network, exported once for all files; no test writes into its folder."""
    path, _ = exported("residual", tmp_path_factory.mktemp("graph"))
    return path.rename(path.with_name("m.onnx"))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)
