"""Types: what a file declares of its tensors is what follows from its nodes.

Element types that contradict each other are damage. A shape that was declared and does not follow
is only stale (someone has changed the input's size by hand): it is left out, and inferred again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

import onnx

from trtqat.graph_file.border.damage import AGAIN, Damage, is_type, name_of, type_name
from trtqat.graph_file.border.operators import Functions, signature_of
from trtqat.graph_file.border.parameters import check_parameters, differ, shape_of
from trtqat.graph_file.border.tensors import byte_count

# A larger constant says nothing about shapes, and would have to be copied.
_SMALL_BYTES = 1024
# ONNX allowed them in Q/DQ late (opset 19); other tools write them before, and TensorRT reads them.
_NARROW = frozenset({"tensor(float16)", "tensor(bfloat16)"})
_ONNX_ERROR = re.compile(
    r"\(op_type:(?P<op_type>.*?)(, node name: (?P<name>.*?))?\): (?P<reason>.*)"
)
_WRITE_ZERO_POINT = "Write the zero-point, an INT8 tensor of zeros in the shape of the scale."
_TENSORS = ("tensor_type", "sparse_tensor_type")


def check_declared(values: Iterable[onnx.ValueInfoProto], types: Iterable[onnx.TypeProto]) -> None:
    """Checks that declared types are types at all.

    Raises:
        Damage: One is not.
    """
    for value in values:
        if value.HasField("type"):
            _check_type(value.type, f"Tensor '{value.name}'")
    for each in types:
        _check_type(each, "The type of an attribute")


def check_inputs(graph: onnx.GraphProto) -> None:
    """Checks that the inputs say what they take, and initializers among them what is stored.

    Raises:
        Damage: One does not.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.input:
        kind = value.type.WhichOneof("value")
        if kind is None:
            raise Damage(f"Input '{value.name}' has no type.")
        tensor = stored.get(value.name)
        if tensor is None or kind != "tensor_type":
            continue
        declared = value.type.tensor_type
        dims = [dim.dim_value or None for dim in declared.shape.dim]
        is_other = declared.HasField("shape") and differ(dims, list(tensor.dims))
        if declared.elem_type != tensor.data_type or is_other:
            raise Damage(
                f"Input '{value.name}' is declared as {_words(declared.elem_type, dims)}, and "
                f"stored as {_words(tensor.data_type, list(tensor.dims))}."
            )


def check_types(
    model: onnx.ModelProto, opsets: Mapping[str, int], functions: Functions
) -> list[str]:
    """Compares what is declared with what follows, and takes stale shapes out, in place.

    Args:
        model: A file whose tensors, names and nodes were checked.
        opsets: Version by domain.
        functions: The file's functions.

    Returns:
        Names of the tensors whose declared shapes were stale.

    Raises:
        Damage: An element type does not follow, or its operator does not take it.
    """
    graph = model.graph
    inferred = _infer(model, opsets, functions)
    made = {value.name: value.type for value in inferred.graph.value_info}
    made.update((value.name, value.type) for value in inferred.graph.output)
    producers = {name: node for node in graph.node for name in node.output if name}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    stale = []
    for value in (*graph.value_info, *graph.output):
        tensor = stored.get(value.name)
        found = made.get(value.name) if tensor is None else _type_of(tensor)
        if found is not None and _is_stale(value, found, producers.get(value.name)):
            stale.append(value.name)
    _forget(graph, set(stale), made)
    made.update((value.name, value.type) for value in graph.input)
    made.update((name, _type_of(tensor)) for name, tensor in stored.items())
    known = {name: type_string(kind) for name, kind in made.items()}
    for node in graph.node:
        if (node.domain, node.op_type) not in functions:
            _check_operands(node, opsets, known)
    check_parameters(graph.node, made)
    return stale


def _infer(
    model: onnx.ModelProto, opsets: Mapping[str, int], functions: Functions
) -> onnx.ModelProto:
    """The same graph with the types and shapes that follow from its nodes.

    Raises:
        Damage: They contradict each other.
    """
    light = without_weights(model)
    # Behind an operator that onnx does not know there is no type, which strict mode refuses.
    strict = all(
        (node.domain, node.op_type) in functions
        or signature_of(node.domain, node.op_type, opsets[node.domain]) is not None
        for node in model.graph.node
    )
    problem: Exception | None = None
    # Following the values of shapes goes wrong by itself at times: two of two have to refuse.
    for is_strict, with_values in ((strict, True), (strict, False)):
        try:
            return onnx.shape_inference.infer_shapes(
                light, check_type=False, strict_mode=is_strict, data_prop=with_values
            )
        except Exception as error:
            problem = problem or error
    raise Damage(f"Its tensors do not fit together: {_reason(problem)}.") from problem


