"""What can happen to a file: to its bytes, and to what they mean."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

Mutation = Callable[[bytes, Random], bytes]

_WHOLE = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    255,
    2**16,
    2**31 - 1,
    -(2**31),
    2**31,
    2**62,
    -(2**63),
    2**63 - 1,
)
_REAL = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", "x", "y", "a/b", "../x", "\x1b[2J", "é", "x" * 300, "none", "None", "1", "NaN", "\n")


def change_bytes(data: bytes, random: Random) -> bytes:
    """Flips, overwrites, cuts out, doubles or cuts off."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(content) + 1)
        length = min(random.choice((1, 1, 2, 4, 8, 64)), len(content) - at)
        kind = random.randrange(7)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            content[at : at + length] = random.randbytes(length)
        elif kind == 2:
            content[at : at + length] = bytes([random.choice((0, 0xFF, 0x7F, 0x80))]) * length
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length]
        elif kind == 5:
            content[at:at] = random.randbytes(length)
        elif random.random() < 0.3:
            del content[at:]
    return bytes(content)


def change_graph(data: bytes, random: Random) -> bytes:
    """Changes fields of an ONNX model, wherever they are."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        # A weight's numbers are many and alike: they are hit no more often than a name.
        message = random.choice(list(_messages(model)))
        field = random.choice(message.DESCRIPTOR.fields)
        if random.random() < 0.7 and message.ListFields():
            field, _ = random.choice(message.ListFields())
        _change_field(message, field, random, model)
    return bytes(model.SerializeToString())


def _messages(top: Message) -> Iterator[Message]:
    waiting = [top]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += list(value) if _repeats(field) else [value]


def _repeats(field: Any) -> bool:
    return bool(field.is_repeated)


def _change_field(message: Message, field: Any, random: Random, model: onnx.ModelProto) -> None:
    value = getattr(message, field.name)
    if not _repeats(field):
        if random.random() < 0.2:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            value.SetInParent()
        else:
            _set(message, field.name, _scalar(field, random, model))
        return
    kind, count = random.randrange(4), len(value)
    if kind == 0 and count:
        del value[random.randrange(count)]
    elif kind == 1 and count:
        other = value[random.randrange(count)]
        value.extend([other] * random.choice((1, 1, 3)))
    elif kind == 2 and count > 1 and field.type == field.TYPE_MESSAGE:
        first, second = random.sample(range(count), 2)
        value[first].CopyFrom(value[second])
    elif field.type == field.TYPE_MESSAGE:
        value.add()
    elif count and random.random() < 0.8:
        _set(value, random.randrange(count), _scalar(field, random, model))
    else:
        value.append(_scalar(field, random, model))


def _set(holder: Any, key: str | int, value: object) -> None:
    """What protocol buffers hold themselves; the rest, as half a surrogate, bytes reach."""
    try:
        if isinstance(key, str):
            setattr(holder, key, value)
        else:
            holder[key] = value
    except (ValueError, TypeError):
        return


def _scalar(field: Any, random: Random, model: onnx.ModelProto) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice(_REAL)
    if field.cpp_type == field.CPPTYPE_STRING:
        names = [name for node in model.graph.node for name in (*node.input, *node.output)]
        operators = [node.op_type for node in model.graph.node]
        text = random.choice((random.choice(_TEXTS), random.choice(names or ["x"])))
        if field.name == "op_type":
            text = random.choice((*operators, "Reshape", "Loop", "LSTM", "Unknown", "Identity"))
        return text if field.type == field.TYPE_STRING else text.encode()
    if field.cpp_type == field.CPPTYPE_ENUM:
        return random.choice([each.number for each in field.enum_type.values])
    narrow = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32)
    value = random.choice(_WHOLE)
    return value % 2**31 if narrow else value % 2**63 if field.cpp_type == 4 else value


def change_json(data: bytes, random: Random) -> bytes:
    """Changes values and names of a JSON text, wherever they are."""
    value = json.loads(data, strict=False)
    for _ in range(random.choice((1, 1, 2))):
        holders = [each for each in _holders(value) if len(each)]
        holder = random.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = random.choice(keys)
        kind = random.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice(_TEXTS)] = holder[key]
        elif kind == 2:
            for _ in range(random.choice((1, 70, 3000))):
                holder[key] = [holder[key]]
        else:
            others: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"x": 1}, "1" * 6000)
            holder[key] = random.choice(
                (random.choice(_WHOLE), random.choice(_REAL), random.choice(_TEXTS), *others)
            )
        if not [each for each in _holders(value) if len(each)]:
            break
    try:
        text = json.dumps(value)
    except RecursionError:
        text = "[" * 100_000
    return text.encode()


def _holders(top: Any) -> Iterator[Any]:
    waiting = [top]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            yield value
            waiting += value.values() if isinstance(value, dict) else value


def change_members(data: bytes, random: Random) -> bytes:
    """Changes a zip archive whose members stay readable: an ``.npz``, or a PyTorch file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = random.randrange(len(members))
    name, content = members[at]
    kind = random.randrange(6)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members[at] = (random.choice((*_TEXTS, "labels.npy", "images.npy", "x.npy")), content)
    elif kind == 2:
        members.append((name, random.choice(members)[1]))
    elif kind == 3:
        members[at] = (name, random.choice(members)[1])
    else:
        members[at] = (name, change_bytes(content, random) if content else b"\x80")
    file = io.BytesIO()
    compression = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            # Not writestr with a name: it warns of one that is there twice.
            info = zipfile.ZipInfo(name)
            archive.NameToInfo.pop(name, None)
            archive.writestr(info, content, compression)
    return file.getvalue()


