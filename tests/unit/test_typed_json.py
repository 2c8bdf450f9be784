"""JSON of others, read into dataclasses: every field has its type, or the message names it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.typed_json import (
    Unbounded,
    as_fields,
    json_schema,
    json_text,
    parse_json,
    plain_number,
    read_as,
)


@dataclass(frozen=True)
class Inner:
    name: str
    size: int = 3


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    by_name: Mapping[str, tuple[int, ...]]
    rate: float
    kind: Literal["cpu", "cuda"] = "cpu"
    maybe: Inner | None = None
    names: tuple[str, ...] = ()
    flag: bool = False
    rest: Mapping[str, Any] = field(default_factory=dict)


SOUND = {
    "inner": {"name": "a"},
    "many": [{"name": "b", "size": 4}],
    "by_name": {"x": [1, 2]},
    "rate": 2,
}


DEFAULTS: dict[str, object] = {"kind": "cpu", "maybe": None, "names": [], "flag": False, "rest": {}}


def test_what_is_sound() -> None:
    found = read_as(Outer, {**SOUND, "names": ["n"], "unknown": [1], "rest": {"z": [None]}})
    assert found == Outer(
        Inner("a", 3), (Inner("b", 4),), {"x": (1, 2)}, 2.0, names=("n",), rest={"z": [None]}
    )
    assert type(found.rate) is float


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inner": None}, "'inner' is null, not an object"),
        ({"inner": {"size": 1}}, "'inner.name' is missing"),
        ({"inner": {"name": 5}}, "'inner.name' is a whole number, not text"),
        ({"many": {"name": "b"}}, "'many' is an object, not a list"),
        ({"many": [{"name": "b", "size": "4"}]}, r"'many\[0\].size' is '4', not a whole number"),
        ({"many": ["b"]}, r"'many\[0\]' is 'b', not an object"),
        ({"by_name": {"x": [1, 2.0]}}, r"'by_name.x\[1\]' is a number, not a whole number"),
        ({"by_name": {"x\n": "1"}}, r"'by_name.x\\n' is '1', not a list"),
        ({"rate": "fast"}, "'rate' is 'fast', not a number"),
        ({"by_name": {"x": [1, 2]}, "inner": {"name": "a", "size": 2**63}}, "'inner.size' is too"),
        ({"rate": True}, "'rate' is true or false, not a number"),
        ({"kind": "tpu"}, "'kind' is 'tpu', not 'cpu' or 'cuda'"),
        ({"kind": ["cpu"]}, "'kind' is a list, not 'cpu' or 'cuda'"),
        ({"maybe": 0}, "'maybe' is a whole number, not an object"),
        ({"names": "n"}, "'names' is 'n', not a list"),
        ({"flag": 1}, "'flag' is a whole number, not true or false"),
        ({"rest": []}, "'rest' is a list, not an object"),
        ({"inner": {"name": {"x" * 99: 1}}}, "'inner.name' is an object, not text"),
    ],
)
def test_what_is_not(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_as(Outer, {**SOUND, **change})


def test_nan_where_it_may_be() -> None:
    fields = parse_json(b'{"name": "a", "size": 1, "other": NaN}', with_nan=True)
    assert read_as(Inner, fields) == Inner("a", 1)
    fields = parse_json(json.dumps({**SOUND, "rate": float("inf")}).encode(), with_nan=True)
    with pytest.raises(ValueError, match="'rate' is 'inf', not a number"):
        read_as(Outer, fields)


@dataclass(frozen=True)
class Noise:
    sqnr_db: Unbounded
    per_output: Mapping[str, Unbounded] = field(default_factory=dict)


@given(st.floats(allow_nan=False), st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_infinities_stand_as_text(value: float, others: dict[str, float]) -> None:
    plain = {name: plain_number(each) for name, each in others.items()}
    text = json.dumps({"sqnr_db": plain_number(value), "per_output": plain}, allow_nan=False)
    assert read_as(Noise, parse_json(text.encode())) == Noise(value, others)


def test_text_that_is_no_infinity() -> None:
    for text in ("infinity", "1.0", ""):
        with pytest.raises(ValueError, match=rf"'sqnr_db' is '{text}', not a number"):
            read_as(Noise, {"sqnr_db": text})


def test_schema_says_what_is_written() -> None:
    schema = json_schema(Outer)
    check = jsonschema.Draft202012Validator(schema).is_valid
    assert check({**SOUND, **DEFAULTS})
    assert not check({**SOUND, **DEFAULTS, "rate": "fast"})
    assert not check({**DEFAULTS})
    noise = jsonschema.Draft202012Validator(json_schema(Noise))
    for value, sound in ((1, True), ("inf", True), ("-inf", True), ("nan", True), ("fast", False)):
        assert noise.is_valid({"sqnr_db": value, "per_output": {}}) is sound


def test_written_and_read_again() -> None:
    outer = read_as(Outer, SOUND)
    assert as_fields(outer) == {**DEFAULTS, **SOUND, "inner": {"name": "a", "size": 3}}
    assert read_as(Outer, parse_json(json_text(as_fields(outer)).encode())) == outer

    class More(Noise):
        """Has ways to be read, and no other fields."""

    noise = as_fields(More(math.inf, {"y": math.nan}), Noise)
    assert noise == {"sqnr_db": "inf", "per_output": {"y": "nan"}}


def test_numbers_of_a_distribution_stand_on_one_line() -> None:
    text = json_text({"times": [1.5, None, -2, 3e-9], "names": ["a", "b"], "lost": math.inf})
    assert text.splitlines() == [
        "{",
        ' "times": [1.5, null, -2, 3e-09],',
        ' "names": [',
        '  "a",',
        '  "b"',
        " ],",
        ' "lost": "inf"',
        "}",
    ]


def test_a_closed_schema_asks_for_every_field_and_no_other() -> None:
    check = jsonschema.Draft202012Validator(json_schema(Outer, closed=True)).is_valid
    whole = as_fields(read_as(Outer, SOUND))
    assert check(whole)
    assert not check({**whole, "new": 1})
    assert not check({**whole, "inner": {"name": "a"}})
    assert not check({name: value for name, value in whole.items() if name != "flag"})


def test_what_another_program_writes() -> None:
    data = b'{"name": "a\x1eb", "name": "c\x1ed"}'
    with pytest.raises(ValueError, match="control character"):
        parse_json(data)
    assert parse_json(data, foreign=True) == {"name": "c\x1ed"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_all_that_is_sound_is_read_as_python_does(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode()) == json.loads(text)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    found, why = None, ""
    try:
        found = read_as(Outer, parse_json(data))
    except ValueError as error:
        why = str(error)
    assert (found is None) == bool(why)
    assert "\n" not in why
