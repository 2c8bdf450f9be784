"""``trtqat.export``: strings, paths or objects, as the command line takes them."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import trtqat
from tests.support.checkpoints import qat
from trtqat.errors import SourceError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.graph.passes.improvements import ImproveOptions

FACTORY = """
from tests.support.checkpoints import qat as net

def qat(seed=0):
    return net(seed)
"""
INPUT = "x:2x3x8x8"


def metadata(path: Path) -> dict[str, Any]:
    (record,) = (each.value for each in onnx.load(str(path)).metadata_props)
    found: dict[str, Any] = json.loads(record)
    return found


def scales(path: Path) -> list[bytes]:
    graph = onnx.load(str(path)).graph
    return sorted(each.raw_data for each in graph.initializer if each.name.endswith("scale"))


def test_every_option_has_the_default_of_the_options() -> None:
    parameters = inspect.signature(trtqat.export).parameters
    for field in dataclasses.fields(ExportOptions):
        # Given otherwise: as text, with mean and std beside it.
        if field.name not in ("inputs", "opset", "improve", "dynamic", "pixels"):
            assert parameters[field.name].default == field.default, field.name
    # Texts that say nothing, as no dimension is open.
    assert parameters["dynamic"].default == ()
    assert ExportOptions(()).dynamic == {}
    for field in dataclasses.fields(ImproveOptions):
        assert parameters[field.name].default == field.default, field.name


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(FACTORY)
    return path


def test_a_factory_with_its_checkpoint(factory: Path, tmp_path: Path) -> None:
    torch.save(qat(seed=5).state_dict(), tmp_path / "qat.pt")
    output = tmp_path / "m.onnx"
    result = trtqat.export(
        f"{factory}:qat",
        str(output),
        checkpoint=str(tmp_path / "qat.pt"),
        factory_args=["seed=2"],
        inputs=[INPUT],
        exporter="torchscript",
    )
    assert (result.path, result.pairs, result.opset) == (output, 4, 17)
    record = metadata(output)
    assert record["source"] == "net.py:qat"
    assert record["checkpoint"] == "qat.pt"
    assert record["factory_args"] == {"seed": 2}
    # The model itself, with a specification in place of the text, gives the same graph.
    again = trtqat.export(
        qat(seed=5),
        tmp_path / "again.onnx",
        inputs=[trtqat.TensorSpec("x", (2, 3, 8, 8))],
        exporter="torchscript",
    )
    assert scales(output) == scales(again.path) != []
    # And so does the ONNX file, whose name says what it is.
    better = trtqat.export(str(output), tmp_path / "better.onnx", fold_batch_norm=False)
    assert metadata(better.path)["source"] == "m.onnx"
    assert scales(better.path) == scales(output)


def test_fp16_takes_the_opset_that_it_needs(tmp_path: Path) -> None:
    result = trtqat.export(
        qat(), tmp_path / "m.onnx", inputs=[INPUT], exporter="torchscript", precision="fp16"
    )
    assert result.opset == 19
    assert result.half is not None
    record = metadata(result.path)["verification"]
    assert record["fp16"]["sqnr_db"] == pytest.approx(result.half.agreement.sqnr_db)


def test_fp16_for_a_tensorrt_that_takes_it_by_itself(tmp_path: Path) -> None:
    """No opset is both FP16's and one that 8.6 reads."""
    with pytest.raises(UsageError, match=r"not for TensorRT 8\.6") as caught:
        trtqat.export(qat(), tmp_path / "m.onnx", inputs=[INPUT], precision="fp16", for_="8.6")
    assert "--opset" not in caught.value.remedy
    assert "Leave out --precision fp16" in caught.value.remedy
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("m.onnx", {"checkpoint": "qat.pt"}, "'m.onnx' is an ONNX file; it brings its weights"),
        ("m.onnx", {"factory_args": ["a=1"]}, "'m.onnx' is an ONNX file; it brings its weights"),
        ("m.onnx", {"static_batch": True}, "its batch stays as it is"),
        ("m.onnx", {"exporter": "dynamo"}, "its batch stays as it is"),
        (
            torch.nn.Linear(2, 2),
            {"checkpoint": "qat.pt"},
            "A model that is there already takes no checkpoint",
        ),
        (trtqat.ModelSource("a.py:f"), {"ema": True}, "A model that is there already"),
        ("net.py:qat", {"inputs": INPUT}, "inputs is 'x:2x3x8x8', a str"),
        ("net.py:qat", {"inputs": ["x"]}, "'x' is not an input specification"),
        ("net.py:qat", {"inputs": [3]}, "An input of ExportOptions is 3"),
        ("net.py:qat", {"ema": True}, "A choice of averaged or raw weights"),
        (torch.nn.Linear(2, 2), {"opset": 13, "precision": "fp16"}, "Opset 13 has no FP16"),
        (3, {}, "The source is 3, a int"),
    ],
)
def test_wrong_arguments_are_refused(
    source: Any,
    arguments: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        trtqat.export(source, "out.onnx", **arguments)
    assert said in str(caught.value)
    assert caught.value.remedy
    assert not Path("out.onnx").exists()


def test_the_source_is_never_overwritten(factory: Path) -> None:
    before = factory.read_bytes()
    with pytest.raises(UsageError, match="would overwrite an input"):
        trtqat.export(f"{factory}:qat", factory, inputs=[INPUT])
    with pytest.raises(SourceError, match="which function"):
        trtqat.export(factory, factory.with_suffix(".onnx"), inputs=[INPUT])
    assert factory.read_bytes() == before


def test_an_opset_without_channels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ExportOptions\.opset is 12\. Give 13 or more"):
        trtqat.export(torch.nn.Linear(2, 2), tmp_path / "m.onnx", opset=12)
