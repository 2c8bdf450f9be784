"""The children of a module with quantizers, as its own forward sees them.

A forward may go through the children of its module, as that of ``nn.Sequential`` does. The one that
holds the quantizers is none that it knows of, and cannot be called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from trtqat.quant.placing.interception import CHILD, are_running

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

_ByName: TypeAlias = dict[str, nn.Module | None]


class Children(_ByName):
    """``_modules`` that lists no ``int8`` to a thread in which the module's forward runs.

    Nothing is taken out for that: other threads may run the same module meanwhile, or save it.
    """

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())

    def keys(self) -> dict_keys[str, nn.Module | None]:
        """Names of those that are listed."""
        return self._listed().keys()

    def values(self) -> dict_values[str, nn.Module | None]:
        """Those that are listed."""
        return self._listed().values()

    def items(self) -> dict_items[str, nn.Module | None]:
        """Those that are listed, with their names."""
        return self._listed().items()

    def copy(self) -> Children:
        """All of them: ``nn.DataParallel`` gives each replica of a module such a copy."""
        return Children(dict.items(self))

    def _listed(self) -> _ByName:
        listed = dict(dict.items(self))
        if are_running(self):
            listed.pop(CHILD, None)
        return listed
