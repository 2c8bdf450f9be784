"""What a user of the package meets first: its names, their reprs, and what closes when."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import trtqat
from tests.support.models import EXAMPLES
from trtqat.data.dataset import first
from trtqat.errors import PlanError, UsageError
from trtqat.evaluation.options import EvaluateOptions
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.extras import install
from trtqat.quant.training import insert_quantizers
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 16, 16))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    folder = tmp_path_factory.mktemp("with space")
    example = EXAMPLES["depthwise"]
    return export_onnx(example.qat(), str(folder / "m.onnx"), ExportOptions(example.inputs))


# What users may rely on: a name is added here with its reason, and none goes.
PUBLIC = {
    "Torch",  # ModelSource by a short name
    *("BuildOptions", "EvaluateOptions", "ExportOptions", "InspectOptions", "LatencyOptions"),
    *("BuildResult", "ExportResult", "InspectedEngine", "InspectedGraph", "InspectedLayers"),
    "fine_tune",  # what trtqat.quantize returned
    "InspectedPlan",  # what a build recorded, where the plan does not run
    *("Engine", "ModelSource", "OnnxModel", "PyTorchModel", "Report", "TensorSpec", "TrtqatError"),
    *("build", "evaluate", "export", "export_onnx", "inspect", "lint", "open", "preflight"),
    *("load_model", "load_state", "open_dataset"),
    *("quantize", "quantize_source", "load_quantized", "save_quantized"),  # from FP32 to INT8
    *("Quantized", "QuantizeResult"),
    "Pixels",  # what the bytes of each input mean, where --mean and --bgr are not of all
    *("tune", "TuneOptions", "TuneResult"),  # which regions are INT8 in the fastest engine
}


def test_public_names_are_these() -> None:
    assert set(trtqat.__all__) == PUBLIC
    assert sorted(trtqat.__all__) == list(trtqat.__all__)
    assert set(trtqat._HOMES) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_no_module_whatever_was_imported_first(name: str) -> None:
    """A submodule that was imported becomes an attribute, and would hide a name like its own."""
    assert importlib.util.find_spec(f"trtqat.{name}") is None
    module, _, full_name = trtqat._HOMES[name].partition(":")
    home = importlib.import_module(module)
    assert callable(getattr(trtqat, name))
    assert getattr(trtqat, name) is getattr(home, full_name or name)


def test_dir_holds_the_public_names() -> None:
    _ = trtqat.TensorSpec, trtqat.load_model
    assert dir(trtqat) == sorted(trtqat.__all__)
    assert callable(trtqat.load_state)


def test_a_model_of_pytorch_is_named_in_one_word() -> None:
    named = trtqat.Torch("model.py:fp32", checkpoint="fp32.pt")
    assert named == trtqat.ModelSource("model.py:fp32", "fp32.pt")


def test_types_are_declared() -> None:
    assert (Path(trtqat.__file__).parent / "py.typed").is_file()


def test_lists_are_as_good_as_tuples() -> None:
    options = ExportOptions([TensorSpec("x", [1, np.int64(3)])])  # type: ignore[arg-type]
    assert options == ExportOptions((TensorSpec("x", (1, 3)),))
    assert type(options.inputs[0].shape[1]) is int


def test_transposed_convolutions_are_left_to_float() -> None:
    """Lint calls a quantized one what TensorRT 8.6 refuses."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2))
    assert insert_quantizers(model) == ["0"]
    assert insert_quantizers(model, transposed=True) == ["1"]
    assert insert_quantizers(nn.Sequential(model[1], nn.Linear(2, 2)), skip=["1"]) == []


