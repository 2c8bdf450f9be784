"""Functions that a test calls in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.runtime.protocol import Model
from trtqat.tensors import Array, Arrays


def write_process(path: Path) -> None:
    """Writes the process's number, and prints and logs."""
    print("printed by a library")  # noqa: T201
    logging.getLogger("trtqat.there").warning("Writing '%s'.", path)
    logging.getLogger("trtqat.there").debug("Not asked for.")
    logging.getLogger("tensorrt").info("Built.")
    path.write_text(str(os.getpid()))


def refuse() -> None:
    raise UsageError("'m.onnx' is none.", "Give another one.")


def fail() -> None:
    raise ZeroDivisionError("of no class of ours")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def run_reopened(reopen: Callable[[], Model], inputs: Arrays) -> tuple[str, dict[str, Array]]:
    """What a model is called that is opened here, and what it answers."""
    model = reopen()
    batch_size = len(next(iter(inputs.values())))
    return model.name, dict(model.session(batch_size).run(inputs))
