"""What a user of the package meets first: its names, their reprs, and wrong arguments."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import trtqat
from tests.support.models import EXAMPLES
from trtqat.building.options import BuildOptions
from trtqat.data.dataset import first
from trtqat.errors import PlanError, UsageError
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions, ExportResult
from trtqat.exporting.pipeline import export_onnx
from trtqat.extras import install
from trtqat.graph.passes.improvements import ImproveOptions
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


@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        (ExportOptions, {"inputs": (3, 3)}, "An input of ExportOptions is 3, a int"),
        (ExportOptions, {"inputs": "x:1x3"}, "ExportOptions.inputs is 'x:1x3', a str"),
        (ExportOptions, {"inputs": X}, "ExportOptions.inputs is TensorSpec"),
        (
            ExportOptions,
            {"inputs": (X,), "exporter": "onnx"},
            "exporter is 'onnx', which",
        ),
        (ExportOptions, {"inputs": (X,), "precision": "int8"}, "precision is 'int8'"),
        (ExportOptions, {"inputs": (X,), "opset": "17"}, "opset is '17', a str"),
        (ExportOptions, {"inputs": (X,), "static_batch": 1}, "static_batch is 1"),
        (ExportOptions, {"inputs": (X,), "seed": -1}, "seed is -1"),
        (ExportOptions, {"inputs": (X,), "min_sqnr_db": float("nan")}, "min_sqnr_db is nan"),
        (ImproveOptions, {"repair": 1}, "ImproveOptions.repair is 1"),
        (ImproveOptions, {"int8_weights": "no"}, "ImproveOptions.int8_weights is 'no'"),
        (TensorSpec, {"name": "x", "shape": 3}, "The shape of 'x' is 3, a int"),
        (TensorSpec, {"name": "x", "shape": ("N", 3)}, "which are not integers"),
        (TensorSpec, {"name": (1, 3), "shape": "x"}, "TensorSpec.name is"),
        (BuildOptions, {"precision": "fp8"}, "precision is 'fp8'"),
        (BuildOptions, {"timing_cache": 3}, "timing_cache is 3"),
        (EvaluateOptions, {"latency": 2.0}, "EvaluateOptions.latency is 2.0"),
        (EvaluateOptions, {"sweep": 8}, "EvaluateOptions.sweep is 8"),
        (EvaluateOptions, {"in_flight": -3}, "EvaluateOptions.in_flight is -3"),
        (EvaluateOptions, {"min_sqnr_db": "20"}, "EvaluateOptions.min_sqnr_db is '20', a str"),
        (EvaluateOptions, {"max_accuracy_drop": -1}, "EvaluateOptions.max_accuracy_drop is -1"),
        (EvaluateOptions, {"min_speedup": -1.0}, "EvaluateOptions.min_speedup is -1.0"),
        (EvaluateOptions, {"like": "trtexec-9"}, "EvaluateOptions.like is 'trtexec-9'"),
        (EvaluateOptions, {"layer_times": "yes"}, "EvaluateOptions.layer_times is 'yes', a str"),
        (LatencyOptions, {"duration_s": -5}, "LatencyOptions.duration_s is -5"),
        (LatencyOptions, {"warm_up_ms": "200"}, "LatencyOptions.warm_up_ms is '200'"),
        (LatencyOptions, {"duration_s": float("nan")}, "LatencyOptions.duration_s is nan"),
        (LatencyOptions, {"duration_s": float("inf")}, "LatencyOptions.duration_s is inf"),
        (LatencyOptions, {"warm_up_ms": -1.0}, "LatencyOptions.warm_up_ms is -1.0"),
        (trtqat.InspectOptions, {"passes": "9"}, "InspectOptions.passes is '9'"),
        (trtqat.InspectOptions, {"graph": 3}, "InspectOptions.graph is 3"),
        (trtqat.InspectOptions, {"roofline": 1}, "InspectOptions.roofline is 1"),
        (trtqat.lint, {"graph": 3}, "The graph is 3"),
        (trtqat.build, {"graph": 3, "plan": "p"}, "The graph is 3"),
        (trtqat.build, {"graph": "g.onnx", "plan": None}, "The plan is None"),
        (trtqat.preflight, {"plan": 3}, "The plan is 3"),
        (trtqat.preflight, {"plan": "p", "host": "here"}, "The host is 'here'"),
        (trtqat.preflight, {"plan": "p", "trust": 3}, "The key to trust is 3"),
        (trtqat.preflight, {"plan": "p", "flavour": "fat"}, "The flavour is 'fat'"),
        (trtqat.open, {"path": "p", "flavour": "fat"}, "flavour of open is 'fat'"),
        (trtqat.open, {"path": "p", "weights": 3}, "weights of open is 3"),
        (trtqat.inspect, {"path": 3}, "The file to inspect is 3"),
        (
            trtqat.inspect,
            {"path": "p", "options": {"strict": True}},
            "The options of an inspection is {'strict'",
        ),
        (EvaluateOptions, {"min_sqnr_db": "20"}, "EvaluateOptions.min_sqnr_db is '20'"),
        (EvaluateOptions, {"layer_times": 1}, "EvaluateOptions.layer_times is 1"),
        (EvaluateOptions, {"like": "trtexec"}, "EvaluateOptions.like is 'trtexec'"),
        (trtqat.ModelSource, {"pointer": print}, "ModelSource.pointer is"),
        (
            trtqat.ModelSource,
            {"pointer": "f.py:f", "checkpoint": {"w": 1}},
            "ModelSource.checkpoint is",
        ),
        (trtqat.open_dataset, {"spec": 3, "inputs": [X]}, "The data is 3"),
        (trtqat.open_dataset, {"spec": "random", "inputs": [X], "limit": "8"}, "The limit is '8'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    make: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make(**arguments)
    assert said in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"skip": "fc"}, "skip is 'fc', where a list of names belongs"),
        ({"skip": [3]}, "skip is"),
        ({"skip": None}, "skip is None"),
        ({"calibrator": "entropy"}, "calibrator is 'entropy', which is no choice"),
        ({"transposed": "yes"}, "transposed is 'yes'"),
    ],
)
def test_wrong_arguments_insert_nothing(arguments: dict[str, Any], said: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(UsageError) as caught:
        insert_quantizers(model, **arguments)
    assert said in caught.value.problem
    assert type(model[0]) is nn.Conv2d


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


HOOK = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt as error:
                raise ImportError("half of a module") from error
sys.meta_path.insert(0, Interrupt())
sys.argv = ["trtqat", "export", "f.py:f", "-o", "m.onnx"]
from trtqat.cli.main import main
main()
"""


