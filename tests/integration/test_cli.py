"""The command line as a user has it: what it prints, its exit codes, and what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.support.commands import in_process, trtqat
from trtqat.pointers import load_pointer

MODEL = """
import torch
from trtqat.quant.training import calibrate, insert_quantizers

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, width, 3, padding=1)
        self.fc = torch.nn.Linear(width, 10)

    def forward(self, images):
        return self.fc(torch.relu(self.conv(images)).mean((2, 3)))

def plain(width=8):
    torch.manual_seed(0)
    return Net(width)

def qat(width=8):
    model = plain(width)
    insert_quantizers(model)
    return model

def calibrated(width=8):
    model = qat(width)
    calibrate(model, [torch.randn(8, 3, 8, 8)])
    return model

def raises():
    raise ValueError("no weights here\\nnor there")

def uncalibrated():
    calibrate(plain(), [])

def program(quantized, batch=None):
    from tests.support.toolkits import ao, ao_model
    default = ao.get_default_qat_qconfig("x86")
    model = ao_model(default.activation, default.weight) if quantized else plain().eval()
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    return torch.export.export(model, (torch.randn(batch or 2, 3, 8, 8),), dynamic_shapes=shapes)

def save_programs(folder):
    torch.export.save(program(True), folder / "qat.pt2")
    torch.export.save(program(True, batch=4), folder / "fixed.pt2")
    torch.export.save(program(False), folder / "plain.pt2")
"""
INPUT = ("--input", "images:1x3x8x8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, a checkpoint that its training wrapped, and data."""
    path = tmp_path_factory.mktemp("work")
    (path / "net.py").write_text(MODEL)
    state = load_pointer(f"{path / 'net.py'}:calibrated")().state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"model_state_dict": wrapped}, path / "qat.pt")
    torch.save(load_pointer(f"{path / 'net.py'}:plain")().state_dict(), path / "plain.pt")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((37, 3, 8, 8), np.float32)
    np.savez(path / "data.npz", images=images, labels=rng.integers(0, 10, 37))
    done = trtqat(path, "export", "net.py:qat", "--checkpoint", "qat.pt", *INPUT, "-o", "m.onnx")
    assert done.returncode == 0, done.stderr
    assert "4 Q/DQ pairs for 4 quantizers" in done.stdout
    assert "SQNR" in done.stdout
    return path


def test_export_keeps_where_it_came_from(folder: Path) -> None:
    record = {p.key: p.value for p in onnx.load(str(folder / "m.onnx")).metadata_props}["trtqat"]
    fields = json.loads(record)
    assert fields["source"] == "net.py:qat"
    assert fields["checkpoint"] == "qat.pt"
    assert len(fields["checkpoint_sha256"]) == 64
    assert str(folder) not in record