def _reason(error: Exception | None) -> str:
    """The first of onnx's errors, with the node as all others here name it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    found = _ONNX_ERROR.search(lines[0]) or (_ONNX_ERROR.search(lines[1]) if lines[1:] else None)
    if found is None:
        return lines[0].rstrip(".:")
    reason = re.sub(r"\[\w+\] | in node \w+ \(.*\)$", "", found["reason"]).rstrip(".")
    return f"node '{found['name']}' ({found['op_type']}): {reason}"


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for onnx's own code, which serializes it: large constants are inputs.

    Declared shapes and the outputs' types are left out, so that they cannot contradict.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, source = light.graph, model.graph
    graph.name = source.name or "graph"
    graph.input.extend(source.input)
    given = {value.name for value in source.input}
    for tensor in source.initializer:
        if byte_count(tensor) <= _SMALL_BYTES and tensor.data_location != tensor.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(onnx.ValueInfoProto(name=tensor.name, type=_type_of(tensor)))
    graph.sparse_initializer.extend(source.sparse_initializer)
    for node in source.node:
        constant = _large_constant(node)
        if constant is None:
            graph.node.append(node)
        else:
            graph.input.append(onnx.ValueInfoProto(name=node.output[0], type=_type_of(constant)))
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in source.output)
    return light


def type_string(kind: onnx.TypeProto) -> str:
    """A type as onnx's schemas write it, ``tensor(float)``; empty for what is not a tensor."""
    return _tensor_of(kind.tensor_type.elem_type) if kind.HasField("tensor_type") else ""


@cache
def _tensor_of(elem_type: int) -> str:
    return f"tensor({type_name(elem_type).lower()})" if is_type(elem_type) else ""


def _large_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain or len(node.attribute) != 1:
        return None
    tensor: onnx.TensorProto = node.attribute[0].t
    is_large = byte_count(tensor) > _SMALL_BYTES or tensor.data_location == tensor.EXTERNAL
    return tensor if node.attribute[0].HasField("t") and is_large else None


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto:
    made: onnx.TypeProto = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return made


def _check_type(kind: onnx.TypeProto, what: str) -> None:
    # Bounded, as protocol buffers end at a depth of 100.
    chosen = kind.WhichOneof("value")
    if chosen in _TENSORS:
        elem_type = getattr(kind, chosen).elem_type
        if not is_type(elem_type):
            raise Damage(f"{what} is declared with the element type {type_name(elem_type)}.")
    elif chosen in ("sequence_type", "optional_type"):
        _check_type(getattr(kind, chosen).elem_type, what)
    elif chosen == "map_type":
        _check_type(kind.map_type.value_type, what)


def _is_stale(
    value: onnx.ValueInfoProto, found: onnx.TypeProto, node: onnx.NodeProto | None
) -> bool:
    declared, kind = value.type.WhichOneof("value"), found.WhichOneof("value")
    maker = "the file stores" if node is None else f"{name_of(node)} makes"
    if declared is None or kind is None:
        return False
    if declared != kind:
        raise Damage(
            f"Tensor '{value.name}' is declared as a {declared.removesuffix('_type')}, but {maker} "
            f"a {kind.removesuffix('_type')}."
        )
    if declared != "tensor_type":
        return False
    first, second = value.type.tensor_type, found.tensor_type
    if is_type(second.elem_type) and first.elem_type != second.elem_type:
        raise Damage(
            f"Tensor '{value.name}' is declared as {type_name(first.elem_type)}, but {maker} "
            f"{type_name(second.elem_type)}{_why(node)}.",
            _WRITE_ZERO_POINT if _why(node) else AGAIN,
        )
    if not first.HasField("shape") or not second.HasField("shape"):
        return False
    return differ(shape_of(value.type) or [], shape_of(found) or [])


def _why(node: onnx.NodeProto | None) -> str:
    """The commonest reason: a zero-point that is missing, which stands for UINT8."""
    is_default = (
        node is not None
        and node.op_type == "QuantizeLinear"
        and not any(node.input[2:3])
        and not any(attribute.name == "output_dtype" for attribute in node.attribute)
    )
    return ", as ONNX has it without a zero-point" if is_default else ""


def _forget(graph: onnx.GraphProto, stale: set[str], made: Mapping[str, onnx.TypeProto]) -> None:
    if not stale:
        return
    kept = [value for value in graph.value_info if value.name not in stale]
    copies = [onnx.ValueInfoProto(name=value.name, type=value.type) for value in kept]
    del graph.value_info[:]
    graph.value_info.extend(copies)
    for value in graph.output:
        if value.name in stale and value.name in made:
            value.type.CopyFrom(made[value.name])


def _check_operands(
    node: onnx.NodeProto, opsets: Mapping[str, int], known: Mapping[str, str]
) -> None:
    signature = signature_of(node.domain, node.op_type, opsets[node.domain])
    if signature is None or not signature.types:
        return
    bound: dict[str, tuple[str, str]] = {}
    for position, name in enumerate(node.input):
        found = known.get(name, "")
        variable, allowed = signature.types[min(position, len(signature.types) - 1)]
        if not found or found in _NARROW:
            continue
        if found not in allowed:
            raise Damage(
                f"The {name_of(node)} reads '{name}', whose elements are {found[7:-1].upper()}, "
                "which it does not take."
            )
        other, first = bound.setdefault(variable, (name, found))
        if variable and first != found and variable not in allowed:
            raise Damage(
                f"The {name_of(node)} reads '{other}' of {first[7:-1].upper()} and '{name}' of "
                f"{found[7:-1].upper()}, which must be of one type."
            )


def _words(elem_type: int, dims: list[int | None]) -> str:
    shape = ", ".join("?" if dim is None else str(dim) for dim in dims)
    return f"{type_name(elem_type)} ({shape})"
