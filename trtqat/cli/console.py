"""What all commands share: options, logging, errors as sentences, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from trtqat.cli.process import leave_interrupted, noticed_interrupts
from trtqat.errors import TrtqatError, UsageError
from trtqat.files import check_input, check_writable, is_file, write_atomically
from trtqat.text import visible, visible_line
from trtqat.user_code import as_usage_error

# Standard output while a command runs, when sys.stdout is standard error.
_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)

# A list of numbers as json.dumps indents it; no string of JSON holds a line break.
_NUMBERS = re.compile(r"\[\n\s+((?:[-\d]|null)[^\[\]{}\"]*?)\n\s*\]")


class Flavour(str, Enum):
    """TensorRT's runtimes."""

    full = "full"
    lean = "lean"
    dispatch = "dispatch"


JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is standard output."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the result.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Everything, TensorRT's log included.")
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="State dict for the factory's model (weights_only)."),
]
EmaOption = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Of a checkpoint with both: the averaged weights (EMA, SWA), or the raw ones.",
    ),
]
FactoryArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--factory-arg", metavar="NAME=VALUE", help="Keyword argument for the factory; repeatable."
    ),
]
AllowEngineCodeOption = Annotated[
    bool,
    typer.Option(
        "--allow-engine-code", help="Run a version-compatible plan, which may carry a library."
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust", metavar="PUBLIC.pem", help="Refuse an engine that is not signed with this key."
    ),
]
RuntimeOption = Annotated[
    Flavour | None,
    typer.Option(
        "--runtime", help="Which TensorRT runs an engine. Default: the first installed that may."
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL.onnx", help="The graph of an engine that was built with --strip-weights."
    ),
]


@contextlib.contextmanager
def command(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Runs a command's body: logs to standard error, turns errors into exit codes.

    Standard output is for ``say``, ``print_table`` and ``print_json`` alone. What the user's code
    and libraries print meanwhile goes to standard error, where it spoils no JSON.

    Args:
        quiet: Only warnings.
        verbose: Debugging messages as well.
    """
    _configure_logging(quiet=quiet, verbose=verbose)
    with noticed_interrupts() as interrupted, _results_apart():
        try:
            yield
        except BaseException as error:
            if interrupted.is_set() or isinstance(error, KeyboardInterrupt):
                leave_interrupted()
            if not isinstance(error, Exception):
                # Only code of the user's or of a library does that: no command ends by SystemExit.
                error = as_usage_error(error)
            if not isinstance(error, TrtqatError):
                raise
            say(f"error: {error.problem}", err=True)
            if error.remedy:
                say(f"       {error.remedy}", err=True)
            raise typer.Exit(error.exit_code) from error


@contextlib.contextmanager
def _results_apart() -> Iterator[None]:
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
    recorded = {"command": command_line(), **_plain(result)}
    # A line for each number of a distribution would make a report of 30,000 lines.
    text = _NUMBERS.sub(_on_one_line, json.dumps(recorded, indent=1, default=str))
    if destination == "-":
        typer.echo(text, file=_results())
        return True
    write_atomically(Path(destination), (text + "\n").encode())
    return False


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def command_line() -> str:
    """The command as it can be given to a shell again."""
    return shlex.join(["trtqat", *sys.argv[1:]])


def check_outputs(
    outputs: Mapping[str, str | Path | None],
    inputs: Iterable[str | Path | None] = (),
    *,
    plan: Path | None = None,
) -> None:
    """Finds out whether inputs can be files, and outputs be written, before anything is computed.

    Args:
        outputs: File by option; None is none, and ``"-"`` for --json is standard output.
        inputs: What is read: files, or with a file in it, as ``model.py:factory``.
        plan: What is read or written, if it is a plan: what lies beside it is not to be
            overwritten either.

    Raises:
        UsageError: An input is no file that can be read; an output cannot be written, or would
            overwrite an input or another output.
    """
    named = [name for text in inputs for name in _names_in(text)]
    for name in named:
        check_input(name)
    taken = {_real(name): "an input of this command" for name in named if is_file(name)}
    # "." has no name, and is no plan.
    if plan is not None and plan.name:
        from trtqat.plan.manifest import manifest_path
        from trtqat.plan.signature import signature_path

        graph = plan.with_suffix(".onnx")
        if is_file(graph):
            taken[_real(graph)] = "an input of this command"
        taken[_real(manifest_path(plan))] = f"the manifest of '{plan}'"
        taken[_real(signature_path(plan))] = f"the signature of '{plan}'"
    for option, destination in outputs.items():
        if destination is None or (option, destination) == ("--json", "-"):
            continue
        if str(destination) == "-":
            raise UsageError(
                f"{option} does not go to standard output.", "Give the name of a file."
            )
        check_writable(Path(destination))
        path = _real(destination)
        if path in taken:
            raise UsageError(
                f"{option} '{destination}' would overwrite {taken[path]}.", "Choose another name."
            )
        taken[path] = f"what {option} writes"


def _names_in(text: str | Path | None) -> list[str]:
    """The files that an argument may name: itself, and what stands before its last colon."""
    return [name for name in (str(text or ""), str(text or "").rpartition(":")[0]) if name]


def _real(path: str | Path) -> str:
    """One name of a file for all that it has; links that lead in a circle stay as they are."""
    return os.path.realpath(path)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to standard output, in Markdown, which reads well in a terminal too."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*map(visible_line, columns), box=box.MARKDOWN)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(visible_line(cell).replace("|", "\\|") for cell in row))
    console = Console(file=_results(), highlight=False, markup=False, emoji=False)
    # Cells are cut to the width of a terminal; a file has none.
    if not console.is_terminal:
        console = Console(file=_results(), highlight=False, markup=False, emoji=False, width=10_000)
    console.print(table)


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


def _configure_logging(*, quiet: bool, verbose: bool) -> None:
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


def _plain(value: Any) -> Any:  # noqa: ANN401
    """JSON has no infinity and no NaN: they become words that ``float`` reads again."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


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
