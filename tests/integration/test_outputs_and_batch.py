"""What a model returns keeps its name, and the batch is where the graph says it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.support.outputs import Outputs
from tests.support.toolkits import ao, ao_deprecated, ao_model, modelopt
from trtqat.errors import ExportError, SourceError
from trtqat.evaluation.open_pytorch import open_pytorch
from trtqat.exporting.batch_dimension import check_batch_first
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import Exporter, ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.source import ModelSource
from trtqat.quant.quantize import quantize
from trtqat.quant.toolkits.quantizers import quantizers_of, read_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 8, 8))


MAKERS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "named like the input": (lambda x, z, y, m: {"x": y, "z": z}, ["x_output", "z"]),
    "twice": (lambda x, z, y, m: {"out": y, "aux": y, "mid": y + 1}, ["out", "aux", "mid"]),
    "the input": (lambda x, z, y, m: (x, x, y), ["output_0", "output_1", "output_2"]),
    "like parameters": (
        lambda x, z, y, m: {"first.weight": y, "last.bias": m.first.bias, "first.bias": z},
        ["first.weight", "last.bias", "first.bias"],
    ),
    "nested": (
        lambda x, z, y, m: {"a": [z, {"b": y, "c": None}], "x": (y,), "x_0": z},
        ["a_0", "a_1.b", "x_0", "x_0_1"],
    ),
}


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", MAKERS)
def test_outputs(name: str, exporter: Exporter, tmp_path: Path) -> None:
    make, names = MAKERS[name]
    torch.manual_seed(0)
    model = Outputs(make)
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 3, 8, 8)])
    path = tmp_path / "m.onnx"
    result = export_onnx(model, path, ExportOptions((X,), exporter=exporter))
    assert result.verification.sqnr_db > 100
    graph = onnx.load(str(path))
    onnx.checker.check_model(graph, full_check=True)
    assert [each.name for each in graph.graph.output] == names
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 3, 8, 8), np.float32)}
    expected = PyTorchModel(model, [X], device="cpu").session(5).run(inputs)
    actual = OnnxModel(path, as_written=True).session(5).run(inputs)
    assert list(expected) == list(actual) == names
    for each, array in expected.items():
        np.testing.assert_allclose(actual[each], array, rtol=0, atol=1e-5)
    renamed = [note for note in result.notes if "is called" in note]
    assert len(renamed) == {"named like the input": 1, "nested": 1}.get(name, 0)


def test_a_model_that_is_random_is_called_so(tmp_path: Path) -> None:
    class Dropping(Outputs):
        def forward(self, x: torch.Tensor) -> Any:
            # It drops in eval mode, too, unless it is told whether the model trains.
            return super().forward(nn.functional.dropout(x, 0.5))

    model = Dropping(lambda x, z, y, m: {"same": x.sum(1) * 0, "y": y})
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 3, 8, 8)])
    message = r"returns other values .* output 'y' is at -?[\d.]+ dB from the run before"
    with pytest.raises(ExportError, match=message) as raised:
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))
    assert "training=self.training" in raised.value.remedy


class Counting(nn.Module):
    """Multiplies by the number of its runs, before a layer that is quantized."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.last, self.runs = nn.Linear(8, 5), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        y = torch.relu(self.second(torch.relu(self.first(x)))) * (1 + 0.5 * self.runs)
        last: torch.Tensor = self.last(y.mean((2, 3)))
        return last


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_model_that_counts_its_runs_is_called_so(exporter: Exporter, tmp_path: Path) -> None:
    """Where the pieces are those of one run, the difference looks like rounding."""
    model = quantize(Counting(), [torch.randn(8, 3, 8, 8) for _ in range(3)]).model
    with pytest.raises(ExportError, match="returns other values"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,), exporter=exporter))
    assert not (tmp_path / "m.onnx").exists()


def test_an_output_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    model = Outputs(lambda x, z, y, m: {"y": y, "sizes": [3]})
    insert_quantizers(model)
    calibrate(model, [torch.randn(4, 3, 8, 8)])
    with pytest.raises(SourceError, match="output 'sizes_0' is of type int"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))


class Encoder(nn.Module):
    """A layer that PyTorch computes by one operator in eval mode, and a head."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.layer(x).mean(1))
        return y


@pytest.mark.parametrize(("norm_first", "exporter"), [(False, "dynamo"), (True, "torchscript")])
def test_fused_attention(exporter: Exporter, tmp_path: Path, *, norm_first: bool) -> None:
    torch.manual_seed(0)
    model = Encoder(norm_first=norm_first)
    inserted = insert_quantizers(model)
    calibrate(model, [torch.randn(4, 5, 8)])
    path, spec = tmp_path / "m.onnx", TensorSpec("x", (1, 5, 8))
    result = export_onnx(model, path, ExportOptions((spec,), exporter=exporter))
    assert result.pairs == 2 * len(inserted) == 6
    assert result.verification.sqnr_db > 100
    names = OnnxModel(path).quantizers
    assert set(names) == set(read_quantizers(model))
    assert torch.backends.mha.get_fastpath_enabled()


class Recurrent(nn.Module):
    """A quantized layer before a recurrent one, which may be given its state."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.before, self.rnn = nn.Linear(6, 8), rnn

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> Any:
        return self.rnn(self.before(x), h)


SEQUENCE, STATE = TensorSpec("x", (1, 5, 6)), TensorSpec("h", (2, 1, 8))


