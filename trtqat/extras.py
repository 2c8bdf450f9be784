"""Importing what is optional, with an error that says how to get it."""

from __future__ import annotations

import importlib
import shlex
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
    # An OSError where a library of its own cannot be loaded.
    except (ImportError, OSError) as error:
        raise MissingError(
            f"{purpose} needs {module}, which cannot be imported here ({error}).",
            f"Install it in the checkout of trtqat: {install(extra)}",
        ) from error


def install(extra: str, *options: str) -> str:
    """The command for trtqat's checkout that installs an extra; no index has the package.

    Args:
        extra: Its name.
        options: Of ``pip install``.
    """
    return shlex.join(["pip", "install", *options, "-e", f".[{extra}]"])
