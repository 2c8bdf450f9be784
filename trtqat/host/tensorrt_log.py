"""What TensorRT logs: the only place where it gives reasons.

TensorRT warns that it ignores a logger while another one is in use. So there is one logger for each
TensorRT in a process, and who listens changes.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_LOG = logging.getLogger("tensorrt")

# What the list of a plan's layers begins with, which the builder of TensorRT for RTX logs.
LAYER_LIST = "Layers:\n"
# A builder of a large network logs many thousands.
_LINES_BEFORE = 40


@dataclass(eq=False)
class Messages:
    """What TensorRT logged.

    Attributes:
        errors: Errors.
        warnings: Warnings.
        latest: The line that came last, of whatever severity.
        before_error: The last lines before the first error, of whatever severity.
        layers: The list of the plan's layers, where the builder logs one; else empty.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    latest: str = ""
    before_error: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_BEFORE))
    layers: str = ""

    def reason(self, default: str = "TensorRT gave no reason", *, since: int = 0) -> str:
        """The first error in words, which names the cause; later ones follow from it.

        Out of device memory TensorRT 8.6.0 can log the bare error code ("1:").

        Args:
            default: What to say where there is none.
            since: How many errors were there before what failed.
        """
        told = (error.strip().rstrip(".") for error in self.errors[since:])
        return next((error for error in told if any(map(str.isalpha, error))), default)


class Reasons:
    """Why what begins now fails.

    An engine has one log for as long as it lives. What an earlier session met there, as a capture
    that was refused, is no reason why a later one fails.
    """

    def __init__(self, messages: Messages) -> None:
        """Notes what is there.

        Args:
            messages: What TensorRT's logger collects.
        """
        self._messages = messages
        # All of the log, in which those from before are first.
        self.errors = messages.errors
        self._start = len(self.errors)

    def reason(self, since: int = 0) -> str:
        """The first error since the beginning, or since a later count."""
        return self._messages.reason(since=max(since, self._start))


def make_logger(trt: ModuleType) -> tuple[Any, Messages]:
    """The logger of a TensorRT, which also passes all to ``logging``.

    Args:
        trt: The imported module.

    Returns:
        The ``ILogger``, and what it collects from now on, until somebody else asks for it. When
        that one's messages are gone, these are collected again.
    """
    logger = _LOGGERS.get(trt)
    if logger is None:
        logger = _LOGGERS[trt] = _collecting_logger(trt)
    messages = Messages()
    logger.listeners = [each for each in logger.listeners if each() is not None]
    logger.listeners.append(weakref.ref(messages))
    return logger, messages


_LOGGERS: dict[ModuleType, Any] = {}


def _collecting_logger(trt: ModuleType) -> Any:  # noqa: ANN401
    severity_of = trt.ILogger.Severity
    bad = (severity_of.INTERNAL_ERROR, severity_of.ERROR)

    class CollectingLogger(trt.ILogger):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: list[weakref.ref[Messages]] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity != severity_of.VERBOSE:
                _LOG.debug("%s", message)
            living = (found for each in reversed(self.listeners) if (found := each()) is not None)
            messages = next(living, None)
            if messages is None:
                return
            messages.latest = message
            if not messages.errors and severity not in bad:
                messages.before_error.append(message)
            if severity in bad:
                messages.errors.append(message)
            elif severity == severity_of.WARNING:
                messages.warnings.append(message)
            elif message.startswith(LAYER_LIST):
                messages.layers = message

    return CollectingLogger()
