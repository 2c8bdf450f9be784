"""Pointers: ``file.py:name`` and ``pkg.module:name``, the way a user names a function of theirs.

A file is imported once under a name made from its path, so two files with the same name
do not collide. While it is imported, and while the function runs, its own directory comes
first on ``sys.path``: ``import vgg16`` beside it works as it does for a script. A file with
relative imports is imported as the module of its package that it is.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from trtqat.errors import TrtqatError, UsageError, message_of
from trtqat.files import is_file
from trtqat.user_code import in_words, printing_aside, user_code

# Directories of the files imported so far: their siblings may have to make way (_importable).
_directories: set[Path] = set()
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def is_pointer(text: str) -> bool:
    r"""Whether a text has the form of a pointer, also one to a name that cannot be.

    A path is none: not ``C:\models\net.ts``, whose colon follows a drive, nor ``store:nets/net``.
    """
    _, colon, name = text.rpartition(":")
    return bool(colon) and not ("/" in name or "\\" in name)


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
    if not is_pointer(text) or not source or not _is_dotted(name):
        raise UsageError(
            f"'{text}' does not name a function.", "Write file.py:function or pkg.module:function."
        )
    is_file = source.endswith(".py") or "/" in source or "\\" in source or os.sep in source
    # What it prints is no result.
    with printing_aside():
        module, directory = _import_file(source) if is_file else _import_module(source)
        with user_code(f"Reading '{name}' in {source}", UsageError, "Point to a plain function."):
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


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import_file(source: str) -> tuple[ModuleType, Path]:
    """The module, and the directory that its own imports start from."""
    if not is_file(source):
        raise UsageError(
            f"The file '{source}' does not exist.",
            f"Check the path; the working directory is {Path.cwd()}.",
        )
    path = Path(source).resolve()
    levels = _relative_levels(path)
    if levels:
        return _import_in_package(source, path, levels)
    # The module stays in sys.modules: torch.export looks up a model's globals there.
    unique = f"{path.stem.replace('.', '_')}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    if unique in sys.modules:
        return sys.modules[unique], path.parent
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"'{source}' is not a Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    with _importing(source, path, unique), _importable(path.parent):
        spec.loader.exec_module(module)
    _directories.add(path.parent)
    return module, path.parent


def _import_in_package(source: str, path: Path, levels: int) -> tuple[ModuleType, Path]:
    """Imports a file with relative imports under the name that it has in its package."""
    is_module = path.stem != "__init__"
    names, root = [path.stem] if is_module else [], path.parent
    while len(names) < levels + is_module or (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    dotted = ".".join(names)
    if not _is_dotted(dotted):
        raise UsageError(
            f"'{source}' has relative imports, but its folders make '{dotted}', which is no name "
            "of a module.",
            "Rename the folders, or make the imports absolute.",
        )
    with _importable(root):
        package = sys.modules.get(names[0])
        if package is not None and root not in _homes(package):
            raise UsageError(
                f"'{source}' belongs to a package '{names[0]}', a name that "
                f"{getattr(package, '__file__', None) or 'another module'} has here already.",
                "Rename the folder, or make the file's imports absolute.",
            )
        with _importing(source, path, dotted):
            module = importlib.import_module(dotted)
    _directories.add(root)
    return module, root


def _relative_levels(path: Path) -> int:
    """How many folders up the relative imports of a file reach; 0 if it has none."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return 0  # importing it says what is wrong
    return max(
        (node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0
    )


def _import_module(source: str) -> tuple[ModuleType, Path]:
    directory = Path.cwd()
    if not all(source.split(".")):
        raise UsageError(
            f"'{source}' is no name of a module.", "Write file.py:function or pkg.module:function."
        )
    try:
        with _importing(source, None, source), _importable(directory):
            return importlib.import_module(source), directory
    except UsageError as failure:
        error = failure.__cause__
        # A missing import inside an existing module is that module's failure, not a wrong name.
        if not isinstance(error, ModuleNotFoundError) or not f"{source}.".startswith(
            f"{error.name}."
        ):
            raise
        raise UsageError(
            f"There is no module '{error.name}', neither installed nor in {directory}.",
            "Check the name, or point to the file itself: path/to/file.py:function.",
        ) from error


@contextlib.contextmanager
def _importing(source: str, path: Path | None, name: str) -> Iterator[None]:
    """A sentence for whatever an import raises; half a module is not left behind."""
    try:
        yield
    except BaseException as error:
        sys.modules.pop(name, None)
        # Ctrl-C raises KeyboardInterrupt itself; a class derived from it is somebody's own.
        if isinstance(error, TrtqatError) or type(error) is KeyboardInterrupt:
            raise
        raise _import_failure(source, path, error) from error


def _import_failure(source: str, path: Path | None, error: BaseException) -> UsageError:
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if path is not None and frame.f_code.co_filename == str(path)
    ]
    if lines:
        message = message_of(error)
        said = f" in line {lines[-1]} with {type(error).__name__}" + (
            f": {message}" if message else ", without a message"
        )
    else:
        said = f" with {in_words(error)}"
    return UsageError(f"Importing '{source}' failed{said}.", _remedy(path, error))


def _remedy(path: Path | None, error: BaseException) -> str:
    is_relative = isinstance(error, ImportError) and "relative import" in message_of(error)
    names = [] if path is None else [path.parent.name, path.stem]
    is_package = path is not None and (
        is_relative or (isinstance(error, ModuleNotFoundError) and error.name == names[0])
    )
    if is_package and path is not None and _is_dotted(".".join(names)):
        folder = shlex.quote(str(path.parent.parent))
        return f"Name it as a module of its package, in the folder {folder}: {'.'.join(names)}:NAME"
    if isinstance(error, ImportError):
        return "Install what it imports, or put it beside the file."
    return (
        "It must import without running anything; keep a script's own run under "
        'if __name__ == "__main__".'
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
    leaving = set()
    for name, module in list(sys.modules.items()):
        if "." in name or not _holds(directory, name):
            continue
        homes = _homes(module)
        if homes & _directories and directory not in homes:
            leaving.add(name)
    if leaving:
        for name in [each for each in sys.modules if each.partition(".")[0] in leaving]:
            del sys.modules[name]
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(directory))


def _homes(module: ModuleType) -> set[Path]:
    """The directories that a top-level module or package, also one without a file, lies in."""
    file = getattr(module, "__file__", None)
    places = list(getattr(module, "__path__", ())) or ([file] if file else [])
    return {Path(place).resolve().parent for place in places}


def _holds(directory: Path, name: str) -> bool:
    # Asked of every module that is loaded: a Path for each costs four times as much.
    place = os.path.join(directory, name)
    return os.path.isfile(f"{place}.py") or os.path.isdir(place)
