"""The cases of all lint rules; each rule's stand together in one file."""

from __future__ import annotations

from tests.support import lint_layers, lint_operators, lint_parameters, lint_places, lint_values
from tests.support.linting import Case

CASES: tuple[Case, ...] = (
    *lint_parameters.CASES,
    *lint_operators.CASES,
    *lint_places.CASES,
    *lint_layers.CASES,
    *lint_values.CASES,
)
