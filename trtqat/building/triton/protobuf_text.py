"""Protobuf's text format, as far as configuration files use it: quoting, blocks, reading.

Reading needs no schema: a field is a list of texts or of messages, and whoever asks for it knows
which. https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
import textwrap
from typing import TypeAlias


def quote(text: str) -> str:
    """A string literal; whatever is not printable ASCII stands as the octal bytes of its UTF-8."""
    return '"' + "".join(_ESCAPES.get(byte, chr(byte)) for byte in text.encode()) + '"'


def block(name: str, *lines: str) -> str:
    """A field that is a message, with its own fields indented."""
    body = textwrap.indent("\n".join(lines), "  ")
    return f"{name} {{\n{body}\n}}"


class Message:
    """The fields of a message by name, each a list.

    The three methods raise ValueError where a field holds something else.
    """

    def __init__(self) -> None:
        self.fields: dict[str, list[_Value]] = {}

    def texts(self, name: str) -> list[str]:
        """Values of a field of strings, numbers or enumerators, as they are written."""
        values = self.fields.get(name, [])
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{name} holds a message")
        return [value for value in values if isinstance(value, str)]

    def integers(self, name: str) -> list[int]:
        """Values of a field of integers."""
        return [int(text, 0) for text in self.texts(name)]

    def messages(self, name: str) -> list[Message]:
        """Values of a field of messages."""
        values = self.fields.get(name, [])
        if not all(isinstance(value, Message) for value in values):
            raise ValueError(f"{name} holds no message")
        return [value for value in values if isinstance(value, Message)]


_Value: TypeAlias = "str | Message"


def parse(text: str) -> Message:
    """Reads a file.

    Args:
        text: Its content.

    Raises:
        ValueError: It is not in this format.
    """
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position]!r}")
        position = match.end()
        if match["token"]:
            tokens.append(match["token"])
    tokens.reverse()  # so that pop takes the first that is left
    try:
        return _message(tokens, "")
    except IndexError:
        raise ValueError("it ends within a field") from None


_ESCAPES = {byte: f"\\{byte:03o}" for byte in (*range(0x20), *b'"\\', *range(0x7F, 0x100))}

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<token>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+-]+|[][{}<>:,;])"""
)


def _message(tokens: list[str], closing: str) -> Message:
    message = Message()
    while (tokens[-1] if tokens else "") != closing:
        name = tokens.pop()
        if not name.isidentifier():
            raise ValueError(f"unexpected {name!r}")
        values = message.fields.setdefault(name, [])
        if tokens[-1] == ":":
            tokens.pop()
        elif tokens[-1] not in "{<[":
            raise ValueError(f"{name} has no value")
        if tokens[-1] == "[":
            tokens.pop()
            while tokens[-1] != "]":
                values.append(_value(tokens))
                if tokens[-1] == ",":
                    tokens.pop()
            tokens.pop()
        else:
            values.append(_value(tokens))
        if tokens and tokens[-1] in ",;":
            tokens.pop()
    if closing:
        tokens.pop()
    return message


def _value(tokens: list[str]) -> _Value:
    token = tokens.pop()
    if token in "{<":
        return _message(tokens, "}" if token == "{" else ">")
    if token[0] not in "\"'":
        if token in "]}>:,;":
            raise ValueError(f"unexpected {token!r}")
        return token
    literals = [token]
    while tokens and tokens[-1][0] in "\"'":
        literals.append(tokens.pop())
    # Escapes stand for bytes, which together with the other characters' are UTF-8.
    plain = "".join(literal[1:-1] for literal in literals)
    return plain.encode().decode("unicode_escape").encode("latin-1").decode()
