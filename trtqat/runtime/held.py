"""What is held until it is closed: ``with`` closes it, whatever happens inside."""

from __future__ import annotations

from typing import TypeVar

_Held = TypeVar("_Held", bound="Held")


class Held:
    """A model or session, as ``with trtqat.open("model.engine") as engine:`` holds one."""

    def close(self) -> None:
        """Frees what is held; a second time does nothing."""
        raise NotImplementedError

    def __enter__(self: _Held) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
