"""Python processes of their own, for what would leave traces in this one, or must find none.

A child's log comes out as this process's own, and an error of ours is raised as it would be here.
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

from trtqat.errors import TrtqatError, first_line

_LOGGERS = ("trtqat", "tensorrt")


class Child:
    """A process that calls what it is asked to, one call behind the other.

    What is called is a function of a module that can be imported there, as it is passed by its
    name, or a method of the object that ``hold`` made. Arguments and results are pickled.
    """

    def __init__(self, *, least_level: int = 0) -> None:
        """Starts the process, and does not wait until it is there.

        Args:
            least_level: Of ``logging``: what of the child's log is passed on at most. What this
                process logs itself, a child that repeats its work need not say again.
        """
        levels = {
            name: max(least_level, logging.getLogger(name).getEffectiveLevel()) for name in _LOGGERS
        }
        # Where this process finds its modules, the child does.
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        self._asked = "Starting"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trtqat.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._send(levels)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, make: Callable[..., object], *arguments: object) -> None:
        """Asks for an object, whose methods are called from then on; ``answer`` waits for it.

        Args:
            make: Its class, or what returns it.
            *arguments: Of that.

        Raises:
            ChildError: They cannot be sent there, or the process has ended.
        """
        self._ask("hold", make, arguments)

    def call(self, function: Callable[..., object] | str, *arguments: object) -> Any:  # noqa: ANN401
        """Calls a function, or a method by its name, and waits.

        Returns:
            What it returns.

        Raises:
            TrtqatError: The function raised it.
            ChildError: It raised something else, or the process ended without an answer.
        """
        self._ask("call", function, arguments)
        return self.answer()

    def answer(self) -> Any:  # noqa: ANN401
        """Waits for what was asked, and meanwhile passes the child's log on.

        Returns:
            What it returned.

        Raises:
            TrtqatError: It raised it.
            ChildError: It raised something else, or the process ended without an answer.
        """
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            try:
                kind, content = pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):
                self.close(kill=False)
                raise ChildError(self._asked, _end_in_words(self._process.returncode)) from None
            if kind == "log":
                record = logging.makeLogRecord(content)
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            elif kind == "error":
                error, problem, remedy = content
                raise error(problem, remedy)
            else:
                return content

    def close(self, *, kill: bool = True) -> None:
        """Ends the process; a second call does nothing.

        Args:
            kill: Whether not to wait until it ends by itself.
        """
        if kill:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(
        self, how: str, function: Callable[..., object] | str, arguments: tuple[object, ...]
    ) -> None:
        self._asked = function if isinstance(function, str) else function.__name__
        self._send((how, function, arguments))

    def _send(self, content: object) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise ChildError(self._asked, "it has ended.")
        try:
            pickled = pickle.dumps(content)
        # As pickle does: each kind of object has an error of its own.
        except Exception as error:
            reason = f"it cannot be sent there: {first_line(error)}."
            raise ChildError(self._asked, reason) from error
        # A child that is gone already has nothing to listen to, and says so by its end.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(pickled)
            self._process.stdin.flush()


class ChildError(Exception):
    """A process that was started for a function did not do what it was to."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} in a process of its own: {reason}")


def call_apart(function: Callable[..., object], *arguments: object) -> Any:  # noqa: ANN401
    """Calls a function in a new Python process, and waits for it.

    Args:
        function: Of a module that can be imported there: it is passed by its name.
        *arguments: What can be pickled.

    Returns:
        What the function returns.

    Raises:
        TrtqatError: The function raised it.
        ChildError: It raised something else, or the process ended without an answer.
    """
    with Child() as child:
        return child.call(function, *arguments)


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
    """The child: calls what comes by standard input, until that ends."""
    # Whoever interrupts the command interrupts the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not get between the messages.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    levels = pickle.load(sys.stdin.buffer)
    handler = _Forward(pipe)
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    held: object = None
    while True:
        try:
            how, function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            found = (getattr(held, function) if isinstance(function, str) else function)(*arguments)
        except TrtqatError as error:
            _send(pipe, "error", (type(error), error.problem, error.remedy))
            continue
        if how == "hold":
            held, found = found, None
        _send(pipe, "answer", found)


if __name__ == "__main__":
    _main()
