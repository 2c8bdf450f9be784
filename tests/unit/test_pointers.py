from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from trtqat.errors import UsageError
from trtqat.pointers import load_pointer


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_function_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "models.py", "def double(x, *, plus=0):\n    return 2 * x + plus\n")
    assert load_pointer(f"{path}:double")(4, plus=1) == 9


def test_relative_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "models.py", "def one():\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    assert load_pointer("models.py:one")() == 1


def test_installed_module() -> None:
    assert load_pointer("math:sqrt") is math.sqrt


def test_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a_package_here" / "models.py", "class Model:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    load_pointer("a_package_here.models:Model")
    assert str(tmp_path) not in sys.path


def test_dotted_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.py",
        "class Model:\n    @classmethod\n    def small(cls):\n        return cls.__name__\n",
    )
    assert load_pointer(f"{path}:Model.small")() == "Model"


def test_sibling_is_importable_while_loading_and_while_called(tmp_path: Path) -> None:
    write(tmp_path / "sibling_early.py", "VALUE = 'early'\n")
    write(tmp_path / "sibling_late.py", "VALUE = 'late'\n")
    path = write(
        tmp_path / "m.py",
        "import sibling_early\n"
        "def values():\n"
        "    import sibling_late\n"
        "    return sibling_early.VALUE, sibling_late.VALUE\n",
    )
    function = load_pointer(f"{path}:values")
    assert str(tmp_path) not in sys.path
    assert function() == ("early", "late")
    assert str(tmp_path) not in sys.path


def test_files_with_the_same_name_do_not_collide(tmp_path: Path) -> None:
    functions = []
    for name in ("left", "right"):
        write(tmp_path / name / "helper_of_m.py", f"NAME = '{name}'\n")
        path = write(
            tmp_path / name / "m.py",
            "import helper_of_m\ndef name():\n    return helper_of_m.NAME\n",
        )
        functions.append(load_pointer(f"{path}:name"))
    assert [function() for function in functions] == ["left", "right"]


def test_a_file_is_imported_once_and_found_by_its_module_name(tmp_path: Path) -> None:
    path = write(tmp_path / "m.py", "class A:\n    pass\ndef a():\n    return A\n")
    first, second = load_pointer(f"{path}:a")(), load_pointer(f"{path}:a")()
    assert first is second
    assert sys.modules[first.__module__].A is first


def test_a_file_named_like_a_package_hides_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "numpy.py", "def f():\n    return 1\n")
    import numpy as np

    assert load_pointer(f"{path}:f")() == 1
    assert sys.modules["numpy"] is np


@pytest.mark.parametrize("text", ["", "models.py", ":f", "models.py:", "models.py:f()", "m:a b"])
def test_other_forms(text: str) -> None:
    with pytest.raises(UsageError, match="does not name a function"):
        load_pointer(text)


def test_missing_file() -> None:
    with pytest.raises(UsageError, match=r"'absent\.py' does not exist"):
        load_pointer("absent.py:f")


@pytest.mark.parametrize("module", ["absent_package.models", "json.absent"])
def test_missing_module(module: str) -> None:
    with pytest.raises(UsageError, match=r"no module '(absent_package|json\.absent)'"):
        load_pointer(f"{module}:f")


def test_missing_import_inside_a_module_is_not_a_wrong_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "needs_absent.py", "import absent_dependency\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"'needs_absent' failed.*absent_dependency"):
        load_pointer("needs_absent:f")


def test_missing_name_lists_what_is_there(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.py",
        "import json\nfrom math import sqrt\ndef qat():\n    pass\ndef vgg16():\n    pass\n"
        "def _private():\n    pass\n",
    )
    with pytest.raises(UsageError) as caught:
        load_pointer(f"{path}:resnet")
    assert caught.value.remedy == "It defines: qat, vgg16."


def test_not_callable(tmp_path: Path) -> None:
    path = write(tmp_path / "m.py", "SIZE = 3\n")
    with pytest.raises(UsageError, match=r"'SIZE' in .* is a int"):
        load_pointer(f"{path}:SIZE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\nx / 0\n", "in line 2 with ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "in line 2 with SystemExit: 3"),
        ("def f(:\n", "with SyntaxError"),
    ],
)
def test_exception_while_importing(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "m.py", text)
    for _ in range(2):  # a half-imported module must not be taken for the real one
        with pytest.raises(UsageError, match=expected):
            load_pointer(f"{path}:f")
    assert str(tmp_path) not in sys.path


MODEL = (
    "from .layers import SIZE\ndef size():\n    from .late import MORE\n    return SIZE + MORE\n"
)


def make_package(folder: Path, size: int) -> Path:
    for name, text in (("layers", f"SIZE = {size}\n"), ("late", "MORE = 1\n"), ("m", MODEL)):
        write(folder / f"{name}.py", text)
    return folder


@pytest.mark.parametrize("is_package", [True, False])
def test_relative_imports(tmp_path: Path, is_package: bool) -> None:
    """Two packages of one name, with a file that marks them as such and without."""
    pointers = []
    for number in (1, 2):
        folder = make_package(tmp_path / str(number) / "a_net", number)
        if is_package:
            write(folder / "__init__.py", "")
        pointers.append(load_pointer(f"{folder / 'm.py'}:size"))
    assert [pointer() for pointer in pointers] == [2, 3]


def test_relative_imports_from_above(tmp_path: Path) -> None:
    make_package(tmp_path / "an_outer", 5)
    path = write(
        tmp_path / "an_outer" / "inner" / "m.py",
        "from ..layers import SIZE\nimport an_outer.late\ndef size():\n    return SIZE\n",
    )
    assert load_pointer(f"{path}:size")() == 5


def test_a_package_with_a_name_that_is_taken(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "numpy", 1)
    with pytest.raises(UsageError, match="belongs to a package 'numpy', a name that"):
        load_pointer(f"{folder / 'm.py'}:size")


def test_a_file_that_imports_its_own_package_is_named_as_a_module(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "with space" / "b_net", 1)
    path = write(folder / "n.py", "from b_net.layers import SIZE\ndef size(): return SIZE\n")
    with pytest.raises(UsageError) as caught:
        load_pointer(f"{path}:size")
    assert "b_net.n:NAME" in caught.value.remedy
    assert f"'{tmp_path / 'with space'}'" in caught.value.remedy


def test_what_an_import_prints_is_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "m.py", "print('hello')\ndef f(): pass\n")
    load_pointer(f"{path}:f")
    assert capsys.readouterr() == ("", "hello\n")
