"""Graphs as ONNX Runtime and onnx take them: bytes or, above 2 GiB, with their weights in a file.

Protocol buffers end at 2 GiB. Beyond, the weights lie in a temporary folder, once, and graphs that
are derived from one (with other nodes or outputs) share them.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

from trtqat.errors import ExportError, UsageError
from trtqat.files import weights_beside
from trtqat.graph_file.reading import MAX_BYTES

# With less of weights there is room for the nodes.
_MAX_WEIGHTS = MAX_BYTES - 2**26
# What is smaller stays in the graph: onnx's inference of shapes reads it.
_LARGE_BYTES = 1024
# Weights begin at multiples of it, so that ONNX Runtime can map them into memory.
_ALIGNMENT = 4096
_FOLDERS: ContextVar[list[Folder] | None] = ContextVar("folders", default=None)


class Folder:
    """A temporary folder, which goes with the last graph that has it, or earlier.

    Attributes:
        path: Where it is.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="trtqat-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def remove(self) -> None:
        """Removes it with what is in it."""
        self._finalizer()


@dataclass(frozen=True)
class StoredGraph:
    """A graph whose weights lie in a file.

    Attributes:
        content: The serialized model, which refers to that file.
        folder: Where the file lies.
    """

    content: bytes
    folder: Folder

    @contextlib.contextmanager
    def file(self) -> Iterator[Path]:
        """The graph as a file beside its weights, for as long as it is read."""
        with tempfile.NamedTemporaryFile(dir=self.folder.path, suffix=".onnx") as file:
            file.write(self.content)
            file.flush()
            yield Path(file.name)


Serialized: TypeAlias = bytes | StoredGraph


@contextlib.contextmanager
def temporary_graphs() -> Iterator[None]:
    """Removes the folders of all graphs that are serialized inside, also after a failure."""
    folders: list[Folder] = []
    token = _FOLDERS.set(folders)
    try:
        yield
    finally:
        _FOLDERS.reset(token)
        for folder in folders:
            folder.remove()


def serialize(model: ir.Model) -> Serialized:
    """A model as bytes or, above 2 GiB, with its weights in a temporary folder.

    Raises:
        ExportError: It has more than 2 GiB without its weights.
        UsageError: There is no room for them.
    """
    if not is_large(model):
        return serialized(ir.to_proto(model))
    folder = Folder()
    folders = _FOLDERS.get()
    if folders is not None:
        folders.append(folder)
    path = folder.path / "weights"
    try:
        with path.open("wb") as file:
            for block in weight_blocks(model):
                file.write(block)
    except OSError as error:
        folder.remove()
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Set TMPDIR to a folder that has room for the weights of the graph.",
        ) from error
    return StoredGraph(serialized(with_external_weights(model, path.name)), folder)


def parse(graph: Serialized) -> onnx.ModelProto:
    """The message of a serialized graph, without weights that lie in a file."""
    content = graph.content if isinstance(graph, StoredGraph) else graph
    return onnx.load_from_string(content)


def derived(graph: Serialized, proto: onnx.ModelProto) -> Serialized:
    """A message that was made of a graph, with the same weights."""
    content = serialized(proto)
    return StoredGraph(content, graph.folder) if isinstance(graph, StoredGraph) else content


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of a model, and those inside of its nodes."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.HasField("g"):
                pending.append(attribute.g)
            pending.extend(attribute.graphs)


def with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of a graph with these tensors as its only outputs; ONNX Runtime infers their types.

    Args:
        proto: The graph, which stays as it is.
        names: Of its tensors.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return tapped


def is_large(model: ir.Model) -> bool:
    """Whether there are more weights than an ONNX file can hold."""
    values = model.graph.initializers.values()
    return sum(v.const_value.nbytes for v in values if v.const_value is not None) > _MAX_WEIGHTS


def files_of(
    model: ir.Model, path: Path
) -> dict[Path, bytes | Iterable[bytes | memoryview] | None]:
    """The files that a model is: one or, above 2 GiB, its weights and then the graph.

    Args:
        model: Not to be changed until they are written.
        path: Of the graph.
    """
    if not is_large(model):
        return {path: serialized(ir.to_proto(model))}
    weights = weights_beside(path)
    return {
        weights: weight_blocks(model),
        path: serialized(with_external_weights(model, weights.name)),
    }


def save(model: ir.Model, path: Path) -> None:
    """Writes a model, with its weights beside it where it is large."""
    for name, content in files_of(model, path).items():
        with name.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content or [])


def weight_blocks(model: ir.Model) -> Iterator[bytes | memoryview]:
    """The content of a file of the model's weights, which ``with_external_weights`` refers to."""
    end = 0
    for value in _large(model):
        assert value.const_value is not None
        padding = -end % _ALIGNMENT
        yield bytes(padding)
        yield _bytes_of(value.const_value)
        end += padding + value.const_value.nbytes


def with_external_weights(model: ir.Model, location: str) -> onnx.ModelProto:
    """The message of a model whose weights lie in a file of ``weight_blocks``.

    Args:
        model: As it is again afterwards.
        location: The name of that file, beside the graph's.
    """
    values = _large(model)
    constants = [value.const_value for value in values]
    end = 0
    try:
        for value, constant in zip(values, constants, strict=True):
            assert constant is not None
            offset = end + -end % _ALIGNMENT
            end = offset + constant.nbytes
            value.const_value = ir.ExternalTensor(
                location,
                offset,
                constant.nbytes,
                constant.dtype,
                shape=ir.Shape(constant.shape.numpy()),
                name=str(value.name),
            )
        proto: onnx.ModelProto = ir.to_proto(model)
    finally:
        for value, constant in zip(values, constants, strict=True):
            value.const_value = constant
    return proto


def proto_for_onnx(model: ir.Model) -> onnx.ModelProto:
    """The message of a model for onnx's own code; large weights are left out where all are.

    ``restore_weights`` gives them back to what was made of it.
    """
    return with_external_weights(model, "weights") if is_large(model) else ir.to_proto(model)


def restore_weights(model: ir.Model, source: ir.Model) -> None:
    """Gives a model the weights that ``proto_for_onnx`` left out, in place."""
    for name, value in model.graph.initializers.items():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = source.graph.initializers[name].const_value


def serialized(proto: onnx.ModelProto) -> bytes:
    """The bytes of a message.

    Raises:
        ExportError: There are more than 2 GiB of them.
    """
    size = proto.ByteSize()
    if size > MAX_BYTES:
        raise ExportError(
            f"The graph has {size / 2**30:.1f} GiB, weights apart; an ONNX file ends at 2 GiB.",
            "Make its large constants parameters or buffers of the model.",
        )
    content: bytes = proto.SerializeToString()
    return content


def _large(model: ir.Model) -> Sequence[ir.Value]:
    return [
        value
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes > _LARGE_BYTES
        and value.const_value.dtype != ir.DataType.STRING
    ]


def _bytes_of(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """Little-endian, without a copy where the array lies in memory or a file as it is."""
    array = tensor.numpy()
    is_plain = array.flags.c_contiguous and array.dtype.kind in "fiu" and array.dtype.isnative
    if is_plain and array.nbytes == tensor.nbytes and np.little_endian:
        view: memoryview = array.reshape(-1).view(np.uint8).data
        return view
    return tensor.tobytes()
