"""The process around a command: its standard streams, and Ctrl-C.

Standard output may be a full disk, a pipe that nobody reads any more, or closed. A command goes on
all the same, so that the files that it was asked for are written and gates are judged; then it
says so and ends with 1. Nothing but the standard library is imported here: what takes long
to import comes when all this is in its place.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

_FAILED = 1
_INTERRUPTED = 130
# By how many objects, and how often then, Python looks for cycles. Its default is for programs that
# have few; PyTorch and a graph are a million that stay, and looking at them again and again is a
# second of an export.
_SELDOM = (20_000, 20, 20)


def run_command(run: Callable[[], None]) -> None:
    """Runs the command line, and ends the process with its exit code.

    Args:
        run: Raises SystemExit with the code.

    Raises:
        SystemExit: Always.
    """
    gc.set_threshold(*_SELDOM)
    _open_standard_handles()
    # Imports turn KeyboardInterrupt into other exceptions, or print it and go on.
    if _is_set_by_nobody():
        signal.signal(signal.SIGINT, _end_at_once)
    code: object = 0
    with _guarded("stderr"), _guarded("stdout") as output:
        try:
            run()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        if output is not None and output.lost is not None:
            code = code or _FAILED
            # typer may not be imported.
            print(_describe(output.lost), file=sys.stderr)  # noqa: T201
    # Python would look through all that PyTorch has made for cycles, behind an export two seconds
    # long, to free what the system takes back a moment later.
    gc.freeze()
    raise SystemExit(code)


@contextlib.contextmanager
def noticed_interrupts() -> Iterator[threading.Event]:
    """Yields what Ctrl-C sets, besides raising KeyboardInterrupt as ever.

    Libraries turn that exception into others: PyTorch, while it imports its compiler, into an
    AttributeError about a module that is only half there.
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if not _is_set_by_nobody():
        yield interrupted
        return

    def notice(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def leave_interrupted() -> None:
    """Ends the process at once, with 130."""
    with contextlib.suppress(OSError, ValueError):
        print("Interrupted; nothing half-written is left.", file=sys.stderr)  # noqa: T201
        sys.stderr.flush()
    # TensorRT may still be building in its thread and knows no way to stop: leave it.
    os._exit(_INTERRUPTED)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C while no command has begun, or when it has ended: there is nothing to undo."""
    with contextlib.suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(_INTERRUPTED)


def _is_set_by_nobody() -> bool:
    """Whether Ctrl-C does what it does by itself, or here.

    Who starts a process in the background may have told it to ignore Ctrl-C; and only the main
    thread may say what it does.
    """
    ours = (signal.default_int_handler, _end_at_once)
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) in ours


class _Guarded(io.RawIOBase):
    """Writes to a handle until that fails, and drops the rest.

    Attributes:
        lost: Why something was dropped; None as long as nothing was.
    """

    def __init__(self, raw: io.FileIO | None) -> None:
        """Takes the unbuffered stream, or None for one that was closed from the start."""
        super().__init__()
        self._raw = raw
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw is not None and self._raw.isatty()

    def fileno(self) -> int:
        if self._raw is None:
            raise io.UnsupportedOperation("it is closed")
        return self._raw.fileno()

    def write(self, data: object) -> int:
        content = memoryview(data).cast("B")  # type: ignore[arg-type]
        if self.lost is None and len(content):
            try:
                self._write(content)
            except OSError as error:
                self.lost = error
        return len(content)

    def _write(self, content: memoryview) -> None:
        if self._raw is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        while content:
            written = self._raw.write(content)
            if written is None:
                # Another process has made the pipe one that does not wait.
                select.select([], [self._raw], [])
            else:
                content = content[written:]


def _open_standard_handles() -> None:
    """Without them the next file that is opened would take their number, and library output."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextlib.contextmanager
def _guarded(name: str) -> Iterator[_Guarded | None]:
    """Puts a guard behind ``sys.stdout`` or ``sys.stderr``; None where it is no real stream."""
    stream: TextIO | None = getattr(sys, name)
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if stream is not None and not isinstance(raw, io.FileIO):
        yield None
        return
    guard = _Guarded(raw)
    guarded = io.TextIOWrapper(
        io.BufferedWriter(guard),
        encoding=stream.encoding if stream is not None else "utf-8",
        # A file name need not be text, nor a terminal know Greek.
        errors="backslashreplace",
        line_buffering=name == "stderr" or guard.isatty(),
    )
    setattr(sys, name, guarded)
    try:
        yield guard
    finally:
        guarded.flush()
        setattr(sys, name, stream)


def _describe(error: OSError) -> str:
    """The problem and the way out, as errors are printed."""
    problems = {
        errno.EPIPE: ("was closed before everything was printed", "Read it to its end"),
        errno.EBADF: ("is closed", "Let it lead somewhere"),
    }
    other = (f"cannot be written: {error.strerror}", "Free some space, or let it lead elsewhere")
    problem, remedy = problems.get(error.errno or 0, other)
    return (
        f"error: Standard output {problem}.\n"
        f"       {remedy}; files that were asked for do not depend on it."
    )
