"""Text that somebody else wrote, made fit to be shown."""

from __future__ import annotations

import html
import unicodedata

# Besides what Python calls printable: line breaks and tabs of our own, and spaces of any width.
_KEPT = "\n\t"
_SPACE = "Zs"


def visible(text: str) -> str:
    r"""Shows what is not printable as an escape: ``\x1b`` in place of the character itself.

    Names in ONNX files, plans, manifests and archives are anybody's. As they are, a terminal would
    take them for commands: to clear the screen, to set its title, to turn the line around.

    Args:
        text: May hold control and format characters, and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in _KEPT or unicodedata.category(char) == _SPACE
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def visible_line(text: str) -> str:
    """The same for what must stay on one line, as a cell of a table."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def escape(text: str) -> str:
    """The same for HTML, in text and in attributes: what is markup there is shown, too."""
    return html.escape(visible(text))
