"""Modules that are run when something is first asked of them, not when they are imported.

``onnx_ir`` imports SymPy, half a second of a processor, for arithmetic with symbolic dimensions.
Most commands have none. Only a process that is a command is told so, as what is imported lazily is
so for all code in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# The second one reads the first as it is run.
SYMBOLIC = ("sympy", "onnx_ir._symbolic_shapes")


class _Lazily:
    """Finds some modules where they are, and has them run later."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_lazily(names: Iterable[str] = SYMBOLIC) -> None:
    """Has modules run when something is first asked of them; those that were run stay so.

    Args:
        names: Whole names. One that cannot be found is missed by what imports it, as ever.
    """
    sys.meta_path.insert(0, _Lazily(names))
