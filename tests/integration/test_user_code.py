"""The user's code, through every command that calls it: nothing it raises ends one unsaid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import in_process
from tests.support.models import EXAMPLES
from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError, QuantizerError, SourceError, TrtqatError, UsageError
from trtqat.exporting.loading import load_model
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

RAISED = {
    "sys.exit(0)": "SystemExit: 0 (",
    "sys.exit()": "SystemExit without a message (",
    "sys.exit('done')": "SystemExit: done (",
    "raise GeneratorExit": "GeneratorExit without a message (",
    "raise Stopped('by me')": "Stopped: by me (",
    "raise Mute": "Mute without a message",
    "raise ValueError": "ValueError without a message",
}
HEADER = """
import sys
class Stopped(KeyboardInterrupt):
    pass
class Mute(Exception):
    def __str__(self):
        sys.exit(0)
"""


@pytest.mark.parametrize(("statement", "said"), RAISED.items())
def test_factory_and_import(statement: str, said: str, tmp_path: Path) -> None:
    factory = tmp_path / "f.py"
    factory.write_text(f"{HEADER}def qat():\n    {statement}\n")
    with pytest.raises(SourceError) as caught:
        load_model(f"{factory}:qat")
    assert f"The factory '{factory}:qat' raised {said}" in caught.value.problem
    assert "f.py, line 9" in str(caught.value)
    (tmp_path / "g.py").write_text(f"{HEADER}{statement}\n")
    with pytest.raises(SourceError, match=r"Importing '.*g\.py' failed in line 8 with ") as caught:
        load_model(f"{tmp_path / 'g.py'}:qat")
    assert said.partition(" ")[0].rstrip(":") in caught.value.problem


@pytest.mark.parametrize("method", ["train", "cpu", "to"])
def test_methods_of_the_model(method: str, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(
        "import sys, torch\nclass Net(torch.nn.Linear):\n"
        f"    def {method}(self, *args):\n        sys.exit(0)\n"
        "def qat():\n    return Net(2, 2)\n"
    )
    with pytest.raises(SourceError, match=r"raised SystemExit: 0 \(f\.py, line 4\)"):
        load_model(f"{tmp_path / 'f.py'}:qat")


def test_a_factory_that_returns_nothing(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def qat():\n    pass\n")
    with pytest.raises(SourceError, match="returned nothing, not a model"):
        load_model(f"{tmp_path / 'f.py'}:qat")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("LazyConv2d(4, 3)", "'weight' has no shape yet"),
        ("Linear(2, 2).to('meta')", "'weight' is on"),
    ],
)
def test_a_model_without_numbers(made: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(f"from torch import nn\ndef qat():\n    return nn.{made}\n")
    with pytest.raises(SourceError, match=said):
        load_model(f"{tmp_path / 'f.py'}:qat")


def test_a_forward_that_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(
        "from torch import nn\nclass Net(nn.Conv2d):\n"
        "    def forward(self, *images):\n        return super().forward(images[0])\n"
        "def net():\n    return Net(3, 4, 3)\n"
    )
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 3, 6, 6), np.float32))
    words = ["quantize", "f.py:net", "--data", "npz:d.npz", "-o", "f.pt"]
    for given in ([], ["--input", "x:1x3x6x6"]):
        done = in_process(tmp_path, *words, *given)
        assert done.returncode == 2
        assert "The model's forward names no parameters" in done.stderr
        assert "as in forward(self, images)" in done.stderr


def test_errors_of_ours_and_a_real_interrupt_pass(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(
        "from trtqat.errors import GateError\n"
        "def gate():\n    raise GateError('too low')\n"
        "def interrupted():\n    raise KeyboardInterrupt\n"
    )
    with pytest.raises(TrtqatError, match="too low") as caught:
        load_model(f"{tmp_path / 'f.py'}:gate")
    assert caught.value.exit_code == 3
    with pytest.raises(KeyboardInterrupt):
        load_model(f"{tmp_path / 'f.py'}:interrupted")


class Leaving(torch.nn.Module):
    """Calibrated, and then gone: at once, or only while it is traced."""

    def __init__(self, *, only_traced: bool = False) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.stays, self.only_traced = True, only_traced
        insert_quantizers(self)
        calibrate(self, [torch.randn(2, 3, 8, 8)])
        self.stays = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.stays and (torch.compiler.is_compiling() or not self.only_traced):
            sys.exit(0)
        y: torch.Tensor = self.conv(x)
        return y


INPUTS = (TensorSpec("x", (2, 3, 8, 8)),)


@pytest.mark.parametrize("only_traced", [False, True])
def test_forward_in_export(only_traced: bool, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"forward.* raised SystemExit: 0") as caught:
        export_onnx(Leaving(only_traced=only_traced), tmp_path / "m.onnx", ExportOptions(INPUTS))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "m.onnx").exists()


def test_forward_as_a_baseline() -> None:
    model = PyTorchModel(Leaving(), INPUTS, device="cpu")
    batch = {"x": np.zeros((2, 3, 8, 8), np.float32)}
    session = model.session(2)
    with pytest.raises(SourceError, match="'PyTorch FP32' raised SystemExit: 0"):
        session.run(batch)
    with pytest.raises(SourceError, match="'PyTorch FP32' raised SystemExit: 0"):
        session.compute_times_ms(1)
    with pytest.raises(SourceError, match="'PyTorch FP32' raised SystemExit: 0"):
        model.observe(batch, ["conv._input_quantizer"])


def test_forward_and_batches_in_calibration() -> None:
    model = Leaving()
    with pytest.raises(QuantizerError, match="forward raised SystemExit: 0"):
        calibrate(model, [torch.randn(2, 3, 8, 8)])

    def batches() -> object:
        yield torch.randn(2, 3, 8, 8)
        sys.exit(0)

    model.stays = True
    with pytest.raises(QuantizerError, match=r"gives the batches .*raised SystemExit: 0"):
        calibrate(model, batches())  # type: ignore[arg-type]


DATA = """
import sys
import numpy as np
x = np.zeros((3, 8, 8), np.float32)
class Samples:
    def __init__(self, bad):
        self.bad = bad
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return sys.exit(0) if index == self.bad else (x, 0)
class Batches(Samples):
    def batch(self, start, stop):
        return None
