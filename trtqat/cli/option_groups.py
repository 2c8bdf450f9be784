"""Options that several commands share are composed once: a frozen dataclass a group.

A command takes the groups as parameters. What typer sees is one parameter for each of their
fields, so help and parsing are as if the command had listed them itself.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command of typer take dataclasses whose fields are annotated as its options are.

    Args:
        command: Each of its parameters is an option, or a dataclass of options.

    Returns:
        The command as typer reads it: the fields stand where their group stood.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    # Not get_type_hints: Python 3.10 puts an Optional around what has None as its default, and
    # typer would no longer find what is annotated.
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        annotation = parameter.annotation
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            groups[parameter.name] = annotation
            parameters += _parameters_of(annotation)
        else:
            # Fields without a default may follow such with one.
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def flat(**values: Any) -> None:  # noqa: ANN401
        for name, group in groups.items():
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**own)
        command(**values)

    # Typer reads both; what ``wraps`` left leads to the command as it was written.
    del flat.__wrapped__
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {each.name: each.annotation for each in parameters}
    return flat


def _parameters_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=inspect.Parameter.empty
            if field.default is dataclasses.MISSING
            else field.default,
        )
        for field in dataclasses.fields(group)
    ]
