"""What is wrong with an ONNX file, in words; ``reading`` adds the file's name."""

from __future__ import annotations

import onnx

AGAIN = "Write the file again with the tool that made it, or copy it again."


class Damage(Exception):  # noqa: N818
    """One thing in a file that is not as ONNX has it.

    Attributes:
        problem: One sentence that names the node or tensor, without the file.
        remedy: One sentence with the way out.
    """

    def __init__(self, problem: str, remedy: str = AGAIN) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def name_of(node: onnx.NodeProto) -> str:
    """A node in a sentence: ``node '/conv1' (Conv)``."""
    name = node.name or next((output for output in node.output if output), "")
    return f"node '{name}' ({node.op_type})"


def type_name(elem_type: int) -> str:
    """An element type in words, as ``FLOAT``; its number where the installed onnx has none."""
    try:
        return str(onnx.TensorProto.DataType.Name(elem_type))
    except ValueError:
        return f"number {elem_type}"


def is_type(elem_type: int) -> bool:
    """Whether a number stands for a type of elements."""
    return elem_type != onnx.TensorProto.UNDEFINED and elem_type in _TYPES


_TYPES = frozenset(onnx.TensorProto.DataType.values())