def test_reprs_are_one_line(exported: ExportResult, tmp_path: Path) -> None:
    samples = tmp_path / "d.npz"
    np.savez(samples, x=np.zeros((4, 3, 16, 16), np.float32))
    data = [trtqat.open_dataset(spec, [X]) for spec in ("random:9", f"npz:{samples}")]
    model = OnnxModel(str(exported.path))
    report = trtqat.evaluate(model, data[0], EvaluateOptions(latency=None))
    shown = {
        repr(each): each
        for each in (
            exported,
            model,
            PyTorchModel(nn.Flatten(), [X], device="cpu"),
            report,
            X,
            *data,
            first(data[0], 3),
            trtqat.ModelSource("f.py:f"),
            trtqat.lint(exported.path),
        )
    }
    for text in shown:
        assert "\n" not in text
        assert len(text) < 200
    assert "Random('random', 9 samples)" in shown
    assert "First('random', 3 samples)" in shown
    assert f"ExportResult('{exported.path}', 6 Q/DQ pairs" in repr(exported)


def test_strings_are_as_good_as_paths(exported: ExportResult, tmp_path: Path) -> None:
    source, output = str(exported.path), str(tmp_path / "again.onnx")
    assert improve_onnx(source, output, ExportOptions(())).path == Path(output)
    assert OnnxModel(Path(output)).inputs == OnnxModel(output).inputs


def test_with_closes_what_it_opens(exported: ExportResult) -> None:
    batch = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    with trtqat.open(exported.path) as model:
        assert model.outputs
        with model.session(2) as session:
            assert session.run(batch)
        with pytest.raises(UsageError, match="The session of"):
            session.run(batch)
    with pytest.raises(UsageError, match="The model of"):
        model.session(2)
    with pytest.raises(ZeroDivisionError), trtqat.open(str(exported.path)) as model:
        raise ZeroDivisionError
    with pytest.raises(UsageError, match="The model of"):
        model.session(2)
    with PyTorchModel(nn.Flatten(), [X], device="cpu") as torch_model:
        assert torch_model.session(2).run(batch)


def test_open_refuses_what_is_for_engines(exported: ExportResult) -> None:
    with pytest.raises(UsageError, match="is a graph itself; --trust is for engines"):
        trtqat.open(exported.path, trust="key.pem")
    with pytest.raises(UsageError, match="is a graph itself; --graph is for engines"):
        trtqat.open(exported.path, graph="none.onnx")
    with pytest.raises(UsageError, match=r"'m\.py:fp32' is a PyTorch model, .* --baseline"):
        trtqat.open("m.py:fp32")
    with pytest.raises(PlanError, match="cannot be read"):
        trtqat.open("run:1.engine")
    with pytest.raises(UsageError, match="The file to open is 3"):
        trtqat.open(3)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="cannot be read"):
        trtqat.open(exported.path.with_name("none.engine"))


def test_a_closed_session_says_so(exported: ExportResult) -> None:
    batch = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    model = OnnxModel(exported.path)
    sessions: list[Any] = [
        model.session(2),
        PyTorchModel(nn.Flatten(), [X], device="cpu").session(2),
    ]
    for session in sessions:
        session.run(batch)
        session.close()
        session.close()
        for use, argument in (
            (session.run, batch),
            (session.load, batch),
            (session.compute_times_ms, 1),
            (session.transfer_times_ms, 1),
        ):
            with pytest.raises(UsageError, match=r"The session of '.*' is closed"):
                use(argument)
    model.close()
    with pytest.raises(UsageError, match=r"The model of 'm\.onnx' is closed"):
        model.session(2)


def test_install_hints_work_in_a_shell() -> None:
    assert install("export", "--upgrade") == "pip install --upgrade -e '.[export]'"


@pytest.mark.parametrize(
    ("package", "name", "extra"), [("torch", "quantize", "export"), ("onnx_ir", "tune", "onnx")]
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, name: str, extra: str
) -> None:
    """In a process of its own, as what was imported once is not imported again."""
    program = f"import sys; sys.modules[{package!r}] = None; import trtqat; trtqat.{name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"MissingError: trtqat.{name} needs {package}" in done.stderr
    assert f"pip install -e '.[{extra}]'" in done.stderr
