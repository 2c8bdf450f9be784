"""One logger for each TensorRT, and who hears it."""

from __future__ import annotations

import gc
import logging
from types import ModuleType
from typing import Any

import pytest

from trtqat.host.tensorrt_log import make_logger


@pytest.fixture
def trt() -> Any:
    """A module with what a logger needs, and no other TensorRT's."""
    module: Any = ModuleType("stand_in")

    class Severity:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    module.ILogger = type("ILogger", (), {"Severity": Severity})
    return module


def test_what_is_kept(trt: Any, caplog: pytest.LogCaptureFixture) -> None:
    severity = trt.ILogger.Severity
    logger, messages = make_logger(trt)
    with caplog.at_level(logging.DEBUG, "tensorrt"):
        logger.log(severity.WARNING, "slow")
        logger.log(severity.ERROR, "1:")
        logger.log(severity.INTERNAL_ERROR, "no memory.")
        logger.log(severity.VERBOSE, "Layers:\nName: a")
        logger.log(severity.INFO, "done")
    assert (messages.warnings, messages.errors) == (["slow"], ["1:", "no memory."])
    assert messages.reason() == "no memory"
    assert messages.layers == "Layers:\nName: a"
    assert messages.latest == "done"
    assert "Name: a" not in caplog.text


def test_the_last_lines_before_the_first_error_are_kept(trt: Any) -> None:
    severity = trt.ILogger.Severity
    logger, messages = make_logger(trt)
    lines = [f"Fusing {number}" for number in range(1000)]
    for line in lines:
        logger.log(severity.VERBOSE, line)
    logger.log(severity.ERROR, "2: failed")
    logger.log(severity.VERBOSE, "later")
    kept = list(messages.before_error)
    assert kept == lines[-len(kept) :]
    assert 0 < len(kept) < 100


def test_the_newest_listener_hears_it_while_it_lives(trt: Any) -> None:
    severity = trt.ILogger.Severity
    logger, engine = make_logger(trt)
    same, build = make_logger(trt)
    assert same is logger
    logger.log(severity.ERROR, "of the build")
    assert (engine.errors, build.errors) == ([], ["of the build"])
    del build
    gc.collect()
    logger.log(severity.ERROR, "of the engine")
    assert engine.errors == ["of the engine"]


def test_nobody_listens(trt: Any) -> None:
    logger, messages = make_logger(trt)
    del messages
    gc.collect()
    logger.log(trt.ILogger.Severity.ERROR, "to nobody")
    _, later = make_logger(trt)
    assert later.errors == []


def test_two_libraries_have_a_logger_each(trt: Any) -> None:
    other: Any = ModuleType("other")
    other.ILogger = type("ILogger", (), {"Severity": trt.ILogger.Severity})
    first, messages = make_logger(trt)
    second, others = make_logger(other)
    second.log(trt.ILogger.Severity.WARNING, "of the other")
    assert first is not second
    assert (messages.warnings, others.warnings) == ([], ["of the other"])