class Lazy:
    def __array__(self, *args, **kwargs):
        sys.exit(0)
class Length(Samples):
    def __len__(self):
        sys.exit(0)
def called(): sys.exit(0)
def nothing(): pass
def first(): return Samples(0)
def later(): return Samples(2)
def batches(): return Batches(0)
def lazy(): return [(Lazy(), 0)]
def length(): return Length(0)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("called", "raised SystemExit when it was called: 0"),
        ("nothing", "returned nothing"),
        ("first", "raised SystemExit when it gave samples 0 to 0: 0"),
        ("later", "raised SystemExit when it gave samples 0 to 3: 0"),
        ("batches", "returned nothing for samples 0 to 0"),
        ("lazy", "raised SystemExit when it gave samples 0 to 0: 0"),
        ("length", "raised SystemExit when it was asked for its length: 0"),
    ],
)
def test_data(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(DATA)
    with pytest.raises(DataError, match=said):
        open_dataset(f"{tmp_path / 'd.py'}:{name}", INPUTS).batch(0, 4)


def test_commands_end_with_2(tmp_path: Path) -> None:
    """Each was 0, with no file written and the gate passed."""
    (tmp_path / "f.py").write_text("import sys\ndef qat():\n    print('hello')\n    sys.exit(0)\n")
    export_onnx(
        EXAMPLES["depthwise"].qat(),
        tmp_path / "m.onnx",
        ExportOptions(EXAMPLES["depthwise"].inputs),
    )
    for arguments in (
        ("export", "f.py:qat", "--input", "x:1x3x8x8", "-o", "n.onnx"),
        ("eval", "m.onnx", "--data", "f.py:qat", "--max-accuracy-drop", "0", "--json", "r.json"),
        ("eval", "m.onnx", "--data", "random:4", "--baseline", "f.py:qat", "--duration", "0"),
    ):
        done = in_process(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "SystemExit" in done.stderr
        assert "f.py, line 4" in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "g.py").write_text(
        "from torch import nn\nclass Raises(nn.Module):\n    def forward(self, x):\n"
        "        raise ValueError('not like this')\n"
    )
    forward = ("eval", "m.onnx", "--data", "random:4", "--baseline", "g.py:Raises", "--json")
    done = in_process(tmp_path, *forward, "r.json")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "error: 'PyTorch FP32' raised ValueError: not like this." in done.stderr
    assert not list(tmp_path.glob("*.json")) + list(tmp_path.glob("n.onnx"))


def test_what_no_border_caught_is_said(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom trtqat.cli.console import command\n"
        "with command(quiet=False, verbose=False):\n    sys.exit(0)\n"
    )
    (tmp_path / "c.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "c.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "error: The code that was run raised SystemExit: 0" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize(
    "pointer", [r"C:\models\net.ts", "C:/models/net.ts", r"\\host\share\net.pt2", "s3:nets/net.ts"]
)
def test_a_missing_file_with_a_drive_is_a_file(pointer: str) -> None:
    with pytest.raises(SourceError, match="There is no model file"):
        load_model(pointer)


def test_a_missing_file_of_code_with_a_drive() -> None:
    with pytest.raises(UsageError, match=r"The file 'C:\\models\\net\.py' does not exist"):
        load_model(r"C:\models\net.py:qat")
