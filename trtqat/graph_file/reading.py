"""Reads ONNX files, and tells what is not one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from trtqat.errors import GraphError, first_line
from trtqat.files import is_file
from trtqat.graph_file.border import Damage, check_file
from trtqat.graph_file.border.contents import read_contents
from trtqat.graph_file.border.tensors import byte_count, external_data, is_external
from trtqat.graph_file.garbage import uncollected

if TYPE_CHECKING:
    import onnx_ir as ir

# Protocol buffers end there.
MAX_BYTES = 2**31 - 1
# What onnx.save leaves in the graph, where nobody says otherwise.
_SMALL_BYTES = 1024
_MAKE_ONE = "Make one with: trtqat export SOURCE -o model.onnx"


@uncollected()
def read_model(path: Path) -> ir.Model:
    """Reads an ONNX file. Its external data is mapped into memory, not read.

    Initializers that are inputs as well (IR version 3, ``keep_initializers_as_inputs``) are
    constants alone afterwards, as they are to TensorRT.

    Returns:
        A graph that passes may rely on: ``graph_file.border`` has checked it.

    Raises:
        GraphError: It is missing, damaged or not ONNX, or has sparse initializers.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common

    proto = read_proto(path)
    if proto.graph.sparse_initializer:
        raise GraphError(
            f"'{path}' has the sparse initializer '{proto.graph.sparse_initializer[0].values.name}'"
            ", which TensorRT does not read.",
            "Write it as a dense one.",
        )
    try:
        model: ir.Model = ir.from_proto(proto)
        _map_external_data(model, path.parent)
    except Exception as error:
        raise GraphError(
            f"'{path}' cannot be read: {first_line(error)}.",
            "Write the file again with the tool that made it.",
        ) from error
    common.RemoveInitializersFromInputsPass()(model)
    return model


def load_traced(path: Path) -> ir.Model:
    """Loads what an exporter has just written, unchecked; its files may be removed then."""
    import onnx_ir as ir

    model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(path.read_bytes()))
    # What is mapped into memory stays there without a name.
    _map_external_data(model, path.parent)
    return model


def read_proto(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file without what is kept in files beside it, and checks it.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    return read_checked(path)[0]


def read_checked(path: Path) -> tuple[onnx.ModelProto, bool]:
    """As ``read_proto``; tells also whether dimensions that it declares had to be changed.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    proto = _parse(path)
    # Protocol buffers accept some garbage as an empty message.
    if not proto.graph.node or not proto.opset_import:
        raise GraphError(f"'{path}' is not an ONNX file, or is empty.", _MAKE_ONE)
    try:
        return proto, check_file(proto, path.parent)
    except Damage as damage:
        raise GraphError(f"'{path}' is damaged: {damage.problem}", damage.remedy) from damage


def external_files(path: Path) -> list[Path]:
    """The files that a graph's weights lie in, beside its own, in the order of their names.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    return external_files_of(read_proto(path), path.parent)


def external_files_of(proto: onnx.ModelProto, folder: Path) -> list[Path]:
    """The same of a graph that was read.

    Args:
        proto: A checked graph.
        folder: Where its file lies.
    """
    tensors = (tensor for tensor, _ in read_contents(proto).tensors)
    places = {external_data(each, folder).path for each in tensors if is_external(each)}
    return sorted(places)


def embed_small(proto: onnx.ModelProto, folder: Path) -> bool:
    """Puts small tensors that lie in other files into a checked graph, in place.

    ONNX Runtime refuses shapes and axes there, where ``onnx.save(…, size_threshold=0)`` puts them.

    Returns:
        Whether there was one.
    """
    tensors = [tensor for tensor, _ in read_contents(proto).tensors if is_external(tensor)]
    small = [each for each in tensors if byte_count(each) <= _SMALL_BYTES]
    for tensor in small:
        place = external_data(tensor, folder)
        with place.path.open("rb") as file:
            file.seek(place.offset)
            tensor.raw_data = file.read(place.length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return bool(small)


def _parse(path: Path) -> onnx.ModelProto:
    if not is_file(path):
        raise GraphError(f"There is no ONNX file '{path}'.", "Check the path.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise GraphError(
                f"'{path}' has {size / 2**30:.1f} GiB; an ONNX file ends at 2 GiB.",
                "Save it with its weights as external data (onnx.save, save_as_external_data).",
            )
        proto: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
        return proto
    except OSError as error:
        raise GraphError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    except MemoryError as error:
        raise GraphError(
            f"'{path}' has {size / 2**30:.1f} GiB, for which there is no memory.",
            "Free some, or use another host.",
        ) from error
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(
            f"'{path}' is not an ONNX file: {first_line(error)}.", _MAKE_ONE
        ) from error


def _map_external_data(model: ir.Model, folder: Path) -> None:
    """Lets tensors show what lies in other files, which is read where it is used."""
    import onnx_ir as ir

    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _mapped(value.const_value, folder)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(
                attribute.value, ir.ExternalTensor
            ):
                node.attributes[name] = ir.AttrTensor(name, _mapped(attribute.value, folder))


def _mapped(tensor: ir.ExternalTensor, folder: Path) -> ir.TensorProtocol:
    import onnx_ir as ir

    shape = tensor.shape.numpy()
    if 0 in shape:
        return ir.Tensor(np.empty(shape, tensor.dtype.numpy()), tensor.dtype, name=tensor.name)
    placed = ir.ExternalTensor(
        tensor.location,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=tensor.shape,
        name=tensor.name or "",
        base_dir=folder,
    )
    # No ExternalTensor: that would be written as a reference to a file beside another graph.
    return ir.Tensor(placed.numpy(), tensor.dtype, shape=tensor.shape, name=tensor.name)
