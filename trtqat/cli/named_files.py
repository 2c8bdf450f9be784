"""The files that a command names: whether they can be read and written, before it computes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.files import check_input, check_writable, is_file, is_onnx, weights_beside


def check_outputs(
    outputs: Mapping[str, str | Path | None],
    inputs: Iterable[str | Path | None] = (),
    *,
    plan: Path | None = None,
) -> None:
    """Finds out whether inputs can be files, and outputs be written, before anything is computed.

    Args:
        outputs: File by option; None is none, and ``"-"`` for --json is standard output.
        inputs: What is read: files, or with a file in it, as ``model.py:factory``.
        plan: What is read or written, if it is a plan: what lies beside it is not to be
            overwritten either.

    Raises:
        UsageError: An input is no file that can be read; an output cannot be written, or would
            overwrite an input or another output.
    """
    named = [name for text in inputs for name in _names_in(text)]
    for name in named:
        check_input(name)
    taken = {_real(name): "an input of this command" for name in named if is_file(name)}
    beside = [(name, weights_beside(Path(name))) for name in named if is_onnx(name)]
    taken |= {_real(file): f"the weights of '{name}'" for name, file in beside if is_file(file)}
    # "." has no name, and is no plan.
    if plan is not None and plan.name:
        from trtqat.plan.manifest import manifest_path
        from trtqat.plan.signature import signature_path

        graph = plan.with_suffix(".onnx")
        if is_file(graph):
            taken[_real(graph)] = "an input of this command"
        taken[_real(manifest_path(plan))] = f"the manifest of '{plan}'"
        taken[_real(signature_path(plan))] = f"the signature of '{plan}'"
    for option, destination in outputs.items():
        if destination is None or (option, destination) == ("--json", "-"):
            continue
        if str(destination) == "-":
            raise UsageError(
                f"{option} does not go to standard output.", "Give the name of a file."
            )
        check_writable(Path(destination))
        path = _real(destination)
        if path in taken:
            raise UsageError(
                f"{option} '{destination}' would overwrite {taken[path]}.", "Choose another name."
            )
        taken[path] = f"what {option} writes"


def _names_in(text: str | Path | None) -> list[str]:
    """The files that an argument may name: itself, and what stands before its last colon."""
    return [name for name in (str(text or ""), str(text or "").rpartition(":")[0]) if name]


def _real(path: str | Path) -> str:
    """One name of a file for all that it has; links that lead in a circle stay as they are."""
    return os.path.realpath(path)
