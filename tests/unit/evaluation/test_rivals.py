"""What an engine is compared with: the names, and what each of them lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.measured import NumpyModel
from tests.support.plans import make_manifest
from trtqat.building.float_engine import float_engine
from trtqat.errors import QuantizerError, SourceError, UsageError
from trtqat.evaluation.open import PyTorchSource
from trtqat.evaluation.rivals import (
    RivalOptions,
    find_graph,
    open_rivals,
    open_steps,
    parse_rivals,
)
from trtqat.files import sha256_of

PLAN = Path("m.engine")


def test_names() -> None:
    assert parse_rivals("") == ()
    assert parse_rivals("fp16, torch-fp16,fp16") == ("fp16", "torch-fp16")
    with pytest.raises(UsageError, match="'int4'") as error:
        parse_rivals("fp16,int4")
    assert "torch-compile" in error.value.remedy


def on_gpu() -> NumpyModel:
    model = NumpyModel()
    model.device = "cuda"
    return model


def test_a_graph_has_no_rivals() -> None:
    assert open_rivals(RivalOptions(()), NumpyModel(), PLAN) == []
    with pytest.raises(UsageError, match="--compare is for engines"):
        open_rivals(RivalOptions(("fp16",)), NumpyModel(), Path("m.onnx"))


def test_rivals_in_pytorch_need_the_model() -> None:
    with pytest.raises(UsageError, match="'torch-tf32' needs the PyTorch model"):
        open_rivals(RivalOptions(("torch-tf32",)), on_gpu(), PLAN)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    given = tmp_path / "m.onnx"
    given.write_bytes(b"another")
    engine = on_gpu()
    engine.manifest = make_manifest(b"")  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"is not the graph that 'm\.engine' was built from"):
        find_graph(engine, PLAN, given)
    engine.manifest = replace(make_manifest(b""), graph_sha256=sha256_of(given))  # type: ignore[attr-defined]
    assert find_graph(engine, PLAN, given) == given


def test_the_graph_must_be_there() -> None:
    assert find_graph(on_gpu(), PLAN, Path("given.onnx")) == Path("given.onnx")
    with pytest.raises(UsageError, match="does not lie beside it") as error:
        find_graph(on_gpu(), PLAN, None)
    assert "--graph" in error.value.remedy


def test_the_reference_is_for_engines() -> None:
    assert open_steps(NumpyModel(), Path("m.onnx")) == []
    with pytest.raises(UsageError, match="--reference is for engines"):
        open_steps(NumpyModel(), Path("m.onnx"), reference=True)


NET = """
import torch
from trtqat.quant.training import insert_quantizers

def plain():
    return torch.nn.Sequential(torch.nn.Linear(7, 7))

def uncalibrated():
    model = plain()
    insert_quantizers(model)
    return model
"""


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("plain", SourceError, "has no active quantizer, so it is not the model"),
        ("uncalibrated", QuantizerError, "has no amax"),
    ],
)
def test_the_fake_quantized_step_must_be_that(
    tmp_path: Path, factory: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "net.py").write_text(NET)
    source = PyTorchSource(f"{tmp_path / 'net.py'}:{factory}")
    with pytest.raises(error, match=message):
        open_steps(NumpyModel(), Path("m.onnx"), fake_quantized=source)


def test_a_float_engine_needs_the_manifest() -> None:
    with pytest.raises(UsageError, match="has no manifest"):
        float_engine(PLAN, None, Path("m.onnx"), "fp16")
