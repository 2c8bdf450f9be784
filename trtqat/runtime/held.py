"""What holds memory, a stream or a library's object until it is closed."""

from __future__ import annotations

import abc
from typing import TypeVar

_Held = TypeVar("_Held", bound="Held")


class Held(abc.ABC):
    """Closes itself at the end of a ``with`` statement, whatever happened in it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees what is held; a second call does nothing."""

    def __enter__(self: _Held) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
