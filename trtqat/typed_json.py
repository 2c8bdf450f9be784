"""JSON and our dataclasses, one the form of the other: read, written and described in one place.

The standard parser takes what no writer of ours makes: NaN, a name twice, numbers of a million
digits, nesting up to the interpreter's limit, surrogates that no terminal prints. Here each of
them is a ``ValueError`` whose message is the end of a sentence. Types are pydantic's work: it
reads, and describes as JSON schema, the frozen dataclasses as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_Object = TypeVar("_Object")

# Far more than any file of ours nests, far less than what a recursion over it needs.
_MOST_LEVELS = 64
_MOST_DIGITS = 300
_LARGEST = 2**63 - 1
_NO_NUMBERS = ("inf", "-inf", "nan")
# A list of numbers as json.dumps indents it; no string of JSON holds a line break.
_NUMBERS = re.compile(r"\[\n\s+((?:[-\d]|null)[^\[\]{}\"]*?)\n\s*\]")
# What pydantic calls a value of another type, and what belonged there.
_WANTED = {
    "bool_type": "true or false",
    "dataclass_type": "an object",
    "dict_type": "an object",
    "finite_number": "a number",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
}


class _AsText:
    """A float that may be infinite or NaN, which stand in JSON as texts: it has neither."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Any:  # noqa: ANN401
        from pydantic_core import core_schema

        del source, handler
        texts = core_schema.literal_schema(list(_NO_NUMBERS))
        return core_schema.union_schema(
            [
                core_schema.float_schema(strict=True, allow_inf_nan=True),
                core_schema.no_info_after_validator_function(float, texts),
            ],
            custom_error_type="float_type",
            serialization=core_schema.plain_serializer_function_ser_schema(plain_number),
        )


# The SQNR of what is identical is infinite.
Unbounded = Annotated[float, _AsText()]


def plain_number(value: float) -> float | str:
    """A number as JSON can hold it: ``"inf"``, ``"-inf"`` or ``"nan"`` where it is none."""
    return value if math.isfinite(value) else str(value)


def parse_json(data: bytes, *, with_nan: bool = False, foreign: bool = False) -> object:
    """Decodes JSON strictly.

    Args:
        data: UTF-8.
        with_nan: Whether it may hold NaN and infinities, as Python writes them; no field that
            ``read_as`` reads may be one of them.
        foreign: Whether another program wrote it, as TensorRT, which writes control characters
            into texts as they are; the last of several values of one name counts then.

    Raises:
        ValueError: It is no JSON, nests too deeply, has a name twice in one object, a number of
            hundreds of digits, or a text that is none.
    """
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=dict if foreign else _object,
            strict=not foreign,
            parse_int=_whole,
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

    Names that the dataclass does not have are left out: a newer version wrote them.

    Args:
        cls: A dataclass.
        value: Decoded JSON.
        place: Where in the file it stands, for messages; empty at the top.

    Raises:
        ValueError: A field is missing, of another type, beyond 64 bits, or NaN or infinite without
            being ``Unbounded``; the message names it.
    """
    from pydantic import ValidationError

    try:
        adapter = _adapter(cls)  # type: ignore[arg-type]
        (found,) = adapter.validate_json(json.dumps([value]), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        raise ValueError(_in_words(first, place)) from None
    _check_size(found, place)
    made: _Object = found
    return made


def schema_version_of(value: object) -> int:
    """The field ``schema_version`` of parsed JSON, whatever else it holds.

    Args:
        value: As ``parse_json`` returns it.

    Raises:
        ValueError: There is none.
    """
    return read_as(_WithSchema, value).schema_version


def as_fields(value: object, cls: type | None = None) -> dict[str, Any]:
    """A dataclass as plain data, as it stands in JSON; ``read_as`` makes the dataclass of it again.

    Args:
        value: The dataclass.
        cls: Its class, or the one above it whose fields are meant; None is its own.
    """
    (fields,) = _adapter(cls or type(value)).dump_python((value,), mode="json")
    found: dict[str, Any] = fields
    return found


def json_text(fields: Mapping[str, Any]) -> str:
    """Plain data as JSON for a file; infinities and NaN become texts, whatever holds them.

    A distribution of numbers stands on one line: with a line for each of them a report has 30,000.

    Args:
        fields: Dictionaries, lists, texts and numbers; of anything else, its ``str``.
    """
    return _NUMBERS.sub(_on_one_line, json.dumps(_plain(fields), indent=1, default=str))


def json_schema(cls: type, *, closed: bool = False) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what a dataclass is written as.

    Args:
        cls: The dataclass.
        closed: Whether every object must have all fields of its dataclass and no other, as this
            version writes it. Reading asks for less.
    """
    schema = _adapter(cls).json_schema(mode="serialization")
    (own,) = schema["prefixItems"]
    definitions = schema.get("$defs", {})
    if closed:
        for each in (own, *definitions.values()):
            if "properties" in each:
                each |= {"required": list(each["properties"]), "additionalProperties": False}
    return {**own, "$defs": definitions}


@dataclasses.dataclass(frozen=True)
class _WithSchema:
    schema_version: int


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter

    # A tuple around it, as a dataclass that is the root takes no configuration but its own.
    return TypeAdapter(tuple[cls], config=ConfigDict(strict=True, allow_inf_nan=False))  # type: ignore[valid-type]


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return plain_number(float(value)) if isinstance(value, float) else value


def _check_size(value: object, place: str) -> None:
    """Python's whole numbers have no end; what is made of them has 64 bits."""
    if type(value) is int and abs(value) > _LARGEST:
        raise ValueError(f"{place!r} is too large")
    if isinstance(value, tuple):
        for index, each in enumerate(value):
            _check_size(each, f"{place}[{index}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = f"{place}.{field.name}" if place else field.name
            _check_size(getattr(value, field.name), inner)


def _in_words(error: ErrorDetails, place: str) -> str:
    """The first of pydantic's complaints, as the end of a sentence."""
    for step in error["loc"][1:]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    subject = repr(place) if place else "it"
    if error["type"] == "missing":
        return f"{subject} is missing"
    wanted = _WANTED.get(error["type"]) or error.get("ctx", {}).get("expected")
    if wanted is None:
        return f"{subject}: {error['msg']}"
    return f"{subject} is {_kind_of(error['input'], wanted)}, not {wanted}"


def _kind_of(value: object, wanted: str) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", list: "a list"}
    kind = "null" if value is None else kinds.get(type(value), "an object")
    if kind == wanted or isinstance(value, str):
        text = str(value)
        # As Python writes it: a text may hold line breaks.
        kind = repr(f"{text[:40]}…" if len(text) > 40 else text)
    return kind


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice[:40]!r} is there twice")
    return found


def _whole(digits: str) -> int:
    # Longer ones take time that grows with their square.
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return int(digits)


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
