"""The borders between the rooms, over what the sources import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trtqat

PACKAGE = Path(trtqat.__file__).parent
# A room imports from those below it alone, so no two import each other. Rooms of one line know
# nothing of each other either.
ORDER = (
    ("cli",),
    ("report",),
    ("search",),
    ("evaluation",),
    ("building", "exporting"),
    ("inspection",),
    ("graph",),
    ("runtime",),
    ("host",),
    ("plan", "graph_file"),
    ("quant", "data"),
)
DEPTH = {room: depth for depth, rooms in enumerate(ORDER) for room in rooms}
# The same inside quant, of its rooms and of the files beside them.
QUANT_ORDER = (
    ("quantize", "training"),
    ("ranges", "tuning"),
    ("recipe",),
    ("placing", "toolkits"),
    ("int8_quantizer",),
    ("state",),
    ("fake_quantize", "feeding", "has_values", "kept_state", "module_by_module"),
)
QUANT_DEPTH = {part: depth for depth, parts in enumerate(QUANT_ORDER) for part in parts}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported may be a module itself.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
            # ``require("torch", …)`` imports as well.
            (module, *_) = node.args
            if isinstance(module, ast.Constant):
                yield str(module.value)


SOURCES = sorted(PACKAGE.rglob("*.py"))


# TensorRT in all its forms.
TENSORRT = (
    "tensorrt",
    "tensorrt_lean",
    "tensorrt_dispatch",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "tensorrt_rtx_libs",
)


def test_every_room_has_its_place() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(DEPTH)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    room = place.partition("/")[0]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top in ("torch", "onnxscript", "pytorch_quantization"):
            assert room in ("quant", "exporting", "search") or place.startswith(
                "runtime/pytorch"
            ), name
        if top in ("cuda", *TENSORRT):
            assert room in ("building", "host", "runtime"), name
        assert top != "trtqat" or rest, f"{place} imports the package's face"
        other = rest.partition(".")[0]
        if top != "trtqat" or room == other or other not in DEPTH:
            continue
        # What every room uses knows none; the package's face and its entry point know all.
        small = room not in DEPTH and place not in ("__init__.py", "__main__.py")
        assert not small, f"{place} is used by all and imports {name}"
        assert DEPTH.get(room, -1) < DEPTH[other], f"{place} imports {name}"


QUANT = PACKAGE / "quant"


def test_every_part_of_quant_has_its_place() -> None:
    parts = {path.parent.name for path in QUANT.glob("*/__init__.py")}
    parts |= {path.stem for path in QUANT.glob("*.py")} - {"__init__"}
    assert parts == set(QUANT_DEPTH)


@pytest.mark.parametrize(
    "path", sorted(QUANT.rglob("*.py")), ids=lambda path: str(path.relative_to(QUANT))
)
def test_imports_inside_quant_point_down(path: Path) -> None:
    part = path.relative_to(QUANT).with_suffix("").parts[0]
    for name in imports(path):
        if not name.startswith("trtqat.quant."):
            continue
        assert part != "__init__", f"the door of quant imports {name}"
        other = name.split(".")[2]
        assert part == other or QUANT_DEPTH[part] < QUANT_DEPTH[other], f"{part} imports {name}"


def test_quant_shows_its_order() -> None:
    lines = (QUANT / "README.md").read_text(encoding="utf-8").splitlines()
    (shown,) = [line.strip() for line in lines if line.startswith("    quantize, ")]
    assert shown == " → ".join(", ".join(parts) for parts in QUANT_ORDER)


LENSES = sorted((PACKAGE / "graph" / "lenses").glob("*.py"))


@pytest.mark.parametrize("path", LENSES, ids=lambda path: path.stem)
def test_lenses_only_answer(path: Path) -> None:
    rooms = ("editing", "editor", "half", "lint", "passes", "repair")
    changing = {f"trtqat.graph.{room}" for room in rooms}
    assert not [name for name in imports(path) if name.startswith(tuple(changing))]


def named_by(door: Path) -> list[str]:
    """The files that a room's door names; ``model.py:qat`` is a user's."""
    words = ast.get_docstring(ast.parse(door.read_text())) or ""
    return re.findall(r"[\w/]+\.py\b(?!:)", words)


DOORS = [path for path in SOURCES if path.name == "__init__.py" and named_by(path)]


@pytest.mark.parametrize("door", DOORS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_that_a_door_names_exists(door: Path) -> None:
    places = (door.parent, PACKAGE)
    for name in named_by(door):
        assert any((place / name).is_file() for place in places), name


def test_doors_name_files() -> None:
    assert {"trtqat", "graph", "half", "runtime"} <= {door.parent.name for door in DOORS}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_called_like_a_standard_one(path: Path) -> None:
    assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names


def test_no_public_name_is_a_submodule() -> None:
    submodules = {path.stem for path in PACKAGE.glob("*.py")}
    submodules |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert not submodules & set(trtqat.__all__)


def test_tests_share_by_support_alone() -> None:
    tests = Path(__file__).parents[1]
    shared = [
        f"{path.relative_to(tests)} imports {name}"
        for path in sorted(tests.rglob("*.py"))
        for name in imports(path)
        if name.startswith("tests.") and not name.startswith("tests.support")
    ]
    assert not shared


def test_no_python_file_is_longer_than_350_lines() -> None:
    root = Path(__file__).parents[2]
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for room in ("trtqat", "tests", "scripts")
        for path in sorted((root / room).rglob("*.py"))
    }
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > 350} == {}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['trtqat', '--help']\n"
        "from trtqat.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'tensorrt', 'onnx', 'onnxruntime', 'numpy', 'rich'} & set(sys.modules)\n"
        "heavy |= {name for name in sys.modules if name.startswith('tensorrt')}\n"
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
