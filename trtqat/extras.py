"""Importing what is optional, with an error that says how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

from trtqat.errors import MissingError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports an optional module.

    Args:
        module: Dotted name, for example ``"onnxruntime"``.
        extra: The extra of this package that installs it.
        purpose: What needs it, as the subject of a sentence ("Evaluating an ONNX file").

    Raises:
        MissingError: It is not installed, or one of its own imports is not.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(
            f"{purpose} needs {module}, which cannot be imported here ({error}).",
            f"Install it with: pip install 'trtqat[{extra}]'",
        ) from error
