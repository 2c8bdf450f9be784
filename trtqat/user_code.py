"""The border to code that is not ours: a factory, a forward, a data set.

Such code may raise anything, ``sys.exit`` included, which would end the program with the exit code
0 and nothing done. Every call of it stands inside ``user_code``, or ``exits_told`` where whoever
calls has sentences of its own for exceptions. A Ctrl-C, and a TrtqatError, pass.
"""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from trtqat.errors import SourceError, TrtqatError, UsageError, message_of

_MUST_RETURN = (
    "It must return; keep what ends a program for a script's own run, under "
    'if __name__ == "__main__".'
)
_NOT_THE_USERS = (Path(__file__).parent, Path(sysconfig.get_path("stdlib")))
_INSTALLED = {"site-packages", "dist-packages"}


@contextlib.contextmanager
def user_code(
    subject: str, kind: type[TrtqatError], remedy: str, *, when: str = ""
) -> Iterator[None]:
    """Around a call of the user's code: a sentence for whatever it raises.

    Standard output is for results, so what the code prints goes to standard error.

    Args:
        subject: The code, as the subject of a sentence.
        kind: What to raise.
        remedy: The way out after an exception; after an exit there is only one.
        when: A clause for the end of the sentence, as ``" when it was called"``.

    Raises:
        TrtqatError: The code raised; of ``kind``, unless it raised a TrtqatError itself.
    """
    with printing_aside(), exits_told(subject, kind, when=when):
        try:
            yield
        except TrtqatError:
            raise
        except Exception as error:
            seen = f"See {place}. {remedy}" if (place := place_of(error)) else remedy
            raise kind(f"{subject} raised {in_words(error, when)}.", seen) from error


class _Aside:
    """How many blocks print aside, in all threads, and where the program prints else."""

    lock = threading.Lock()
    blocks = 0
    stdout: TextIO


@contextlib.contextmanager
def printing_aside() -> Iterator[None]:
    """Lets ``print`` write to standard error meanwhile.

    Threads share ``sys.stdout``: the first block redirects it, and the last one puts it back.
    """
    with _Aside.lock:
        if not _Aside.blocks:
            _Aside.stdout, sys.stdout = sys.stdout, sys.stderr
        _Aside.blocks += 1
    try:
        yield
    finally:
        with _Aside.lock:
            _Aside.blocks -= 1
            if not _Aside.blocks:
                sys.stdout = _Aside.stdout


@contextlib.contextmanager
def exits_told(
    subject: str, kind: type[TrtqatError] = SourceError, *, when: str = ""
) -> Iterator[None]:
    """Lets exceptions pass, but nothing that would end the program, except a Ctrl-C.

    Args:
        subject: The code, as the subject of a sentence.
        kind: What to raise; wrong input if not given.
        when: As for ``user_code``.

    Raises:
        TrtqatError: The code raised SystemExit, GeneratorExit or the like.
    """
    try:
        yield
    except BaseException as error:
        # Ctrl-C raises KeyboardInterrupt itself; a class derived from it is somebody's own.
        if isinstance(error, Exception) or type(error) is KeyboardInterrupt:
            raise
        place = f" ({place})" if (place := place_of(error)) else ""
        raise kind(f"{subject} raised {in_words(error, when)}{place}.", _MUST_RETURN) from error


def in_words(error: BaseException, when: str = "") -> str:
    """An exception's class, and its message if it has one.

    Args:
        error: Of any class; its ``__str__`` may itself raise.
        when: A clause behind the class.
    """
    name, message = type(error).__name__, message_of(error)
    return f"{name}{when}: {message}" if message else f"{name} without a message{when}"


def place_of(error: BaseException) -> str:
    """The innermost line of the user's that was running, as ``net.py, line 7``, or nothing."""
    return _innermost(traceback.walk_tb(error.__traceback__))


def place_now() -> str:
    """The innermost line of the user's that is running, as ``net.py, line 7``, or nothing."""
    return _innermost(reversed(list(traceback.walk_stack(None))))


def _innermost(frames: Iterable[tuple[FrameType, int]]) -> str:
    """The last line of the user's, of frames from the outermost on."""
    place = ""
    for frame, line in frames:
        path = Path(frame.f_code.co_filename)
        is_installed = _INSTALLED.intersection(path.parts)
        is_foreign = is_installed or any(each in path.parents for each in _NOT_THE_USERS)
        if path.is_absolute() and not is_foreign:
            place = f"{path.name}, line {line}"
    return place


def returned(value: object) -> str:
    """What a function returned instead of what it should, as the object of a sentence."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def as_usage_error(error: BaseException) -> UsageError:
    """For what no border caught: the sentence of a command that would have ended unsaid."""
    return UsageError(f"The code that was run raised {in_words(error)}.", _MUST_RETURN)
