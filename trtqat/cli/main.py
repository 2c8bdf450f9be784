"""The entry point of ``trtqat``: what Ctrl-C does before a command runs.

It imports nothing, so that Ctrl-C is answered before anything is imported that takes time.
"""

from __future__ import annotations

import os
import signal

# What a shell reports for a program that SIGINT ended.
INTERRUPTED = 130


def main() -> None:
    """Entry point of the console script."""
    # Imports turn KeyboardInterrupt into other exceptions, and print what they cannot raise.
    # Whoever started this in the background may have told it to ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    from trtqat.cli.app import app

    app()


def end_at_once(number: int, frame: object) -> None:
    """Handles SIGINT while no command has begun or when it has ended: there is nothing to undo."""
    del number, frame
    os.write(2, b"Interrupted.\n")
    os._exit(INTERRUPTED)