@pytest.mark.parametrize("name", ["typer", "trtqat.cli.console", "trtqat.cli.inspecting", "onnx"])
def test_interrupt_during_an_import(name: str, tmp_path: Path) -> None:
    """Before a command has begun and in it; an import may turn it into another error."""
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(name=name)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("Interrupted")
    assert done.stderr.count("\n") == 1


def test_nothing_is_imported_before_an_interrupt_is_answered() -> None:
    code = "import sys; import trtqat.cli.main; print(sorted({'typer', 'click'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


LONG, NULL = "x" * 5000, "a\0b"


@pytest.mark.parametrize("name", [LONG, NULL])
@pytest.mark.parametrize(
    "use",
    [
        lambda name: trtqat.lint(f"{name}.onnx"),
        lambda name: trtqat.inspect(name),
        lambda name: trtqat.open(f"{name}.onnx"),
        lambda name: trtqat.open(name),
        lambda name: trtqat.build(name, "m.engine"),
        lambda name: trtqat.export(name, "m.onnx"),
        lambda name: trtqat.export("f.py:f", name),
        lambda name: trtqat.export(f"{name}.py:f", "m.onnx"),
        lambda name: trtqat.export("f.py:f", "m.onnx", checkpoint=name),
        lambda name: trtqat.open_dataset(f"npz:{name}", [X]),
        lambda name: trtqat.open_dataset(f"cifar10:{name}", [TensorSpec("x", (1, 3, 32, 32))]),
        lambda name: trtqat.open_dataset(f"idx:{name}", [TensorSpec("x", (1, 1, 28, 28))]),
        lambda name: trtqat.open_dataset(f"{name}.py:f", [X]),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(use: Callable[[str], Any], name: str) -> None:
    with pytest.raises(UsageError) as caught:
        use(name)
    assert caught.value.remedy
