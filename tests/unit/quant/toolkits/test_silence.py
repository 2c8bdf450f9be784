from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers


def test_import_prints_nothing_and_leaves_logging_alone() -> None:
    code = (
        "import logging, sys\n"
        "handler = logging.StreamHandler()\n"
        "logging.root.addHandler(handler)\n"
        "from trtqat.quant.toolkits.silence import load_toolkit\n"
        "load_toolkit()\n"
        "assert 'pytorch_quantization.nn' in sys.modules\n"
        "assert logging.root.handlers == [handler], logging.root.handlers\n"
        "assert logging.root.level == logging.WARNING, logging.root.level\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
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