def recurrent(rnn: nn.Module, *samples: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = Recurrent(rnn)
    insert_quantizers(model)
    calibrate(model, [tuple(samples)])
    return model.eval()


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_batch_behind_the_sequence(kind: Any, tmp_path: Path) -> None:
    model = recurrent(kind(8, 8), torch.randn(5, 4, 6))
    with pytest.raises(SourceError, match=r"'x' has its batch in dimension 1, as \(1, N, 6\)"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((SEQUENCE,)))
    options = ExportOptions(
        (TensorSpec("x", (5, 2, 6)),), static_batch=True, exporter="torchscript"
    )
    assert export_onnx(model, tmp_path / "m.onnx", options).verification.sqnr_db > 100


def test_batch_of_a_state(tmp_path: Path) -> None:
    model = recurrent(nn.GRU(8, 8, 2, batch_first=True), torch.randn(4, 5, 6), torch.randn(2, 4, 8))
    with pytest.raises(SourceError, match=r"'h' .* 1: .* x \(N, 5, 6\), h \(2, N, 8\)"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((SEQUENCE, STATE)))


def test_batch_first_is_no_finding() -> None:
    first = recurrent(nn.GRU(8, 8, batch_first=True), torch.randn(4, 5, 6))
    assert check_batch_first(first, [SEQUENCE], 0) == []
    attention = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).eval()
    assert check_batch_first(attention, [TensorSpec("src", (1, 5, 6))], 0) == []
    behind = nn.TransformerEncoderLayer(6, 2, 8).eval()
    with pytest.raises(SourceError, match="'src' has its batch in dimension 1"):
        check_batch_first(behind, [TensorSpec("src", (1, 5, 6))], 0)


class Similarity(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x.T


def test_samples_that_meet_are_told() -> None:
    notes = check_batch_first(Similarity(), [TensorSpec("x", (1, 6))], 0)
    assert len(notes) == 1
    assert "'output' of a sample depends on the other samples" in notes[0]


class Stacked(nn.Module):
    """Returns what two layers make of each sample, as DETR's decoders do."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.sin(), torch.stack([x.sin(), x.cos()])


def test_a_stack_of_as_many_layers_as_samples_mixes_none() -> None:
    assert check_batch_first(Stacked(), [TensorSpec("x", (1, 6))], 0) == []


def test_projections_are_refused(tmp_path: Path) -> None:
    model = Recurrent(nn.LSTM(8, 8, batch_first=True, proj_size=4))
    with pytest.raises(SourceError, match=r"'rnn' is an LSTM with projections \(proj_size=4\)"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((SEQUENCE,)))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_torchscript_inside_is_refused(exporter: Exporter, tmp_path: Path) -> None:
    script: Any = torch.jit.script
    model = nn.Sequential(nn.Conv2d(3, 4, 1), script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())))
    int8 = quantize(model, [torch.randn(2, *X.shape[1:])]).model
    with pytest.raises(SourceError, match="The submodule '1' is TorchScript, which neither"):
        export_onnx(int8, tmp_path / "m.onnx", ExportOptions((X,), exporter=exporter))


def test_converted_models_are_refused(tmp_path: Path) -> None:
    with ao_deprecated(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        converted = ao.convert(ao_model())
    with pytest.raises(SourceError, match=r"already converted .* before convert"):
        export_onnx(converted, tmp_path / "m.onnx", ExportOptions((X,)))


def test_disabled_quantizers_are_called_disabled(tmp_path: Path) -> None:
    model = Outputs(lambda x, z, y, m: y)
    insert_quantizers(model)
    for _, module, _ in quantizers_of(model):
        quantizer: Any = module
        quantizer.disable_quant()
    with pytest.raises(SourceError, match=r"All 4 quantizers .* disabled, as 'first\._input"):
        export_onnx(model, tmp_path / "m.onnx", ExportOptions((X,)))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_quantizers_in_lists(exporter: Exporter, tmp_path: Path) -> None:
    """ModelOpt's recurrent layers reach their quantizers through a list."""
    toolkit = modelopt()
    torch.manual_seed(0)
    model = Recurrent(nn.LSTM(8, 8, batch_first=True))
    with quiet_toolkit():
        model = toolkit.quantize(
            model, toolkit.INT8_DEFAULT_CFG, lambda each: each(torch.randn(4, 2, 6))
        )
    options = ExportOptions((TensorSpec("x", (1, 2, 6)),), exporter=exporter)
    result = export_onnx(model, tmp_path / "m.onnx", options)
    assert not any("never run" in note for note in result.notes)
    graph = onnx.load(str(tmp_path / "m.onnx"))
    pairs = [n for n in graph.graph.node if "rnn/layer_0_input_quantizer/Quantize" in n.name]
    # Input, state and cell of two steps; the first state and cell may be one constant.
    assert len(pairs) in (5, 6)


_FACTORY = """
import torch
from tests.support.outputs import Outputs
from trtqat.quant.training import calibrate, insert_quantizers

def qat(skip=""):
    torch.manual_seed(0)
    model = Outputs(lambda x, z, y, m: y)
    insert_quantizers(model, skip=[skip] if skip else [])
    calibrate(model, [torch.randn(4, 3, 8, 8)])
    return model
"""


def test_a_model_without_a_quantizer_of_the_graph_is_another(tmp_path: Path) -> None:
    factory, path = tmp_path / "f.py", tmp_path / "m.onnx"
    factory.write_text(_FACTORY)
    source = f"{factory}:qat"
    export_onnx(load_model(source), path, ExportOptions((X,), exporter="torchscript"))
    graph = OnnxModel(path)
    open_pytorch(ModelSource(source), graph, has_quantizers=True)
    with pytest.raises(SourceError, match=r"no quantizer 'last\._input_quantizer', which has a Q"):
        open_pytorch(ModelSource(source, None, ["skip=last"]), graph, has_quantizers=True)
