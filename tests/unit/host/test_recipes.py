"""The recipes: one for each kind of host, the page that is made of them, commands that parse."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from typer.core import TyperGroup

import trtqat.host.recipes
from trtqat.cli.app import app
from trtqat.host.recipes.book import RECIPES, recipe_for
from trtqat.host.recipes.page import make_page
from trtqat.host.recipes.recipe import MARKS, Recipe, Step
from trtqat.host.surroundings import HostKind

PAGE = Path(trtqat.host.recipes.__file__).with_name("README.md")
STEPS = [(recipe, step) for recipe in RECIPES for step in recipe.steps]


def test_the_page_is_made_of_the_recipes() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page()


def test_each_kind_of_host_has_one_recipe() -> None:
    assert sorted(each.kind for each in RECIPES) == sorted(get_args(HostKind))
    for each in RECIPES:
        assert recipe_for(each.kind) is each


@pytest.mark.parametrize(
    ("recipe", "step"), STEPS, ids=lambda each: getattr(each, "kind", None) or each.command[:40]
)
def test_each_command_parses_and_says_how_it_is_known(recipe: Recipe, step: Step) -> None:
    assert step.mark in MARKS
    assert step.how
    assert step.does.endswith(".")
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for line in step.command.splitlines():
        if recipe.shell == "powershell" and not line.startswith("trtqat"):
            continue
        program, *words = shlex.split(line)
        if program == "trtqat":
            name, *arguments = words
            # Parses, and refuses what is no option or has no such value; nothing is run.
            group.commands[name].make_context(name, arguments)


def test_what_parses_could_fail() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    with pytest.raises(Exception, match="--no-such-option"):
        group.commands["build"].make_context("build", ["m.onnx", "-o", "m", "--no-such-option"])


def test_what_was_only_read_is_not_said_to_run() -> None:
    jetson = str(recipe_for("jetson"))
    assert "None of this was run" in jetson
    assert "(from documentation: Torch-TensorRT documentation, JetPack 6.2)" in jetson
    kinds: tuple[HostKind, ...] = ("windows", "wsl2", "nvidia-container", "triton-container")
    for kind in kinds:
        assert all(step.mark != "run" for step in recipe_for(kind).steps), kind
    # No TensorRT but 8.6.0 has run.
    for recipe in RECIPES:
        for step in recipe.steps:
            if step.mark == "run" and step.command.startswith("trtqat eval model.engine"):
                assert recipe.kind == "gpu-server"
