"""Graphs that are larger than an ONNX file can be, with a limit that small ones reach."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tests.support.graphs import Graph, batch_norm
from trtqat.building.source_graph import read_source_graph
from trtqat.errors import ExportError, GraphError, UsageError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.files import write_together
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import external_files, read_model
from trtqat.graph_file.serialized import StoredGraph, save, serialize
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, TensorSpec

FLOAT_WEIGHTS = ImproveOptions(int8_weights=False)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, with a limit of 1 kB for the weights of a graph."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("trtqat.graph_file.serialized._MAX_WEIGHTS", 1000)
    return folder


def source(folder: Path) -> Path:
    """A file with its weights beside it, as onnx writes it."""
    graph = Graph((2, 16, 5, 5))
    graph.conv(graph.pair("x", 0.05), "conv", (16, 16), kernel=3)
    graph.batch_norm("conv", batch_norm(16), "norm")
    graph.conv(graph.pair("norm", 0.05), "y", (16, 16), kernel=3)
    path = folder / "source.onnx"
    onnx.save(graph.proto("y"), str(path), save_as_external_data=True, location="w.bin")
    return path


def outputs(path: Path) -> Array:
    x = np.random.default_rng(1).normal(size=(2, 16, 5, 5)).astype(np.float32)
    return OnnxModel(path, as_written=True).session(2).run({"x": x})["y"]


@pytest.mark.parametrize("opset", [17, 19])
def test_a_large_graph_goes_through_the_export(opset: int, tmp_path: Path, temporary: Path) -> None:
    path = source(tmp_path)
    options = ExportOptions((), opset=opset, improve=FLOAT_WEIGHTS)
    result = improve_onnx(path, tmp_path / "out.onnx", options)
    assert result.batch_norms is not None
    assert result.batch_norms.count == 1
    weights = tmp_path / "out.onnx.data"
    assert external_files(result.path) == [weights]
    assert weights.stat().st_size > 2 * 16 * 16 * 9 * 4
    assert result.size_bytes == weights.stat().st_size + result.path.stat().st_size
    onnx.checker.check_model(str(result.path), full_check=True)
    np.testing.assert_allclose(outputs(result.path), outputs(path), atol=1e-4)
    assert not list(temporary.iterdir())


def test_fp16_of_a_large_graph(tmp_path: Path, temporary: Path) -> None:
    options = ExportOptions((), opset=19, precision="fp16", improve=FLOAT_WEIGHTS)
    result = improve_onnx(source(tmp_path), tmp_path / "out.onnx", options)
    assert result.half is not None
    assert result.half.agreement.sqnr_db > 30
    assert not list(temporary.iterdir())


def test_a_large_model_goes_through_the_export(tmp_path: Path, temporary: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
    insert_quantizers(model)
    x = torch.randn(5, 32)
    calibrate(model, [(x,)])
    options = ExportOptions(
        (TensorSpec("input", (1, 32)),), exporter="torchscript", improve=FLOAT_WEIGHTS
    )
    result = export_onnx(model.eval(), tmp_path / "out.onnx", options)
    assert external_files(result.path) == [tmp_path / "out.onnx.data"]
    expected = model(x).detach().numpy()
    found = OnnxModel(result.path, as_written=True).session(5).run({"input": x.numpy()})
    np.testing.assert_allclose(next(iter(found.values())), expected, atol=1e-5)
    assert not list(temporary.glob("trtqat-*"))


def test_without_its_weights_it_is_small_and_in_one_file(tmp_path: Path) -> None:
    result = improve_onnx(source(tmp_path), tmp_path / "out.onnx", ExportOptions(()))
    assert external_files(result.path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx", "source.onnx", "w.bin"]


def test_nothing_is_left_after_a_failure(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*graphs: Any, **_: Any) -> None:
        assert isinstance(graphs[0], StoredGraph)
        assert list(temporary.iterdir())
        raise ExportError("It differs.")

    monkeypatch.setattr("trtqat.exporting.from_onnx.verify", fails)
    with pytest.raises(ExportError):
        improve_onnx(source(tmp_path), tmp_path / "out.onnx", ExportOptions(()))
    assert not list(temporary.iterdir())
    assert not list(tmp_path.glob("*out.onnx*"))


def test_no_room_for_the_weights(tmp_path: Path, temporary: Path) -> None:
    model = read_model(source(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", lambda **_: str(temporary / "gone"))
        with pytest.raises(UsageError, match="cannot be written: No such file") as refused:
            serialize(model)
    assert "TMPDIR" in refused.value.remedy


def test_weights_that_are_read_are_not_written_over(tmp_path: Path) -> None:
    path = source(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "out.onnx.data")
    path.write_bytes(path.read_bytes().replace(b"w.bin", b"w.lnk"))
    (tmp_path / "w.lnk").symlink_to("out.onnx.data")
    with pytest.raises(UsageError, match=r"out.onnx.data' holds the weights of .*source.onnx"):
        improve_onnx(path, tmp_path / "out.onnx", ExportOptions(()))
    with pytest.raises(UsageError, match=r"w.lnk' holds weights of .*source.onnx"):
        improve_onnx(path, tmp_path / "w.lnk", ExportOptions(()))


@pytest.mark.usefixtures("temporary")
def test_the_file_lies_beside_its_weights_as_long_as_it_is_read(tmp_path: Path) -> None:
    stored = serialize(read_model(source(tmp_path)))
    assert isinstance(stored, StoredGraph)
    with stored.file() as path:
        assert outputs(path).shape == (2, 16, 5, 5)
    assert not path.exists()
    assert OnnxModel(stored).size_bytes == len(stored.content)


@pytest.mark.usefixtures("temporary")
def test_saved_weights_are_those_that_were_read(tmp_path: Path) -> None:
    path = source(tmp_path)
    save(read_model(path), tmp_path / "again.onnx")
    first, second = (read_model(each).graph for each in (path, tmp_path / "again.onnx"))
    assert first.initializers.keys() == second.initializers.keys()
    for name, value in first.initializers.items():
        other = second.initializers[name].const_value
        assert value.const_value is not None
        assert other is not None
        np.testing.assert_array_equal(value.const_value.numpy(), other.numpy())


def test_the_hash_covers_the_weights(tmp_path: Path) -> None:
    path = source(tmp_path)
    content, weights = path.read_bytes(), (tmp_path / "w.bin").read_bytes()
    expected = hashlib.sha256(content + weights).hexdigest()
    assert graph_sha256(path) == expected
    assert read_source_graph(path).sha256 == expected
    (tmp_path / "w.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert graph_sha256(path) != expected


def test_the_hash_of_one_file_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "location.onnx"
    graph = Graph((1, 4))
    graph.node("Relu", [graph.pair("x", 0.1, name="location")], "y")
    path.write_bytes(graph.proto("y").SerializeToString())
    assert graph_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_what_cannot_be_read_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read: Is a directory") as caught:
        graph_sha256(tmp_path)
    assert f"'{tmp_path}'" in caught.value.problem


def test_files_are_written_in_blocks(tmp_path: Path) -> None:
    blocks: Any = (bytes([each]) * 3 for each in range(5))
    write_together({tmp_path / "a": blocks, tmp_path / "b": b"whole"})
    assert (tmp_path / "a").read_bytes() == bytes(each for each in range(5) for _ in range(3))
    assert (tmp_path / "b").read_bytes() == b"whole"
