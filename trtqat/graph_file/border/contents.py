"""Everything in an ONNX file, seen once: its texts are UTF-8, and its parts are found by kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx

from trtqat.graph_file.border.damage import Damage, name_of

_STRING, _MESSAGE = 9, 11  # google.protobuf's FieldDescriptor.TYPE_*
_TENSOR_TEXTS = ("name", "doc_string")


@dataclass
class Contents:
    """Parts of a file with the node that they belong to; None outside of nodes.

    Attributes:
        tensors: Stored tensors: initializers and attributes, in subgraphs and functions too.
        sparse: Sparse tensors; their two halves are among ``tensors``.
        values: Declared inputs, outputs and tensors.
        types: Types of attributes.
    """

    tensors: list[tuple[onnx.TensorProto, onnx.NodeProto | None]] = field(default_factory=list)
    sparse: list[tuple[onnx.SparseTensorProto, onnx.NodeProto | None]] = field(default_factory=list)
    values: list[onnx.ValueInfoProto] = field(default_factory=list)
    types: list[onnx.TypeProto] = field(default_factory=list)


def read_contents(model: onnx.ModelProto) -> Contents:
    """Walks through a file.

    Raises:
        Damage: A text is not UTF-8.
    """
    found = Contents()
    # Protocol buffers end at a depth of 100, so this stack is short.
    pending: list[tuple[Any, onnx.NodeProto | None]] = [(model, None)]
    while pending:
        message, node = pending.pop()
        if isinstance(message, onnx.NodeProto):
            node = message
        if _is_done(message, node, found):
            continue
        for descriptor, value in message.ListFields():
            if descriptor.type == _MESSAGE:
                each = [value] if hasattr(value, "ListFields") else value
                pending.extend((part, node) for part in each)
            elif descriptor.type == _STRING:
                _check_text(descriptor.name, value, node)
    return found


def _is_done(message: Any, node: onnx.NodeProto | None, found: Contents) -> bool:  # noqa: ANN401
    """Keeps a part if it is of a kind that is asked for; whether nothing is to be seen inside."""
    if isinstance(message, onnx.TensorProto):
        # Not all of its fields at once: that would copy the data.
        _check_tensor_texts(message, node)
        found.tensors.append((message, node))
        return True
    if isinstance(message, onnx.ValueInfoProto):
        found.values.append(message)
        return _is_plain(message)
    if isinstance(message, onnx.NodeProto) and message.domain == "ai.onnx":
        message.domain = ""
    elif isinstance(message, onnx.SparseTensorProto):
        found.sparse.append((message, node))
    elif isinstance(message, onnx.AttributeProto):
        _check_bytes(message, node)
        if message.HasField("tp"):
            found.types.append(message.tp)
    return False


def _is_plain(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a tensor with a name and dimensions and nothing else, as most are."""
    return (
        isinstance(value.name, str)
        and not value.doc_string
        and not value.metadata_props
        and value.type.HasField("tensor_type")
        and not value.type.denotation
        and all(
            isinstance(dim.dim_param, str) and not dim.denotation
            for dim in value.type.tensor_type.shape.dim
        )
    )


def _check_text(name: str, value: Any, node: onnx.NodeProto | None) -> None:  # noqa: ANN401
    """Protocol buffers give what is not UTF-8 as bytes."""
    texts = [value] if isinstance(value, (str, bytes)) else value
    for text in texts:
        if isinstance(text, bytes):
            raise Damage(f"The {name} {_shown(text)}{_of(node)} is not UTF-8.")


def _check_tensor_texts(tensor: onnx.TensorProto, node: onnx.NodeProto | None) -> None:
    for name in _TENSOR_TEXTS:
        text = getattr(tensor, name)
        if not isinstance(text, str):
            _check_text(name, text, node)
    for entry in (*tensor.external_data, *tensor.metadata_props):
        _check_text("key", entry.key, node)
        _check_text("value", entry.value, node)
    if tensor.HasField("segment"):
        raise Damage(f"Tensor '{tensor.name}'{_of(node)} is a segment, which nothing reads.")


def _check_bytes(attribute: onnx.AttributeProto, node: onnx.NodeProto | None) -> None:
    for value in (attribute.s, *attribute.strings):
        try:
            value.decode()
        except UnicodeDecodeError:
            raise Damage(
                f"Attribute '{attribute.name}'{_of(node)} holds {_shown(value)}, which is not "
                "UTF-8."
            ) from None


def _shown(text: bytes) -> str:
    return f"'{text[:60].decode(errors='backslashreplace')}'"


def _of(node: onnx.NodeProto | None) -> str:
    if node is None:
        return ""
    # Its own name may be what is no text.
    texts = (node.name, node.op_type, *node.output)
    return f" of {name_of(node)}" if all(isinstance(text, str) for text in texts) else " of a node"
