from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from trtqat.cli.option_groups import grouped


@dataclass(frozen=True)
class Source:
    checkpoint: Annotated[Path | None, typer.Option(metavar="FILE", help="A state dict.")] = None
    factory_arg: Annotated[list[str] | None, typer.Option()] = None


@dataclass(frozen=True)
class Needed:
    data: Annotated[str, typer.Option(help="What it runs on.")]


def run(*arguments: str) -> tuple[int, str, list[object]]:
    seen: list[object] = []
    app = typer.Typer()

    @app.command()
    @grouped
    def command(
        model: Annotated[Path, typer.Argument()],
        source: Source,
        needed: Needed,
        batch_size: Annotated[int, typer.Option(min=1)] = 32,
    ) -> None:
        """Does it."""
        seen.extend((model, source, needed, batch_size))

    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output, seen


def test_fields_are_options() -> None:
    code, _, seen = run("m.onnx", "--data", "random", "--factory-arg", "a=1", "--factory-arg", "b")
    assert code == 0
    assert seen == [Path("m.onnx"), Source(None, ["a=1", "b"]), Needed("random"), 32]


def test_what_a_group_needs_is_asked_for() -> None:
    code, output, seen = run("m.onnx", "--checkpoint", "c.pt")
    assert (code, seen) == (2, [])
    assert "--data" in output


def test_help_lists_them_all() -> None:
    code, output, _ = run("--help")
    assert code == 0
    for each in ("Does it", "--checkpoint", "--factory-arg", "--data", "--batch-size"):
        assert each in output


def test_what_may_be_left_out_stays_what_it_is() -> None:
    """An argument with None as its default is no option, in Python 3.10 either."""
    seen: list[object] = []
    app = typer.Typer()

    @app.command()
    @grouped
    def command(
        plan: Annotated[Path | None, typer.Argument()] = None,
        html: Annotated[Path | None, typer.Option("--page")] = None,
        *,
        source: Source,
    ) -> None:
        seen.append((plan, html, source))

    for arguments in (["m.engine", "--page", "p.html"], []):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert seen == [(Path("m.engine"), Path("p.html"), Source()), (None, None, Source())]
