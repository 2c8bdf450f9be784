"""Calls a function in a process of its own, for what would leave traces in this one.

The child's log comes out as this process's own, and an error of ours is raised as it would be here.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from trtqat.errors import TrtqatError

_LOGGERS = ("trtqat", "tensorrt")


def call_apart(function: Callable[..., object], *arguments: object) -> None:
    """Calls a function in a new Python process, and waits for it; what it returns is lost.

    Args:
        function: Of a module that can be imported there: it is passed by its name.
        *arguments: What can be pickled.

    Raises:
        TrtqatError: The function raised it.
        ChildError: It raised something else, or the process ended without an answer.
    """
    levels = {name: logging.getLogger(name).getEffectiveLevel() for name in _LOGGERS}
    # Where this process finds its modules, the child does.
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    with subprocess.Popen(
        [sys.executable, "-m", "trtqat.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            # A child that is gone already has nothing to listen to, and says so by its end.
            with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
                pickle.dump((levels, function, arguments), pipe)
            answer = _listen(child.stdout)
        except BaseException:
            child.kill()
            raise
    if isinstance(answer, BaseException):
        raise answer
    if answer != "done":
        raise ChildError(function, _end_in_words(child.returncode))


class ChildError(Exception):
    """A process that was started for a function did not do what it was to."""

    def __init__(self, function: Callable[..., object], reason: str) -> None:
        super().__init__(f"{function.__name__} in a process of its own: {reason}")


def _listen(pipe: IO[bytes]) -> object:
    """Passes the child's log on, and returns what it says at last; None if it says nothing."""
    while True:
        try:
            kind, content = pickle.load(pipe)
        except (EOFError, pickle.UnpicklingError):
            return None
        if kind == "log":
            record = logging.makeLogRecord(content)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        elif kind == "error":
            error, problem, remedy = content
            return error(problem, remedy)
        else:
            return content


def _end_in_words(code: int) -> str:
    if code < 0:
        return f"it ended by {signal.Signals(-code).name}."
    return f"it ended with code {code}; standard error has more."


class _Forward(logging.handlers.QueueHandler):
    """Sends records to the parent, their arguments already put in."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]
        self._pipe = pipe

    def enqueue(self, record: logging.LogRecord) -> None:
        """Writes one record; the handler's lock is held."""
        _send(self._pipe, "log", record.__dict__)


def _send(pipe: IO[bytes], kind: str, content: Any) -> None:  # noqa: ANN401
    pickle.dump((kind, content), pipe)
    pipe.flush()


def _main() -> None:
    """The child: calls what stands on standard input."""
    # What libraries print must not get between the messages.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    levels, function, arguments = pickle.load(sys.stdin.buffer)
    handler = _Forward(pipe)
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    try:
        function(*arguments)
    except TrtqatError as error:
        _send(pipe, "error", (type(error), error.problem, error.remedy))
    else:
        _send(pipe, "answer", "done")


if __name__ == "__main__":
    _main()
