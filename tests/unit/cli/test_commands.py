"""That commands are thin: over the sources, and over what typer makes of them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import trtqat
from trtqat.building.parsing import BuildKeywords
from trtqat.cli.build_options import BuilderGroup, ShapeGroup, TritonGroup
from trtqat.cli.export_options import PassesGroup
from trtqat.cli.inspecting import LayersGroup
from trtqat.cli.shared_options import TrustGroup
from trtqat.cli.tune import EngineGroup, SearchGroup
from trtqat.search.speed.options import TuneKeywords

CLI = Path(trtqat.__file__).parent / "cli"
FUNCTIONS = [
    pytest.param(node, id=f"{path.stem}.{node.name}")
    for path in sorted(CLI.glob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_fit_a_screen(function: ast.FunctionDef) -> None:
    assert function.end_lineno is not None
    assert function.end_lineno - function.lineno < 80
    assert len(function.args.args) + len(function.args.kwonlyargs) <= 12


def test_shared_options_say_the_same_everywhere() -> None:
    """Whatever command takes them: each is written once."""
    from typer.main import get_command

    from trtqat.cli.app import app

    texts: dict[str, set[str | None]] = {}
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        for option in command.params:
            for name in option.opts:
                texts.setdefault(name, set()).add(getattr(option, "help", None))
    for name in (
        *("--json", "--quiet", "--verbose", "--checkpoint", "--ema", "--factory-arg"),
        *("--trust", "--runtime", "--weights", "--allow-engine-code"),
    ):
        assert len(texts[name]) == 1, name


@pytest.mark.parametrize(
    ("groups", "taken"),
    [
        ((ShapeGroup, BuilderGroup, TritonGroup), BuildKeywords.__annotations__),
        ((SearchGroup, EngineGroup), TuneKeywords.__annotations__),
        ((PassesGroup,), inspect.signature(trtqat.export).parameters),
        ((LayersGroup, TrustGroup), [each.name for each in fields(trtqat.InspectOptions)]),
    ],
)
def test_a_group_that_is_handed_on_has_the_names_of_the_function(
    groups: tuple[Any, ...], taken: Collection[str]
) -> None:
    for group in groups:
        assert {each.name for each in fields(group)} <= set(taken)


def test_defaults_are_those_of_the_functions() -> None:
    """They are written twice, as help may not import what measures, and are the same."""
    from typer.main import get_command

    from trtqat.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    defaults = {
        (name, option.name): option.default
        for name, command in commands.items()
        for option in command.params
    }
    shown = {
        ("export", "min_sqnr_db"): trtqat.ExportOptions(()).min_sqnr_db,
        ("export", "static_batch"): trtqat.ExportOptions(()).static_batch,
        ("inspect", "passes"): trtqat.InspectOptions().passes,
        ("eval", "warm_up_ms"): trtqat.LatencyOptions().warm_up_ms,
        ("eval", "duration"): trtqat.LatencyOptions().duration_s,
        ("eval", "batch_size"): str(trtqat.EvaluateOptions().batch_size),
    }
    assert {key: defaults[key] for key in shown} == shown
    function = inspect.signature(trtqat.export).parameters
    for name in ("min_sqnr_db", *(each.name for each in fields(PassesGroup))):
        assert defaults["export", name] == function[name].default, name
