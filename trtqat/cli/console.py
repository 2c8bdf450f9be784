"""The frame of every command: its log, and errors as sentences with their exit codes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer

from trtqat.cli.output import results_apart, say
from trtqat.cli.process import leave_interrupted, noticed_interrupts
from trtqat.cli.progress import configure_logging
from trtqat.errors import TrtqatError
from trtqat.user_code import as_usage_error


@contextlib.contextmanager
def command(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Runs a command's body: logs to standard error, turns errors into exit codes.

    Standard output is for ``say``, ``print_table`` and ``print_json`` alone. What the user's code
    and libraries print meanwhile goes to standard error, where it spoils no JSON.

    Args:
        quiet: Only warnings.
        verbose: Debugging messages as well.
    """
    configure_logging(quiet=quiet, verbose=verbose)
    with noticed_interrupts() as interrupted, results_apart():
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
