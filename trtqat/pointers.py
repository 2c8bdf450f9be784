"""Pointers: ``file.py:name`` and ``pkg.module:name``, the way a user names a function of theirs.

A file is imported once under a name made from its path, so two files with the same name
do not collide. While it is imported, and while the function runs, its own directory comes
first on ``sys.path``: ``import vgg16`` beside it works as it does for a script.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from trtqat.errors import UsageError

# Directories of the files imported so far: their siblings may have to make way (_importable).
_directories: set[Path] = set()


def load_pointer(text: str) -> Callable[..., Any]:
    """Imports what a pointer names.

    Args:
        text: ``file.py:name`` (relative to the working directory, or absolute) or
            ``pkg.module:name`` (installed, or found from the working directory). The name
            may be dotted: ``file.py:Model.small``.

    Returns:
        The callable. From a file it comes wrapped, so that it can import its siblings.

    Raises:
        UsageError: The text has another form, the file, module or name does not exist,
            importing it raised an exception, or the name is not callable.
    """
    source, _, name = text.rpartition(":")
    if not source or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"'{text}' does not name a function.", "Write file.py:function or pkg.module:function."
        )
    is_file = source.endswith(".py") or "/" in source or os.sep in source
    directory = Path(source).resolve().parent if is_file else Path.cwd()
    module = _import_file(source) if is_file else _import_module(source, directory)
    target = _attribute(module, name, source)
    if not callable(target):
        raise UsageError(
            f"'{name}' in {source} is a {type(target).__name__}, not a function or class.",
            "Point to something that can be called.",
        )
    if not is_file:
        return target

    @functools.wraps(target, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - it is the user's function
        with _importable(directory):
            return target(*args, **kwargs)

    return call


def _import_file(source: str) -> ModuleType:
    path = Path(source).resolve()
    if not path.is_file():
        raise UsageError(
            f"The file '{source}' does not exist.",
            f"Check the path; the working directory is {Path.cwd()}.",
        )
    # The module stays in sys.modules: torch.export looks up a model's globals there.
    unique = f"{path.stem.replace('.', '_')}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"'{source}' is not a Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(unique, None)
        raise _import_failure(source, path, error) from error
    _directories.add(path.parent)
    return module


def _import_module(source: str, directory: Path) -> ModuleType:
    try:
        with _importable(directory):
            return importlib.import_module(source)
    except ModuleNotFoundError as error:
        # A missing import inside an existing module is that module's failure, not a wrong name.
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise _import_failure(source, None, error) from error
        raise UsageError(
            f"There is no module '{error.name}', neither installed nor in {directory}.",
            "Check the name, or point to the file itself: path/to/file.py:function.",
        ) from error
    except (Exception, SystemExit) as error:
        raise _import_failure(source, None, error) from error


def _import_failure(source: str, path: Path | None, error: BaseException) -> UsageError:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and frame.filename == str(path)
    ]
    where = f" in line {lines[-1]}" if lines else ""
    return UsageError(
        f"Importing '{source}' failed{where} with {type(error).__name__}: {error}",
        "It must import without running anything; keep a script's own run under "
        'if __name__ == "__main__".',
    )


def _attribute(module: ModuleType, name: str, source: str) -> object:
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError as error:
        public = sorted(
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and callable(value)
            and getattr(value, "__module__", None) == module.__name__
        )
        raise UsageError(
            f"There is no '{name}' in {source}.",
            f"It defines: {', '.join(public)}." if public else "It defines no function or class.",
        ) from error


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Puts a directory first on ``sys.path``; siblings of other pointers make way for its own."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or "." in name or not _holds(directory, name):
            continue
        parent = Path(file).parent
        parent = parent.parent if hasattr(module, "__path__") else parent
        if parent in _directories and parent != directory:
            del sys.modules[name]
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(directory))


def _holds(directory: Path, name: str) -> bool:
    return (directory / f"{name}.py").is_file() or (directory / name).is_dir()
