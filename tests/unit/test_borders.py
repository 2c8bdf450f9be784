"""The borders between the rooms, over the import statements of the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trtqat

PACKAGE = Path(trtqat.__file__).parent
LEVELS = {
    "cli": 3,
    "export": 2,
    "engine": 2,
    "evaluation": 2,
    "graph": 1,
    "runtime": 1,
    "quant": 1,
    "data": 1,
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    room = place.partition("/")[0]
    for name in imports(path):
        top = name.partition(".")[0]
        if top in ("torch", "onnxscript", "pytorch_quantization"):
            assert room in ("quant", "export") or place.startswith("runtime/pytorch"), name
        if top in ("tensorrt", "cuda"):
            assert room in ("engine", "runtime"), name
        if top == "trtqat" and room in LEVELS:
            other = name.split(".")[1] if "." in name else ""
            assert LEVELS.get(other, 0) <= LEVELS[room], f"{place} imports {name}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['trtqat', '--help']\n"
        "from trtqat.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'tensorrt', 'onnx', 'onnxruntime', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_public_names() -> None:
    assert len(set(trtqat.__all__)) == len(trtqat.__all__)
    for name in trtqat.__all__:
        assert getattr(trtqat, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = trtqat.nothing


def test_every_error_has_its_exit_code() -> None:
    from trtqat import errors

    codes = {
        name: cls.exit_code
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.TrtqatError)
    }
    assert errors.__doc__ is not None
    for name in codes:
        assert name in errors.__doc__
    assert codes["TrtqatError"] == codes["ExportError"] == codes["BuildError"] == 1
    assert codes["SourceError"] == codes["PlanError"] == codes["DataError"] == 2
    assert (codes["GateError"], codes["MissingError"]) == (3, 4)
