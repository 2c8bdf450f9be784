"""Entry point of ``trtqat``: nothing is imported before Ctrl-C and full disks are provided for."""

from __future__ import annotations

from trtqat.cli.process import run_command


def main() -> None:
    """Entry point of the console script."""
    run_command(_run)


def _run() -> None:
    from trtqat.cli.lazily import import_lazily

    import_lazily()
    from trtqat.cli.app import app

    app()
