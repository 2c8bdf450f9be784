"""Checks where options and calls enter: what is wrong is said at once, not deep inside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from trtqat.errors import UsageError


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], example: str) -> None:
    """Refuses a value of another type.

    Args:
        name: Of the option.
        value: What was given.
        kinds: Types that it may have; ``bool`` counts as ``int`` only where it is named.
        example: A value that is right, as it is written in Python.

    Raises:
        UsageError: It has another type.
    """
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise UsageError(
            f"{name} is {_shown(value)}, a {type(value).__name__}.",
            f"Give a value as {example}.",
        )


def check_least(name: str, value: float, least: float) -> None:
    """Refuses a number that is too small.

    Args:
        name: Of the option.
        value: What was given.
        least: The smallest that it may be.

    Raises:
        UsageError: It is below that.
    """
    if value < least:
        raise UsageError(f"{name} is {value!r}.", f"Give {least:g} or more.")


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuses a value that is none of the choices.

    Raises:
        UsageError: It is another one.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise UsageError(
            f"{name} is {_shown(value)}, which is no choice.",
            f"Use one of {', '.join(map(repr, choices))}.",
        )


def check_members(name: str, value: object, members: Collection[str], example: str) -> None:
    """Refuses an object of a class that lacks what is asked of it.

    Args:
        name: Of the argument.
        value: What was given.
        members: Names that it must have.
        example: What is right, as it is written in Python.

    Raises:
        UsageError: It lacks one of them.
    """
    if not all(hasattr(value, each) for each in members):
        raise UsageError(
            f"{name} is {_shown(value)}, a {type(value).__name__}.", f"Give {example}."
        )


def check_known(given: Iterable[str], known: Iterable[str], of: str) -> None:
    """Refuses keywords that a function does not know.

    Args:
        given: Their names.
        known: The names that there are.
        of: Whose options they would be, as "a build".

    Raises:
        UsageError: One of them is none.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise UsageError(
                f"'{name}' is no option of {of}.", f"Its options are {', '.join(known)}."
            )


def check_names(name: str, value: object, example: str) -> None:
    """Refuses what is no list of strings, a single string above all: it is a list of letters.

    Raises:
        UsageError: It is something else.
    """
    is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    if not is_list or not all(isinstance(each, str) for each in value):  # type: ignore[attr-defined]
        raise UsageError(
            f"{name} is {_shown(value)}, where a list of names belongs.", f"Write {example}."
        )


def refuse_for_graphs(path: object, given: Mapping[str, bool]) -> None:
    """Refuses options of engines where a graph is opened, which would ignore them.

    Args:
        path: The graph.
        given: By option, as the command line spells it, whether it was given.

    Raises:
        UsageError: One was.
    """
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"'{path}' is a graph itself; {option} is for engines.", f"Leave out {option}."
            )


def closed(name: str, what: str = "session") -> UsageError:
    """For the use of what was closed.

    Args:
        name: Of the model.
        what: What was closed.
    """
    return UsageError(
        f"The {what} of '{name}' is closed.",
        "Close it when it has run for the last time, or open another one.",
    )


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 and "\n" not in shown else f"{shown.split()[0][:40]}…"
