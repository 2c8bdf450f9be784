"""A process that reads one damaged file after the other, with limits on memory and CPU time.

    python -m tests.support.fuzzing.worker KIND FIRST LAST [KIND FIRST LAST ...]

It says ``begin NUMBER`` before each, so that whoever started it knows what killed it, and
``fault NUMBER WHAT`` where anything but a TrtqatError came out; ``done`` when a kind is.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TextIO

from tests.support.fuzzing.kinds import KINDS, Kind
from trtqat.errors import TrtqatError

# Beyond what the sound file needed.
_MEMORY_BYTES = 2**30
_CPU_SECONDS = 20
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
# Of the wall clock, for what waits instead of computing: far more than any host needs.
_WAITING_SECONDS = 600


def main() -> None:
    answers, errors = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
    # What is wrong with the worker itself must not be lost with what libraries print.
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=errors)
    # A crash is seen by its signal; its image of memory would be written somewhere.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        handle = os.open(place / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        # Where libraries print what they think of a file.
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        for name, first, last in zip(*[iter(sys.argv[1:])] * 3, strict=True):
            _read_all(name, range(int(first), int(last)), place, answers)


def _read_all(name: str, numbers: range, place: Path, answers: TextIO) -> None:
    kind, log = KINDS[name], place / "log"
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    sound = kind.make()
    for number in range(len(kind.readers)):
        if fault := _try(kind, number, sound, place):
            answers.write(f"fault sound {fault}\n")
    resource.setrlimit(resource.RLIMIT_AS, (_used_bytes() + _MEMORY_BYTES, hard))
    for number in numbers:
        answers.write(f"begin {number}\n")
        answers.flush()
        os.truncate(log, 0)
        signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
        signal.alarm(_WAITING_SECONDS)
        fault = _try(kind, number, kind.mutate(number, sound, name), place)
        if not fault and b"Traceback" in (printed := log.read_bytes()):
            lines = printed.decode(errors="replace").splitlines()
            said = [line for line in lines if _ERROR.match(line)]
            fault = f"prints a traceback: {said[-1][:200] if said else lines[-1]}"
        if fault:
            answers.write(f"fault {number} {fault}\n")
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    answers.write("done\n")
    answers.flush()


def _used_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))
    return used * 1024


def _try(kind: Kind, number: int, content: bytes, place: Path) -> str:
    """What went wrong; empty if it was read, or refused in a sentence with nothing written."""
    folder = place / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = place / f"damaged{kind.suffix}"
    file.write_bytes(content)
    try:
        kind.read(number, file, folder)
    except TrtqatError as error:
        if "\n" in error.problem:
            return f"says more than a sentence: {error.problem!r}"
        if (folder / "out.onnx").exists():
            return f"writes a file and fails: {error.problem}"
        return ""
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/trtqat/" in frame.filename] or list(frames)
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        name = type(error).__name__
        return f"{name} at {where}: {type(cause).__name__} {str(cause)[:160]!r}"
    return ""


if __name__ == "__main__":
    main()
