"""What a command prints: lines, tables and JSON, on standard output alone."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import typer

from trtqat.files import write_atomically
from trtqat.text import visible, visible_line
from trtqat.typed_json import json_text

# Standard output while a command runs, when sys.stdout is standard error.
_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)


@contextlib.contextmanager
def results_apart() -> Iterator[None]:
    """Keeps standard output for results; ``print`` meanwhile writes to standard error."""
    token = _RESULTS.set(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _RESULTS.reset(token)


def _results() -> TextIO:
    return _RESULTS.get() or sys.stdout


def say(text: str, *, err: bool = False) -> None:
    """Writes lines for a human: to standard output or, with ``err``, to standard error.

    All text goes through here, ``print_table`` or the logs, so that names in it are shown and not
    obeyed (``trtqat.text``).
    """
    typer.echo(visible(text), file=sys.stderr if err else _results())


def print_json(result: dict[str, Any], destination: str | None) -> bool:
    """Writes the result, and the command that made it, as JSON if that was asked for.

    Args:
        result: Plain data.
        destination: File name, ``"-"`` or None.

    Returns:
        Whether standard output is taken, so that no table may follow.
    """
    if destination is None:
        return False
    text = json_text({"command": command_line(), **result})
    if destination == "-":
        typer.echo(text, file=_results())
        return True
    write_atomically(Path(destination), (text + "\n").encode())
    return False


def command_line() -> str:
    """The command as it can be given to a shell again."""
    return shlex.join(["trtqat", *sys.argv[1:]])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to standard output, in Markdown, which reads well in a terminal too.

    A terminal gets it cut to its width; a file has none.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=_results(), highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        from trtqat.report.wording import markdown_table

        typer.echo(f"\n{markdown_table(columns, rows)}\n", file=_results())
        return
    table = Table(*map(visible_line, columns), box=box.MARKDOWN)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(visible_line(cell).replace("|", "\\|") for cell in row))
    console.print(table)
