"""Shared libraries in the place of those with plugins: compiled here, and empty of plugins.

NVIDIA's headers are on no package index, so no plugin of TensorRT's can be written here.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def make_library(path: Path, *, dynamic: bool = False) -> Path:
    """A library that says that it was loaded, by a file of its own name.

    Args:
        path: Where to write it.
        dynamic: Whether it has what TensorRT's registry asks for.
    """
    assert COMPILER is not None
    mark = path.with_suffix(".loaded")
    source = path.with_suffix(".c")
    entry = "void *getCreators(int *count) { *count = 0; return 0; }" if dynamic else ""
    source.write_text(
        "#include <stdio.h>\n"
        "__attribute__((constructor)) static void mark(void) "
        f'{{ fclose(fopen("{mark}", "w")); }}\n{entry}\n'
    )
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, source], check=True)
    return path


def was_loaded(library: Path) -> bool:
    return library.with_suffix(".loaded").exists()


@dataclass
class Registry:
    """TensorRT's registry: which plugins it has, and which libraries it was given.

    Attributes:
        creators: Names of the plugins.
        refuses: Whether it takes no library.
        given: The libraries.
    """

    creators: list[str] = field(default_factory=lambda: ["EfficientNMS_TRT"])
    refuses: bool = False
    given: list[str] = field(default_factory=list)

    @property
    def plugin_creator_list(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.creators]

    def load_library(self, path: str) -> object | None:
        self.given.append(path)
        return None if self.refuses else object()
