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
