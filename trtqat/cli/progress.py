"""What a command says while it works, on standard error: log messages and a bar."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from trtqat.text import visible


def configure_logging(*, quiet: bool, verbose: bool) -> None:
    """Sends the messages of trtqat and TensorRT to standard error.

    Args:
        quiet: Only warnings.
        verbose: Debugging messages as well, and every warning as often as it comes.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    if not verbose:
        handler.addFilter(_Unsaid())
    handler.setFormatter(_Visible("%(message)s"))
    for name in ("trtqat", "tensorrt"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Any]:
    """A bar on standard error while it is a terminal; yields ``(done, total) -> None`` or None."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Any]:
    """As ``progress_bar``, for what has several parts; yields ``(part, done, total)`` or None."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part)
            bar.update(tasks[part], completed=done, total=total)

        yield show


class _Visible(logging.Formatter):
    """Shows the names in messages, as ``say`` does."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _Unsaid(logging.Filter):
    """Lets the same warning through once: of six queries in flight each has the same to say."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or record.exc_info:
            return True
        what = (record.name, record.getMessage())
        is_new = what not in self._said
        self._said.add(what)
        return is_new
