"""Opening sessions for several queries in flight, as many of each model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from trtqat.errors import ForwardError, InferenceError
from trtqat.runtime.protocol import Model, Session

_LOG = logging.getLogger(__name__)


class _Closable(Protocol):
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=_Closable)


def open_sessions(
    models: Sequence[Model], batch_size: int, wanted: int, *, own_streams: bool = False
) -> list[list[Session]]:
    """Opens sessions for queries in flight, as many of each model.

    Args:
        models: If one of them gains nothing by several, as on a CPU, each gets one.
        batch_size: Within their ranges.
        wanted: At most so many of each.
        own_streams: Whether the kernels of each run on a stream of its own, beside the others'.

    Raises:
        InferenceError: A model does not even open one; those that were opened are closed.
    """
    if not all(model.runs_concurrently for model in models):
        wanted = min(wanted, 1)
    openers = [
        partial(each.session_on_own_stream if own_streams else each.session, batch_size)
        for each in models
    ]
    return open_in_turns(openers, wanted)


def open_in_turns(openers: Sequence[Callable[[], Opened]], wanted: int) -> list[list[Opened]]:
    """Calls openers in turns, each as often.

    Each opens one first, then a second one, and so on: a model must not take the memory that the
    next one needs for its first. Where one opens no further, none gets more than that one has.

    Args:
        openers: What each opens can be closed.
        wanted: How often at most.

    Returns:
        What each has opened.

    Raises:
        InferenceError: One does not even open a first; those that were opened are closed.
    """
    found: list[list[Opened]] = [[] for _ in openers]
    for count in range(wanted):
        try:
            for opener, opened in zip(openers, found, strict=True):
                opened.append(opener())
        except (ForwardError, InferenceError) as error:
            for opened in found:
                for each in opened[count:]:
                    each.close()
                del opened[count:]
            if count == 0:
                raise
            _LOG.warning("%d of %d queries in flight: %s", count, wanted, error)
            break
    return found
