"""What the README lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import trtqat
from trtqat.graph.lint import RULES

README = (Path(trtqat.__file__).parents[1] / "README.md").read_text()


def test_every_lint_rule_is_listed() -> None:
    table = README[README.index("| costs | rules |") :]
    table = table[: table.index("\n\n")]
    assert sorted(re.findall(r"`([a-z0-9-]+)`", table)) == sorted(r.identifier for r in RULES)
    notes = re.findall(r"`([a-z0-9-]+)` \(note\)", table)
    assert set(notes) == {rule.identifier for rule in RULES if rule.severity == "note"}


def test_every_path_that_it_names_exists() -> None:
    root = Path(trtqat.__file__).parents[1]
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    # The map's second and third links of a row are relative to the first.
    for link in links:
        assert (root / link).exists(), link
