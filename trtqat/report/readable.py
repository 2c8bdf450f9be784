"""``evaluate`` for people: a report that prints itself, and writes itself as a page.

The rooms below measure and know nothing of words and pages. So the report that users get is made
here: what was measured, and these ways to read it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from trtqat.evaluation.evaluate import evaluate as _evaluate
from trtqat.evaluation.report import Report
from trtqat.files import write_atomically
from trtqat.report.page import render_page
from trtqat.report.wording import markdown_table
from trtqat.report.words import closing_words, report_tables
from trtqat.text import visible

_Arguments = ParamSpec("_Arguments")


class ReadableReport(Report):
    """A report with words, tables and a page.

    It has the figures of ``Report``. ``print(report)`` shows its tables, a notebook its page.
    """

    def __str__(self) -> str:
        parts = [markdown_table(columns, rows) for _, columns, rows in report_tables(self)]
        parts += [visible(words.strip("\n")) for words in closing_words(self)]
        if self.warnings:
            parts.append("\n".join(map(visible, self.warnings)))
        return "\n\n".join(parts)

    def html(self, path: Path | str) -> None:
        """Writes the report as one page, with charts: no network, no script.

        Args:
            path: The file; one that is there is replaced.

        Raises:
            UsageError: The file cannot be written.
        """
        write_atomically(Path(path), self._repr_html_().encode())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return render_page(self)


def _readable(
    function: Callable[_Arguments, Report],
) -> Callable[_Arguments, ReadableReport]:
    @functools.wraps(function)
    def evaluated(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> ReadableReport:
        return ReadableReport(**vars(function(*args, **kwargs)))

    return evaluated


evaluate = _readable(_evaluate)