def test_eval_side_by_side(folder: Path) -> None:
    done = in_process(
        folder, "eval", "m.onnx", "--data", "npz:data.npz", "--batch-size", "8", "--duration",
        "0.1", "--baseline", "net.py:plain", "--checkpoint", "plain.pt", "--json", "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["images"] == 37
    sides = {each["role"]: each for each in report["contenders"]}
    assert [each["accuracy"]["count"] for each in sides.values()] == [37, 37]
    agreement = sides["subject"]["to_baseline"]["agreement"]
    assert agreement["count"] == 37
    assert agreement["sqnr_db"] > 15
    for role in ("subject", "baseline"):
        (at,) = sides[role]["timings"]
        compute = at["timing"]["compute"]
        assert 0 < compute["median_ms"] <= compute["p99_ms"]
        assert compute["count"] >= 10
    share = f"({sides['subject']['accuracy']['top1']}/37)"
    assert share in done.stdout
    assert report["command"].startswith("trtqat eval m.onnx")
    # On a host without PyTorch, the report stands for the baseline.
    done = in_process(
        folder, "eval", "m.onnx", "--data", "npz:data.npz", "--batch-size", "8", "--duration",
        "0.1", "--baseline-report", "report.json", "--max-accuracy-drop", "100", "--locate",
        "--html", "page.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(recorded on " in done.stdout
    assert "speed-up (compute, against the record)" in done.stdout
    same = agreement["same_top1"]
    assert f"({same}/37)" in done.stdout
    assert "most lost first" in done.stdout
    page = (folder / "page.html").read_text()
    assert "recorded on" in page
    assert "/conv/Conv" in page


def test_locate_from_the_fake_quantized_model_on(folder: Path) -> None:
    command = ["eval", "m.onnx", "--data", "random:12", "--duration", "0", "--locate"]
    fake_quantized = ["--fake-quantized", "net.py:qat", "--fake-quantized-checkpoint", "qat.pt"]
    done = in_process(folder, *command, *fake_quantized, "--json", "located.json")
    assert done.returncode == 0, done.stderr
    assert "INT8 tensor, most lost first" in done.stdout
    assert "reference: first tensor below 20 dB: none" in done.stdout
    located = json.loads((folder / "located.json").read_text())["located"]["steps"]
    assert located["probe"] is None
    assert "/conv/_input_quantizer/QuantizeLinear" in [
        each["tensor"] for each in located["tensors"]
    ]
    for each in located["tensors"]:
        assert each["engine"] is None
        # A figure also where nothing differs.
        assert each["reference"]["lost_db"] is not None
        assert float(each["reference"]["sqnr_db"]) > 40
    done = in_process(folder, *command, "--graph", "m.onnx")
    assert done.returncode == 2
    assert "is a graph itself" in done.stderr


def sqnr_db(written: str) -> Any:
    """Of the model against the baseline."""
    (found,) = [each for each in json.loads(written)["contenders"] if each["to_baseline"]]
    return found["to_baseline"]["agreement"]["sqnr_db"]


def test_programs_are_sources_and_baselines(folder: Path) -> None:
    load_pointer(f"{folder / 'net.py'}:save_programs")(folder)
    data = ("--data", "random:16", "--batch-size", "8", "--duration", "0", "-q", "--json", "-")
    plain = ("--keep-batch-norm", "--float-weights")
    done = in_process(folder, "export", "qat.pt2", "--input", "x:1x3x8x8", "-o", "p.onnx", *plain)
    assert done.returncode == 0, done.stderr
    assert "8 Q/DQ pairs for 8 quantizers" in done.stdout
    # Against itself, quantized, not one number differs; against FP32 some do.
    done = in_process(folder, "eval", "p.onnx", *data, "--baseline", "qat.pt2")
    assert sqnr_db(done.stdout) == "inf"
    done = in_process(folder, "eval", "m.onnx", *data, "--baseline", "plain.pt2")
    assert 15 < sqnr_db(done.stdout) < 60
    done = in_process(folder, "eval", "p.onnx", *data, "--baseline", "fixed.pt2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "input 'x' fixed to 4, and got 8. Export it" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_json_on_standard_output_is_all_there_is(folder: Path) -> None:
    done = in_process(
        folder, "eval", "m.onnx", "--data", "random:5", "--duration", "0", "-q", "--json", "-"
    )
    (subject,) = json.loads(done.stdout)["contenders"]
    assert subject["timings"] == []
    assert done.stderr == ""


def test_gate_that_is_not_met(folder: Path) -> None:
    done = in_process(
        folder, "eval", "m.onnx", "--data", "random:8", "--duration", "0.05",
        "--baseline", "net.py:plain", "--min-speedup", "100000",
    )  # fmt: skip
    assert done.returncode == 3
    assert "speed-up" in done.stdout
    assert "less than 100000" in done.stderr


EXPORT = ("export", "net.py:qat", "--checkpoint", "qat.pt", *INPUT, "-o", "new.onnx")
EVAL = ("eval", "m.onnx", "--data", "random:4")
IMPROVE = ("export", "m.onnx", "-o", "new.onnx")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("export", "none.py:qat", *INPUT, "-o", "new.onnx"), 2, "none.py"),
        (("export", "net.py:missing", *INPUT, "-o", "new.onnx"), 2, "missing"),
        (("export", "net.py:raises", *INPUT, "-o", "new.onnx"), 2, "ValueError: no weights here."),
        (("export", "net.py:uncalibrated", *INPUT, "-o", "new.onnx"), 2, "error: The model has no"),
        (("export", "qat.pt", *INPUT, "-o", "new.onnx"), 2, "may be a checkpoint"),
        (("export", "net.py", *INPUT, "-o", "new.onnx"), 2, "does not say which function"),
        (("export", "net.py:qat", *INPUT, "-o", "new.onnx"), 2, "has no amax"),
        (("export", "net.py:plain", *INPUT, "-o", "new.onnx"), 2, "no active quantizer"),
        ((*EXPORT[:-2], "-o", "nowhere/new.onnx"), 2, "'nowhere' does not exist"),
        ((*EXPORT, "--factory-arg", "width=4"), 2, "conv.weight (8, 3, 3, 3) for (4, 3, 3, 3)"),
        ((*EXPORT[:2], "--checkpoint", "plain.pt", *INPUT, "-o", "new.onnx"), 2, "has no amax"),
        ((*EXPORT[:4], "-o", "new.onnx"), 2, "its forward takes (images)"),
        ((*EXPORT[:4], "--input", "x:1x3x8x8", "-o", "new.onnx"), 2, "has no input 'x'"),
        ((*EXPORT[:4], "--input", "images:1x3x", "-o", "new.onnx"), 2, "images:1x3x"),
        ((*EXPORT[:4], "--input", "images:1x4x8x8", "-o", "new.onnx"), 2, "raised RuntimeError"),
        ((*EXPORT, *INPUT), 2, "'images' is given twice"),
        ((*EXPORT, "--exporter", "dynamo", "--opset", "13"), 2, "no opset 13"),
        ((*IMPROVE, "--static-batch"), 2, "its batch stays as it is"),
        ((*IMPROVE, "--exporter", "torchscript"), 2, "nothing is traced"),
        ((*IMPROVE, "--input", "images:1x3x16x16"), 2, "is [batch,3,8,8], not images:1x3x16x16"),
        ((*IMPROVE, "--input", "images:1x3x8"), 2, "is [batch,3,8,8], not images:1x3x8"),
        (("eval", "m.onnx", "--data", "npz:none.npz"), 2, "none.npz"),
        (("eval", "m.onnx", "--data", "tape:x"), 2, "cifar10:DIR"),
        (("eval", "m.onnx", "--data", "idx:none"), 2, "The directory 'none' does not exist"),
        (("eval", "none.onnx", "--data", "random"), 2, "no ONNX file"),
        (("eval", "net.py:qat", "--data", "random"), 2, "'net.py:qat' is a PyTorch model"),
        ((*EVAL, "--checkpoint", "a.pt"), 2, "--checkpoint belongs to --baseline."),
        ((*EVAL, "--fake-quantized-checkpoint", "a.pt"), 2, "belongs to --fake-quantized."),
        ((*EVAL, "--factory-arg", "a=1"), 2, "--factory-arg belongs to --baseline."),
        ((*EVAL, "--timing-cache", "t.cache"), 2, "itself; --timing-cache is for engines."),
        ((*EVAL, "--locate", "--timing-cache", "m.onnx"), 2, "'m.onnx' would overwrite an input"),
        ((*EVAL, "--runtime-cache", "none"), 2, "itself; --runtime-cache is for engines."),
        ((*EVAL, "--runtime-cache", "m.onnx"), 2, "'m.onnx' would overwrite an input"),
        ((*EVAL, "--runtime-cache", "no/c"), 2, "The directory 'no' does not exist"),
        ((*EVAL, "--runtime", "rtx"), 2, "is a graph itself; --runtime is for engines."),
        ((*EVAL, "--graph", "m.onnx"), 2, "is a graph itself; --graph is for engines."),
        ((*EVAL, "--reference"), 2, "'m.onnx' is a graph; --reference is for engines."),
        ((*EVAL, "--compare", "fp16"), 2, "'m.onnx' is a graph; --compare is for engines."),
        ((*EVAL, "--compare", "int4"), 2, "There is nothing called 'int4'"),
        ((*EVAL, "--baseline", "net.py:qat", "--compare", "torch-fp32"), 2, "the baseline itself"),
        (("eval", "text.ONNX", "--data", "random"), 2, "no ONNX file"),
        ((*EXPORT, "--min-sqnr-db", "nan"), 2, "Invalid value for '--min-sqnr-db'"),
        ((*EVAL, "--like", "trtexec-11"), 2, "trtexec times engines"),
        ((*EVAL, "--json", "m.onnx"), 2, "'m.onnx' would overwrite an input"),
        (("export", "net.py:qat", "-o", "net.py"), 2, "'net.py' would overwrite an input"),
        (("inspect", "m.onnx", "--json", "m.onnx"), 2, "'m.onnx' would overwrite an input"),
        (("eval", "net.py", "--data", "random"), 2, "is not a TensorRT plan"),
        (("eval", "none.engine", "--data", "random"), 2, "none.engine"),
        (("eval", "text.onnx", "--data", "random"), 2, "is not an ONNX file"),
        (("build", "none.onnx", "-o", "m.engine"), 2, "no ONNX file"),
        (("build", "text.onnx", "-o", "m.engine"), 2, "not an ONNX file"),
        (("build", "float.onnx", "-o", "m.engine"), 2, "nothing would run in INT8"),
        (("build", "m.onnx", "-o", "m.engine", "--batch", "4:2:8"), 2, "4:2:8"),
        (("build", "m.onnx", "-o", "m.engine", "--workspace", "much"), 2, "much"),
        (("build", "m.onnx", "-o", "m.engine", "--timing-cache", "m.onnx"), 2, "would overwrite"),
        (("build", "m.onnx", "-o", "m.engine", "--json", "m.engine.json"), 2, "the manifest of"),
        (("doctor", "m.engine", "--json", "m.engine.sig"), 2, "overwrite the signature of 'm.engi"),
        (("eval", "m.engine", "--data", "random", "--json", "m.onnx"), 2, "an input of this"),
        (("inspect", "m.engine", "--json", "m.engine.json"), 2, "would overwrite the manifest of"),
        (("build", "m.onnx", "-o", "m.engine", "--triton-instances", "2"), 2, "none is given"),
        (("build",), 2, "MODEL.ONNX"),
    ],
)  # fmt: skip
def test_bad_input(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (folder / "text.onnx").write_text("hello")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph), str(folder / "float.onnx"))
    before = sorted(folder.iterdir())
    done = in_process(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before


def test_opset_that_a_file_keeps_is_told(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    done = in_process(folder, "export", "m.onnx", "--opset", "13", "-o", path)
    assert done.returncode == 0
    assert "note: The graph keeps its opset 17" in done.stderr


def test_without_tensorrt_or_gpu(folder: Path) -> None:
    try:
        import tensorrt  # noqa: F401

        if torch.cuda.is_available():
            pytest.skip("TensorRT and a GPU are here")
    except ImportError:
        pass
    done = in_process(folder, "build", "m.onnx", "-o", "m.engine", "--for", "8.6")
    assert done.returncode == 4
    assert "needs" in done.stderr
    assert not (folder / "m.engine").exists()


def test_help_has_an_example_for_each_command(tmp_path: Path) -> None:
    for command in ("export", "build", "eval"):
        assert f"Example: trtqat {command}" in in_process(tmp_path, command, "--help").stdout
    assert trtqat(tmp_path, "--version").stdout.startswith("trtqat 0.")


# Ctrl-C exactly when PyTorch has imported one part of its compiler and not the others.
INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "torch._dynamo.variables":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

def calibrated():
    from net import calibrated
    assert "torch._dynamo" not in sys.modules
    sys.meta_path.insert(0, Interrupt())
    return calibrated()
"""


def test_interrupt_while_pytorch_imports_its_compiler(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    (tmp_path / "net.py").write_text(MODEL)
    done = trtqat(tmp_path, "export", "interrupted.py:calibrated", *INPUT, "-o", "m.onnx")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Interrupted; nothing half-written is left.\n"
    assert not (tmp_path / "m.onnx").exists()


def test_interrupt_that_a_library_turns_into_another_error() -> None:
    code = (
        "import os, signal\n"
        "from trtqat.cli.console import command\n"
        "with command(quiet=False, verbose=False):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt as error:\n"
        "        raise AttributeError('half of a module') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted; nothing half-written is left.\n")
