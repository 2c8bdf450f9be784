"""What an engine is compared with: the names, and what each of them lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.measured import DATA, NumpyModel
from tests.support.plans import make_manifest
from trtqat.building.float_engine import FloatEngine, float_engine
from trtqat.errors import QuantizerError, SourceError, UsageError
from trtqat.evaluation import rivals
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.open_pytorch import OpenOptions
from trtqat.evaluation.rivals import (
    open_fake_quantized,
    open_reference,
    open_rivals,
    parse_rivals,
)
from trtqat.exporting.source import ModelSource
from trtqat.files import sha256_of
from trtqat.host.flavours import TensorRTFlavour
from trtqat.runtime.engine import Engine
from trtqat.runtime.engine_graph import graph_of_plan

PLAN = Path("m.engine")


def test_names() -> None:
    assert parse_rivals("") == ()
    assert parse_rivals("fp16, torch-fp16,fp16") == ("fp16", "torch-fp16")
    with pytest.raises(UsageError, match="'int4'") as error:
        parse_rivals("fp16,int4")
    assert "torch-compile" in error.value.remedy


class OfEngine(NumpyModel):
    """What evaluation takes for an engine, without one."""

    # Nobody asks this engine for anything.
    engine = object.__new__(Engine)  # type: ignore[assignment]


def test_a_graph_has_no_rivals() -> None:
    assert list(open_rivals((), NumpyModel(), OpenOptions())) == []
    model = NumpyModel()
    model.path = Path("in/m.onnx")
    with pytest.raises(UsageError, match=r"'in/m\.onnx' is a graph; --compare is for engines"):
        list(open_rivals(("fp16",), model, OpenOptions()))


def test_a_model_on_a_gpu_is_no_engine_for_that() -> None:
    model = NumpyModel()
    model.device = "cuda"
    with pytest.raises(UsageError, match="--compare is for engines"):
        list(open_rivals(("fp16",), model, OpenOptions()))
    with pytest.raises(UsageError, match="--reference is for engines"):
        open_reference(model)


def test_rivals_in_pytorch_need_the_model() -> None:
    with pytest.raises(UsageError, match="'torch-tf32' needs the PyTorch model"):
        list(open_rivals(("torch-tf32",), OfEngine(), OpenOptions()))


def test_another_graph_is_refused(tmp_path: Path) -> None:
    given = tmp_path / "m.onnx"
    given.write_bytes(b"another")
    with pytest.raises(UsageError, match=r"is not the graph that 'm\.engine' was built from"):
        graph_of_plan(PLAN, make_manifest(b""), given)
    manifest = replace(make_manifest(b""), graph_sha256=sha256_of(given))
    assert graph_of_plan(PLAN, manifest, given) == given


def test_the_graph_must_be_there() -> None:
    assert graph_of_plan(PLAN, None, Path("given.onnx")) == Path("given.onnx")
    with pytest.raises(UsageError, match="does not lie beside it") as error:
        graph_of_plan(PLAN, None, None)
    assert "--graph" in error.value.remedy


def test_the_reference_is_for_engines() -> None:
    report = evaluate(NumpyModel(), DATA, batch_size=4, latency=None)
    assert (report.steps, report.way) == ((), ())
    with pytest.raises(UsageError, match="--reference is for engines"):
        open_reference(NumpyModel())
    with pytest.raises(UsageError, match="--reference is for engines"):
        evaluate(NumpyModel(), DATA, batch_size=4, latency=None, reference=True)


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
    source = ModelSource(f"{tmp_path / 'net.py'}:{factory}")
    with pytest.raises(error, match=message):
        open_fake_quantized(source, NumpyModel())


def test_a_float_engine_needs_the_manifest() -> None:
    with pytest.raises(UsageError, match="has no manifest"):
        float_engine(PLAN, None, Path("m.onnx"), "fp16")


@pytest.mark.parametrize(
    ("options", "cache"),
    [
        (OpenOptions(), None),
        (OpenOptions(runtime_cache="kernels"), None),
        (OpenOptions(runtime_cache="none"), "none"),
        (OpenOptions(trust="public.pem"), "none"),
    ],
)
def test_a_float_engine_is_run_by_the_library_of_the_subject(
    options: OpenOptions, cache: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its kernels in a file of its own, or in none where the subject reads none."""
    subject, plan = OfEngine(), tmp_path / "m.fp32.engine"
    asked: list[tuple[object, object]] = []
    subject.engine = SimpleNamespace(  # type: ignore[assignment]
        path=PLAN,
        manifest=None,
        source_graph=lambda given: given,
        plugins=(),
        tensorrt=TensorRTFlavour("rtx", "tensorrt_rtx_bindings", "1.7.1.116", ""),
    )
    monkeypatch.setattr(
        "trtqat.building.float_engine.float_engine", lambda *_, **__: FloatEngine(plan, is_new=True)
    )
    monkeypatch.setattr(
        rivals,
        "open_model",
        lambda path, *, flavour, runtime_cache, **_: asked.append((flavour, runtime_cache)),
    )
    list(open_rivals(("fp32",), subject, options))
    assert asked == [("rtx", cache)]
