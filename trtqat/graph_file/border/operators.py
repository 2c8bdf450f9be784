"""Nodes: as many inputs and outputs as their operators take, and attributes of their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import onnx
from onnx import AttributeProto

from trtqat.graph_file.border.damage import Damage, name_of

Functions = Mapping[tuple[str, str], onnx.FunctionProto]

_SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic
# Where an attribute of a type has its value.
_VALUES = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t", AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR:
    "sparse_tensor", AttributeProto.TYPE_PROTO: "tp", AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints", AttributeProto.STRINGS: "strings", AttributeProto.TENSORS:
    "tensors", AttributeProto.GRAPHS: "graphs", AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}  # fmt: skip
# Other domains have them too (com.microsoft), with the same inputs.
_PAIRS = ("QuantizeLinear", "DequantizeLinear")
_MESSAGES = ("t", "g", "sparse_tensor", "tp")
_ALL_VALUES = frozenset(_VALUES.values())


@dataclass(frozen=True)
class Signature:
    """What an operator takes.

    Attributes:
        inputs: Least and largest number of inputs.
        outputs: Of outputs.
        required: Positions of inputs that must not be empty.
        variadic: First position of the inputs of which there may be any number, none empty; None
            where there are none.
        attributes: Type by name.
        required_attributes: Names of those that must be given.
        types: For each formal input the name of its type and the types that it allows.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    required: tuple[int, ...]
    variadic: int | None
    attributes: Mapping[str, int]
    required_attributes: frozenset[str]
    types: tuple[tuple[str, frozenset[str]], ...]


@lru_cache(maxsize=4096)
def signature_of(domain: str, op_type: str, version: int) -> Signature | None:
    """Asks the installed onnx; None for an operator that it does not know."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    options = [formal.option for formal in schema.inputs]
    return Signature(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple(at for at, option in enumerate(options) if option == _SINGLE),
        options.index(_VARIADIC) if _VARIADIC in options else None,
        {name: _number(each.type) for name, each in schema.attributes.items()},
        frozenset(name for name, each in schema.attributes.items() if each.required),
        tuple(
            ("" if not formal.is_homogeneous else formal.type_str, frozenset(formal.types))
            for formal in schema.inputs
        ),
    )


def _number(kind: Any) -> int:  # noqa: ANN401
    """An enumeration's value, which the type stubs of onnx do not know."""
    return int(kind.value)


def check_node(
    node: onnx.NodeProto, opsets: Mapping[str, int], functions: Functions, *, in_function: bool
) -> None:
    """Checks a node by itself.

    Args:
        node: The node.
        opsets: Version by domain, of the file or function.
        functions: The file's functions.
        in_function: Whether attributes may be those of the function.

    Raises:
        Damage: It is not as its operator has it.
    """
    if not node.op_type:
        raise Damage(f"The {name_of(node)[:-3]} has no operator.")
    if not any(node.output):
        raise Damage(f"The {name_of(node)} has no output.")
    attributes = _check_attributes(node, in_function=in_function)
    function = functions.get((node.domain, node.op_type))
    if function is not None:
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise Damage(f"The {name_of(node)} has more inputs or outputs than its function.")
        return
    if node.domain not in opsets:
        raise Damage(
            f"The {name_of(node)} is of the domain '{node.domain or 'ai.onnx'}', of which the file "
            "names no operator set."
        )
    signature = signature_of(node.domain, node.op_type, opsets[node.domain])
    if signature is not None:
        _check_counts(node, signature)
        _check_types_of_attributes(node, attributes, signature)
    elif node.op_type in _PAIRS and not (len(node.input) > 1 and all(node.input[:2])):
        raise Damage(f"The {name_of(node)} of the domain '{node.domain}' lacks tensor or scale.")


def _check_counts(node: onnx.NodeProto, signature: Signature) -> None:
    inputs = len(node.input)
    low, high = signature.inputs
    for position in signature.required:
        if position >= inputs or not node.input[position]:
            raise Damage(f"The {name_of(node)} lacks its input {position}.")
    if not low <= inputs <= high:
        raise Damage(f"The {name_of(node)} has {inputs} inputs; it takes {_range(low, high)}.")
    if signature.variadic is not None and not all(node.input[signature.variadic :]):
        raise Damage(f"The {name_of(node)} has an empty input among {inputs}.")
    low, high = signature.outputs
    if not low <= len(node.output) <= high:
        raise Damage(
            f"The {name_of(node)} has {len(node.output)} outputs; it makes {_range(low, high)}."
        )


def _check_attributes(node: onnx.NodeProto, *, in_function: bool) -> dict[str, int]:
    """The types of its attributes by name, each checked by itself."""
    found: dict[str, int] = {}
    for attribute in node.attribute:
        what = f"Attribute '{attribute.name}' of {name_of(node)}"
        if not attribute.name or attribute.name in found:
            raise Damage(f"{what} is there twice." if attribute.name else f"{what} has no name.")
        value = _VALUES.get(attribute.type)
        if value is None:
            raise Damage(f"{what} has no type, or one that ONNX does not have.")
        given = {descriptor.name for descriptor, _ in attribute.ListFields()} & _ALL_VALUES
        if attribute.ref_attr_name:
            if not in_function or given:
                raise Damage(f"{what} is that of a function, where there is none.")
        elif given - {value} or (value in _MESSAGES and not given):
            kind = AttributeProto.AttributeType.Name(attribute.type)
            raise Damage(f"{what} says that it is {kind}, and holds something else.")
        found[attribute.name] = attribute.type
    return found


def _check_types_of_attributes(
    node: onnx.NodeProto, attributes: Mapping[str, int], signature: Signature
) -> None:
    for name, found in attributes.items():
        wanted = signature.attributes.get(name)
        if wanted is None:
            raise Damage(f"The {name_of(node)} has an attribute '{name}', which it does not take.")
        if found != wanted:
            raise Damage(
                f"Attribute '{name}' of {name_of(node)} is "
                f"{AttributeProto.AttributeType.Name(found)}, not "
                f"{AttributeProto.AttributeType.Name(wanted)}."
            )
    for name in signature.required_attributes:
        if name not in attributes:
            raise Damage(f"The {name_of(node)} lacks its attribute '{name}'.")


def _range(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low} at least" if high >= 2**31 - 1 else f"{low} to {high}"
