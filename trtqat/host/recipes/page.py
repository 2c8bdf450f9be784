"""The page of recipes, made of what ``doctor`` shows.

``README.md`` beside this file is what ``make_page`` returns; a test holds them equal:

    python -m trtqat.host.recipes.page > trtqat/host/recipes/README.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from trtqat.host.recipes.book import RECIPES
from trtqat.host.recipes.recipe import Recipe, Step

_HEAD = """# recipes: what to type on which host

One recipe for each kind of host. `trtqat doctor` shows the one of the host that it finds itself on.
Page and command are made of the same data. So change that ([`book.py`](book.py)), and run
`python -m trtqat.host.recipes.page > trtqat/host/recipes/README.md`.

Each command says how it is known:

- *run*: it was typed where the line says, and did what it should.
- *checked*: on another host its options were parsed, its packages resolved, or it was run.
- *from documentation*: the source that is named says so, and nobody here has tried it.

trtqat is on no package index: every `pip install` is typed in a checkout. `model.py`, `fp32.pt` and
the `.npz` files are [yours](../../../README.md#your-own-model).
"""


def make_page() -> str:
    """The page, in Markdown."""
    found = [f"- [{each.title}](#{_anchor(each)})" for each in RECIPES]
    return "\n".join([_HEAD, *found, *(line for each in RECIPES for line in _chapter(each)), ""])


def _anchor(recipe: Recipe) -> str:
    kept = (char for char in recipe.title.lower() if char.isalnum() or char in " -_")
    return "".join(kept).replace(" ", "-")


def _chapter(recipe: Recipe) -> Iterator[str]:
    yield f"\n## {recipe.title}\n"
    yield from (f"- {each}" for each in recipe.says)
    for number, step in enumerate(recipe.steps, 1):
        yield from _step(number, step, recipe.shell)


def _step(number: int, step: Step, shell: str) -> Iterator[str]:
    mark = "from documentation" if step.is_read else step.mark
    yield f"\n**{number}.** {step.does} *{mark}*{':' if step.is_read else ''} {step.how}.\n"
    yield f"```{shell}\n{step.command}\n```"


if __name__ == "__main__":
    sys.stdout.write(make_page())
