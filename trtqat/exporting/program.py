"""Loads a ``torch.export`` program (``.pt2``) as a module with quantizers.

A program has its shapes and its mode built in: what does not fit is refused here, in words,
before PyTorch fails on it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx

from trtqat.errors import SourceError, first_line
from trtqat.exporting.fake_quantize_nodes import arguments, replace_fake_quantization

_ATEN = torch.ops.aten

# Where an operator's argument says that it was exported in training mode.
_TRAINING_FLAGS = {
    _ATEN.batch_norm.default: "training",
    _ATEN.instance_norm.default: "use_input_stats",
    _ATEN._native_batch_norm_legit.default: "training",
    _ATEN._native_batch_norm_legit_functional.default: "training",
    _ATEN.dropout.default: "train",
    _ATEN.native_dropout.default: "train",
    _ATEN.feature_dropout.default: "train",
}
# An instance norm without running statistics uses those of its input also in eval mode.
_STATELESS = "running_mean"


def load_program(path: Path, *, device: str = "cpu") -> torch.nn.Module:
    """Loads a program as a module with quantizers.

    Args:
        path: A file that ``torch.export.save`` wrote.
        device: Where its weights and constants go.

    Returns:
        A module whose forward takes the program's inputs by their names. It refuses inputs of
        a shape that the program was not exported for.

    Raises:
        SourceError: The file cannot be read, or the program was exported in training mode.
        QuantizerError: A quantizer in it is no signed symmetric INT8 of constant scale.
    """
    return program_module(_read(path), str(path), device=device)


def program_module(
    program: torch.export.ExportedProgram | fx.GraphModule, name: str, *, device: str = "cpu"
) -> torch.nn.Module:
    """Turns a program into a module with quantizers, as ``load_program`` describes it.

    Args:
        program: What ``torch.export.export`` returns, or the module of such a program, as
            ``prepare_qat_pt2e`` gives it back; a module is changed in place.
        name: Its source, for messages.
        device: Where the weights and constants of an ExportedProgram go.

    Raises:
        SourceError: It was exported in training mode.
        QuantizerError: A quantizer in it is no signed symmetric INT8 of constant scale.
    """
    check = None
    if isinstance(program, torch.export.ExportedProgram):
        if any(tensor.device.type != torch.device(device).type for tensor in _tensors(program)):
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        check = _ShapeCheck(name, program)
        program = program.module(check_guards=False)
    _check_mode(name, program.graph)
    replace_fake_quantization(program)
    # A plain GraphModule: that of a program refuses eval(), and keeps what is no longer used.
    module = fx.GraphModule(program, program.graph)
    if check is not None:
        module.register_forward_pre_hook(check)
    return module


def _read(path: Path) -> torch.export.ExportedProgram:
    # Registers quantize and dequantize, without which such a program cannot be read.
    with contextlib.suppress(ImportError):
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    try:
        with _silent("torch.export", "torch._export"):
            return torch.export.load(path)
    except Exception as error:
        what = "" if zipfile.is_zipfile(path) else ", it is damaged or of another kind"
        raise SourceError(
            f"'{path}' cannot be read as a torch.export program{what} ({type(error).__name__}: "
            f"{first_line(error)}).",
            "Write it with torch.export.save(torch.export.export(model, example), path), with "
            "this version of PyTorch or an older one.",
        ) from error


def _tensors(program: torch.export.ExportedProgram) -> Iterator[torch.Tensor]:
    for value in (*program.state_dict.values(), *program.constants.values()):
        if isinstance(value, torch.Tensor):
            yield value


def _check_mode(name: str, graph: fx.Graph) -> None:
    for node in graph.nodes:
        flag = _TRAINING_FLAGS.get(node.target)
        if flag is None:
            continue
        given = arguments(node)
        if given[flag] and given.get(_STATELESS, node) is not None:
            raise SourceError(
                f"The program '{name}' was exported in training mode: its '{node.name}' depends "
                "on the batch or on chance.",
                "Call model.eval() before torch.export.export; a model that is a program already "
                "goes through torchao's move_exported_model_to_eval.",
            )


class _ShapeCheck:
    """A hook that refuses shapes the program was not exported for, before it fails on them."""

    def __init__(self, source: str, program: torch.export.ExportedProgram) -> None:
        self._source = source
        self._expected: list[tuple[str, list[tuple[int, int]]]] = []
        by_name = {
            node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta
        }
        for name in program.graph_signature.user_inputs:
            value = by_name.get(str(name))
            if isinstance(value, torch.Tensor):
                bounds = [_bounds(size, program.range_constraints) for size in value.shape]
                self._expected.append((str(name), bounds))

    def __call__(self, module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        if len(inputs) != len(self._expected):
            return
        for (name, bounds), tensor in zip(self._expected, inputs, strict=True):
            if not isinstance(tensor, torch.Tensor) or tensor.dim() != len(bounds):
                continue
            for axis, ((least, most), size) in enumerate(zip(bounds, tensor.shape, strict=True)):
                # A size that is open, while the program is traced again, is not asked: that
                # would close it.
                if isinstance(size, int) and not least <= size <= most:
                    self._refuse(name, axis, least, most, size)

    def _refuse(self, name: str, axis: int, least: int, most: int, size: int) -> None:
        wants = f"fixed to {least}" if least == most else f"from {least} to {most}"
        raise SourceError(
            f"The program '{self._source}' has dimension {axis} of its input '{name}' {wants}, and "
            f"got {size}.",
            f"Export it with dynamic_shapes, {{'{name}': {{0: torch.export.Dim('batch')}}}}, or "
            "keep to that size: --static-batch and --input for export, --batch-size for eval."
            if axis == 0
            else "Export it with that dimension in dynamic_shapes, or keep to that size: --input "
            "without --dynamic for export, data of that size for eval.",
        )


def _bounds(size: int | torch.SymInt, ranges: Mapping[Any, Any]) -> tuple[int, int]:
    """Least and largest size of a dimension."""
    if isinstance(size, int):
        return size, size
    found = ranges.get(size.node.expr)
    unbounded = 2**63
    if found is None:
        return 0, unbounded
    lower, upper = (
        int(bound) if bound.is_Integer else default
        for bound, default in ((found.lower, 0), (found.upper, unbounded))
    )
    return lower, upper


@contextlib.contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Drops what PyTorch logs while it tries one archive format after another, with tracebacks."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
