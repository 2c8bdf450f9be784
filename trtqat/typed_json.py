"""JSON that others wrote, read once into frozen dataclasses: every field has its type from then on.

The standard parser takes what no writer of ours makes: NaN, a name twice, numbers of a million
digits, nesting up to the interpreter's limit, surrogates that no terminal prints. Here each of
them is a ``ValueError`` whose message is the end of a sentence.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_Object = TypeVar("_Object")

# Far more than any file of ours nests, far less than what a recursion over it needs.
_MOST_LEVELS = 64
_LARGEST = 2**63 - 1
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}


def parse_json(data: bytes, *, with_nan: bool = False, foreign: bool = False) -> object:
    """Decodes JSON strictly.

    Args:
        data: UTF-8.
        with_nan: Whether it may hold NaN and infinities, as Python writes them; no field that
            ``read_as`` reads may be one of them.
        foreign: Whether another program wrote it, as TensorRT, which writes control characters
            into texts as they are; the last of several values of one name counts then.

    Raises:
        ValueError: It is no JSON, nests too deeply, has a name twice in one object, or a number
            or text that nothing of ours can hold.
    """
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=dict if foreign else _object,
            strict=not foreign,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=float if with_nan else _no_constant,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ValueError(f"it nests more than {_MOST_LEVELS} levels deep") from error
    _check_levels_and_text(value)
    return value


def read_as(cls: type[_Object], value: object, place: str = "") -> _Object:
    """Makes a dataclass of a decoded object, and checks the type of every field.

    Fields may be text, numbers, booleans, literals, other dataclasses, ``tuple[X, ...]``,
    ``Sequence[X]`` (made a tuple), ``Mapping[str, X]``, and unions with None. Names that the
    dataclass does not have are left out: a newer version wrote them.

    Args:
        cls: A dataclass.
        value: Decoded JSON.
        place: Where in the file it stands, for messages; empty at the top.

    Raises:
        ValueError: A field is missing or of another type; the message names it.
    """
    if not isinstance(value, dict):
        raise _wrong(value, "an object", place)
    found, hints = {}, get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        inner = f"{place}.{field.name}" if place else field.name
        if field.name in value:
            found[field.name] = _read(hints[field.name], value[field.name], inner)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"'{inner}' is missing")
    return cls(**found)


def _read(annotation: Any, value: object, place: str) -> Any:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if annotation is float and type(value) is int:
        return float(value)
    if annotation in _WORDS:
        # Not isinstance: true is no number.
        if type(value) is not annotation or (type(value) is float and not math.isfinite(value)):
            raise _wrong(value, _WORDS[annotation], place)
        return value
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise _wrong(value, " or ".join(f"'{each}'" for each in arguments), place)
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (only,) = (each for each in arguments if each is not type(None))
        return _read(only, value, place)
    if origin in (tuple, Sequence):
        if not isinstance(value, list):
            raise _wrong(value, "a list", place)
        return tuple(
            _read(arguments[0], each, f"{place}[{index}]") for index, each in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(value, "an object", place)
        return {name: _read(arguments[1], each, f"{place}.{name}") for name, each in value.items()}
    return read_as(annotation, value, place)


def _wrong(value: object, wanted: str, place: str) -> ValueError:
    found = _WORDS.get(type(value)) or ("a list" if isinstance(value, list) else "an object")
    if found == wanted or isinstance(value, str):
        text = str(value)
        found = f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"
    subject = f"'{place}'" if place else "it"
    return ValueError(f"{subject} is {found}, not {wanted}")


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"'{twice[:40]}' is there twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > len(str(_LARGEST)) + 1 or abs(int(digits)) > _LARGEST:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check_levels_and_text(value: object) -> None:
    """Level by level, not by recursion."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        if not level:
            return
        deeper: list[object] = []
        for each in level:
            if isinstance(each, dict):
                deeper += (*each, *each.values())
            elif isinstance(each, list):
                deeper += each
            elif isinstance(each, str) and any("\ud800" <= char <= "\udfff" for char in each):
                raise ValueError("a text holds half of a surrogate pair")
        level = deeper
    raise ValueError(f"it nests more than {_MOST_LEVELS} levels deep")
