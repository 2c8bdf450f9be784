from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers

PYTORCH_QUANTIZATION = """
import logging, sys
handler = logging.StreamHandler()
logging.root.addHandler(handler)
from trtqat.quant.toolkits.silence import load_toolkit
load_toolkit()
assert 'pytorch_quantization.nn' in sys.modules
assert logging.root.handlers == [handler], logging.root.handlers
assert logging.root.level == logging.WARNING, logging.root.level
"""

# What PyTorch's CUDA build says of itself on a host without a GPU, with a CUDA toolkit on it.
MODELOPT = """
import warnings, torch
def is_available():
    warnings.warn('CUDA initialization: The NVIDIA driver is too old', UserWarning)
    return False
torch.cuda.is_available = is_available
from trtqat.quant.toolkits.silence import quiet_toolkit
with quiet_toolkit():
    before = torch.version.cuda, torch.cuda._is_compiled
    torch.version.cuda, torch.cuda._is_compiled = '13.0', lambda: True
    assert 'torch.utils.cpp_extension' not in sys.modules
    from torch.utils import cpp_extension
    torch.version.cuda, torch.cuda._is_compiled = before
    import modelopt.torch.quantization
assert cpp_extension.CUDA_HOME == '/', cpp_extension.CUDA_HOME
"""


def test_imports_print_nothing_and_leave_logging_alone() -> None:
    """Of both toolkits, in one process: it takes seconds."""
    code = PYTORCH_QUANTIZATION
    if importlib.util.find_spec("modelopt") is not None:
        code += MODELOPT
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_HOME": "/"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_inserting_and_calibrating_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    insert_quantizers(model)
    calibrate(model, [torch.ones(1, 3, 8, 8)])
    assert capfd.readouterr() == ("", "")


def test_only_the_toolkit_is_quiet_and_only_inside(caplog: pytest.LogCaptureFixture) -> None:
    import absl.logging

    quantizer = load_toolkit().nn.TensorQuantizer()
    with quiet_toolkit():
        assert quantizer.scale == 1.0
        absl.logging.error("another's")
        logging.getLogger("mine").error("mine")
    assert [record.getMessage() for record in caplog.records] == ["another's", "mine"]
    assert quantizer.scale == 1.0
    assert "doesn't use scale" in caplog.records[-1].getMessage()
