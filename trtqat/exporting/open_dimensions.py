"""Dimensions that stay open besides the batch, as height and width: ``--dynamic images:2,3``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from trtqat.checks import check_kind
from trtqat.errors import ExportError, UsageError
from trtqat.tensors import Arrays, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

# By name of an input or output, in ascending order.
Dimensions: TypeAlias = Mapping[str, tuple[int, ...]]

_EXAMPLE = "--dynamic images:2,3"
# What the sides of images are multiples of, in most networks that shrink them.
_MOST_STEP = 32


def parse_dynamic(given: Sequence[str] | Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Reads ``images:2,3``.

    Args:
        given: One for each input; or dimensions by input.

    Raises:
        UsageError: One has another form, or names an input twice.
    """
    if isinstance(given, Mapping):
        return {name: tuple(dimensions) for name, dimensions in given.items()}
    check_kind("dynamic", given, (tuple, list), "['images:2,3']")
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        check_kind("A text of dynamic", text, str, "'images:2,3'")
        name, _, rest = text.rpartition(":")
        numbers = rest.split(",")
        if not name or not all(each.isascii() and each.isdecimal() for each in numbers):
            raise UsageError(
                f"'{text}' does not say which dimensions stay open.", f"Write {_EXAMPLE}."
            )
        if name in found:
            raise UsageError(
                f"--dynamic names the input '{name}' twice.", "Give its dimensions at once."
            )
        found[name] = tuple(map(int, numbers))
    return found


def check_dynamic(inputs: Sequence[TensorSpec], dynamic: Dimensions) -> None:
    """Checks that such dimensions of such inputs can stay open.

    Args:
        inputs: With the size that is traced.
        dynamic: By input.

    Raises:
        UsageError: One is not there, is the batch, or is there twice.
    """
    check_kind("ExportOptions.dynamic", dynamic, Mapping, "{'images': (2, 3)}")
    shapes = {spec.name: spec.shape for spec in inputs}
    for name, dimensions in dynamic.items():
        if name not in shapes:
            raise UsageError(
                f"--dynamic names '{name}', and no --input does.",
                f"Give the size that is traced: --input {name}:1x3x224x224.",
            )
        rank = len(shapes[name])
        for each in dimensions:
            check_kind(f"A dimension of '{name}'", each, int, "2")
            if not 0 < each < rank:
                what = "is the batch, which is open" if each == 0 else "is none of its dimensions"
                raise UsageError(
                    f"Dimension {each} of '{name}' {what}.",
                    f"Name some of 1 to {rank - 1}; --static-batch decides of the batch.",
                )
        if len(set(dimensions)) != len(dimensions) or not dimensions:
            raise UsageError(
                f"--dynamic names {list(dimensions)} of '{name}'.", "Name each dimension once."
            )


def other_sizes(inputs: Sequence[TensorSpec], dynamic: Dimensions) -> list[list[TensorSpec]]:
    """The inputs at a larger and a smaller size than they have; none where none is open.

    No two dimensions change alike, and each stays divisible by what it is divisible by: networks
    that halve an image several times need that.

    Args:
        inputs: With the size that is traced.
        dynamic: Dimensions by input.
    """
    if not dynamic:
        return []
    return [
        [_changed(spec, dynamic.get(spec.name, ()), grows=grows) for spec in inputs]
        for grows in (True, False)
    ]


def open_outputs(runs: Sequence[Arrays]) -> dict[str, tuple[int, ...]]:
    """Which dimensions of outputs but the first are not the same at all sizes.

    Args:
        runs: Outputs by name, of inputs of several sizes.

    Raises:
        ExportError: An output has another number of dimensions at another size.
    """
    found = {}
    for name in runs[0] if runs else ():
        shapes = [run[name].shape for run in runs]
        if len({len(shape) for shape in shapes}) > 1:
            raise ExportError(
                f"Output '{name}' has {len(shapes[0])} dimensions at one size of the inputs, and "
                "another number at another.",
                "Let it have as many at every size.",
            )
        ranges = range(1, len(shapes[0]))
        found[name] = tuple(each for each in ranges if len({shape[each] for shape in shapes}) > 1)
    return {name: dimensions for name, dimensions in found.items() if dimensions}


def check_batch_open(graph: ir.Graph) -> None:
    """Refuses a graph that the torch.export-based exporter wrote with one size of the batch.

    Where forward fixes it, ``torch.onnx.export`` follows the advice of ``torch.export`` and does
    so as well, without a word. Of other dimensions it raises.

    Raises:
        ExportError: The first dimension of an input is a number.
    """
    for value in graph.inputs:
        size = value.shape[0] if value.shape else None
        if isinstance(size, int):
            raise ExportError(
                "To the torch.export-based exporter, forward fixes the batch of input "
                f"'{value.name}' to {size}.",
                "Write x.shape[0] for len(x) and other sizes that are numbers, try --exporter "
                "torchscript, or export with --static-batch.",
            )


def _changed(spec: TensorSpec, dimensions: Sequence[int], *, grows: bool) -> TensorSpec:
    shape = list(spec.shape)
    for place, each in enumerate(dimensions, 1):
        size = shape[each]
        # The largest power of two that divides it.
        step = min(size & -size, _MOST_STEP)
        by = step * place
        # What cannot shrink grows further than the larger size.
        shape[each] = size - by if not grows and size > by else size + (by if grows else 3 * by)
    return replace(spec, shape=tuple(shape))


def forget_other_names(traced: ir.Model, ours: Collection[str]) -> None:
    """Takes away the names of sizes that the TorchScript exporter made up.

    It calls the sides of an image alike before and behind a convolution with a stride, and ONNX
    Runtime writes the one into the other's memory.

    Args:
        traced: Changed in place.
        ours: The names that it was given.
    """
    import onnx_ir as ir

    for node in traced.graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None:
                value.shape = ir.Shape(
                    size if isinstance(size, int) or str(size) in ours else None
                    for size in value.shape
                )
