"""Keeps to themselves what PyTorch's exporters print and log."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

# What they log, tracebacks and whole programs, is in the error that they raise.
_NOISY = (
    "torch.onnx",
    "torch.export",
    "torch._export",
    "torch._dynamo",
    "torch._subclasses",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporters' deprecation warnings and progress lines from the user."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    # Past redirect_stdout, C++ prints the whole graph of what the TorchScript exporter cannot
    # export. Its own switch is no help: setup_onnx_logging always turns it on (PyTorch 2.13).
    internals: Any = torch._C
    log = internals._jit_onnx_log
    internals._jit_onnx_log = lambda *_: None
    try:
        # A program that torch.export cannot trace is printed whole, to standard error.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        internals._jit_onnx_log = log
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
