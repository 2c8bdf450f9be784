"""Filling the templates of this room: one place where names become HTML."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from trtqat.text import escape

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **values: object) -> Markup:
    """Fills a template.

    Whatever is put into it is escaped, unless it was filled from a template itself: a name in a
    file is anybody's, and is shown, not obeyed.

    Args:
        template: Name of a file in this folder.
        values: What the template refers to; one that is missing is an error.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("trtqat", "report"),
        autoescape=True,
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["px"] = _in_pixels
    return environment


def _escaped(value: object) -> Markup:
    from markupsafe import Markup

    # Beyond what jinja2 escapes: characters that no page shows, as those that turn a line around.
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def _in_pixels(value: float) -> str:
    """A length in the units of an SVG, to a tenth."""
    return f"{value:.1f}"
