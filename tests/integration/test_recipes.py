"""The commands of the recipes that need no GPU, typed one behind the other as a recipe has them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support.commands import in_process
from tests.support.user_folder import fill_folder
from trtqat.host.recipes.book import recipe_for
from trtqat.host.recipes.recipe import BY_TEST
from trtqat.host.surroundings import HostKind


@pytest.mark.parametrize("kind", ["no-gpu", "rtx-card"])
def test_what_is_marked_as_run_here_runs(kind: HostKind, tmp_path: Path) -> None:
    fill_folder(tmp_path)
    lines = [
        step.command
        for step in recipe_for(kind).steps
        if step.mark == "run" and step.how == BY_TEST
    ]
    assert len(lines) >= 5
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "trtqat"
        done = in_process(tmp_path, *words)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