def change_array_header(data: bytes, random: Random) -> bytes:
    """Changes what the arrays of an ``.npz`` say of themselves: type, order and shape."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = random.choice(sorted(members))
    content = members[name]
    start, length = 10, int.from_bytes(content[8:10], "little")
    types = ("<f4", "<f8", "<f2", ">f4", "|O", "<U4", "<i8", "|b1", "<c16", "<M8[s]", "|V3", "f4,")
    shapes = ("()", "(0,)", "(-1,)", "(4, 3)", "(99999999999,)", "(2**40,)", "(4, 0, 3)", "(True,)")
    header = (
        f"{{'descr': '{random.choice(types)}', 'fortran_order': "
        f"{random.choice(('False', 'True', '0'))}, 'shape': {random.choice(shapes)}, }}"
    )
    padded = header.encode().ljust(length - 1)[: length - 1] + b"\n"
    members[name] = content[:start] + padded + content[start + length :]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return file.getvalue()


def change_state(data: bytes, random: Random) -> bytes:
    """Changes what a PyTorch checkpoint holds: its keys, and the tensors behind them."""
    import torch

    state = torch.load(io.BytesIO(data), weights_only=True)
    holder = random.choice([each for each in _holders(state) if isinstance(each, dict) and each])
    key = random.choice(list(holder))
    value = holder[key]
    if not torch.is_tensor(value):
        value = torch.zeros(4, 6)
    kind = random.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        names: tuple[Any, ...] = (
            *_TEXTS,
            0,
            None,
            1.5,
            True,
            ("a", 1),
            b"bias",
            "model",
            "module.",
        )
        holder[random.choice(names)] = holder.pop(key)
    elif kind == 2:
        holder[key] = random.choice((None, 1, "text", [], {}, [value], {"x": value}, {key: value}))
    elif kind == 3:
        shape = random.choice(((), (0,), (1,), (4,), (6, 4), (4, 6, 1), (4, 0)))
        types = (torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64, torch.int8)
        holder[key] = torch.zeros(shape, dtype=random.choice(types))
    else:
        holder[key] = torch.full_like(value, random.choice(_REAL))
    file = io.BytesIO()
    torch.save(random.choice((state, [state], (state,), {"model": state}, state)), file)
    return file.getvalue()
