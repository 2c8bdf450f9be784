"""TensorRT's runtimes on this host: full, lean, dispatch, rtx; which of them runs a plan.

The full runtime runs every plan of its own version; the lean one (a download of 47 MB) and the
dispatch one (1 MB, which needs the library inside the plan) run version-compatible plans. Engine
and execution context are the same in all three. TensorRT for RTX (``rtx``) is a library of its own,
with the same Python API and its own plans.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Literal

from trtqat.errors import MissingError, PlanError, first_line
from trtqat.extras import install
from trtqat.host.version_rules import why_not
from trtqat.plan.header import LIBRARY_NAMES, Library, PlanHeader

Flavour = Literal["full", "lean", "dispatch", "rtx"]

# In the order of preference. Wheels without NVIDIA's metapackage have the bindings under a name
# of their own, which find their libraries only after the package of the libraries was imported.
_MODULES: tuple[tuple[Flavour, str, str], ...] = (
    ("full", "tensorrt", ""),
    ("lean", "tensorrt_lean", ""),
    ("lean", "tensorrt_lean_bindings", "tensorrt_lean_libs"),
    ("dispatch", "tensorrt_dispatch", ""),
    ("dispatch", "tensorrt_dispatch_bindings", "tensorrt_dispatch_libs"),
    ("rtx", "tensorrt_rtx", ""),
    ("rtx", "tensorrt_rtx_bindings", "tensorrt_rtx_libs"),
)


_WORDS: dict[Flavour, str] = {
    "full": "full TensorRT",
    "lean": "lean TensorRT",
    "dispatch": "dispatch TensorRT",
    "rtx": "TensorRT for RTX",
}


@dataclass(frozen=True)
class TensorRTFlavour:
    """A TensorRT runtime that can be imported.

    Attributes:
        flavour: ``full`` builds and runs; ``lean`` and ``dispatch`` run version-compatible plans;
            ``rtx`` builds and runs plans of TensorRT for RTX.
        module: What to import.
        version: Its version string.
        path: Where its Python package lies.
        cuda: The CUDA major that TensorRT for RTX was made for, as ``"12"``; empty if it is not
            known, and of the others.
    """

    flavour: Flavour
    module: str
    version: str
    path: str
    cuda: str = ""

    @property
    def library(self) -> Library:
        """The library whose plans it runs."""
        return _library_of(self.flavour)

    @property
    def has_inspector(self) -> bool:
        """Whether it tells what the layers of a plan are: lean and dispatch do not."""
        return self.flavour in ("full", "rtx")

    @property
    def title(self) -> str:
        """Its name with its version, as ``"TensorRT 8.6.0 (lean)"``."""
        name = f"{LIBRARY_NAMES[self.library]} {self.version}"
        return name if self.flavour == "rtx" else f"{name} ({self.flavour})"

    def load(self) -> ModuleType:
        """Imports it, which has worked before."""
        return importlib.import_module(self.module)


@dataclass(frozen=True)
class BrokenFlavour:
    """A TensorRT runtime that is installed but cannot be imported. ``str`` is a sentence's end.

    Attributes:
        flavour: Which one it would be.
        module: What does not import.
        reason: Why, as Python says it.
    """

    flavour: Flavour
    module: str
    reason: str

    @property
    def library(self) -> Library:
        """The library whose plans it would run."""
        return _library_of(self.flavour)

    def __str__(self) -> str:
        return f"{self.module}: {self.reason}"


def _library_of(flavour: Flavour) -> Library:
    return "rtx" if flavour == "rtx" else "tensorrt"


def find_flavours(
    only: Flavour | None = None,
) -> tuple[tuple[TensorRTFlavour, ...], tuple[BrokenFlavour, ...]]:
    """Imports every runtime that is installed.

    Args:
        only: Looks for this one alone.

    Returns:
        The runtimes in the order of preference, and each that is installed but does not import.
    """
    found: dict[Flavour, TensorRTFlavour] = {}
    problems = []
    for flavour, name, libraries in _MODULES:
        if flavour in found or only not in (None, flavour):
            continue
        try:
            if libraries:
                importlib.import_module(libraries)
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, libraries):
                problems.append(BrokenFlavour(flavour, name, first_line(error)))
            continue
        # A missing or foreign shared library surfaces as either, depending on the wheel.
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(BrokenFlavour(flavour, name, first_line(error)))
            continue
        path = str(Path(module.__file__).parent) if module.__file__ else ""
        version = str(getattr(module, "__version__", "unknown"))
        cuda = rtx_cuda() if flavour == "rtx" else ""
        found[flavour] = TensorRTFlavour(flavour, name, version, path, cuda)
    return tuple(found.values()), tuple(problems)


@cache
def rtx_cuda() -> str:
    """The CUDA major that the installed TensorRT for RTX was made for; empty if it is unknown.

    The library does not tell, but the names of its packages do ("tensorrt-rtx-cu12-bindings").
    """
    for package in _rtx_packages():
        match = re.search(r"[-_]cu(\d+)[-_]", package)
        if match is not None:
            return match[1]
    return ""


def _rtx_packages() -> Sequence[str]:
    """Names of packages with the bindings of TensorRT for RTX, also as their folders have them."""
    # Folders of the wheels tell in no time; else the files of all packages are looked through.
    wheels = (
        found.name
        for place in sys.path
        for found in Path(place).glob("tensorrt_rtx_cu*_bindings-*.dist-info")
    )
    first = next(wheels, None)
    return [first] if first else packages_distributions().get("tensorrt_rtx_bindings", ())


def choose_flavour(
    header: PlanHeader,
    installed: Sequence[TensorRTFlavour],
    problems: Sequence[BrokenFlavour] = (),
    *,
    wanted: Flavour | None = None,
    lean_excluded: bool = False,
) -> TensorRTFlavour:
    """The first runtime that may run a plan.

    Args:
        header: Of the plan.
        installed: In the order of preference.
        problems: Those that do not import.
        wanted: Only this one.
        lean_excluded: Whether the plan was built without its lean runtime.

    Raises:
        MissingError: None of the plan's library is installed, or not the wanted one.
        PlanError: The installed ones may not run it; with the rule for each.
    """

    def may_serve(each: TensorRTFlavour | BrokenFlavour) -> bool:
        return each.flavour == wanted if wanted else each.library == header.library

    candidates = list(filter(may_serve, installed))
    if not candidates:
        what = _WORDS[wanted] if wanted else LIBRARY_NAMES[header.library]
        mine = list(filter(may_serve, problems))
        because = f": {mine[0]}" if mine else ""
        others = "; ".join(f"{each.version} ({each.flavour})" for each in installed)
        but = f"; {others} runs other plans" if others and not wanted else ""
        raise MissingError(
            f"No {what} can be imported here{because or but}.",
            _way_out(header, installed, wanted, lean_excluded=lean_excluded),
        )
    refused = []
    for each in candidates:
        reason = why_not(header, each.version, flavour=each.flavour, lean_excluded=lean_excluded)
        if not reason:
            return each
        refused.append(f"{each.version} ({each.flavour}): {reason}")
    raise PlanError(
        f"It was built by {header.built_by}; {'; '.join(refused)}.",
        _way_out(header, installed, wanted, lean_excluded=lean_excluded),
    )


def _way_out(
    header: PlanHeader,
    installed: Sequence[TensorRTFlavour],
    wanted: Flavour | None,
    *,
    lean_excluded: bool,
) -> str:
    """The way to a TensorRT that runs a plan, as a sentence."""
    # Nobody but a user asks for these two, or for the full one of a plan of another library.
    is_asked = wanted in ("lean", "dispatch") or (wanted == "full" and header.library == "rtx")
    for each in installed if is_asked else ():
        if not why_not(header, each.version, flavour=each.flavour, lean_excluded=lean_excluded):
            return f"Leave out --runtime: {each.version} ({each.flavour}) runs it."
    written = ".".join(map(str, header.version))
    if lean_excluded:
        return (
            f"Install TensorRT {written}, or build the plan again without --exclude-lean-runtime."
        )
    if header.library == "rtx":
        # Every release since 1.4 stays on PyPI, and the libraries' package must be the bindings'.
        packages = [f"tensorrt-rtx-cu12-{part}=={written}.*" for part in ("libs", "bindings")]
        return (
            f"{shlex.join(['pip', 'install', *packages])} brings the release that it needs; for "
            "CUDA 13 the names have cu13. Or build the plan again from its ONNX file here."
        )
    if header.is_version_compatible and wanted == "full":
        return f"Install the full TensorRT {written}, or a newer one that may run it."
    if header.is_version_compatible and header.version[0] <= 10:
        return (
            f"In the checkout of trtqat, {install('lean')} brings the lean runtime of TensorRT 10, "
            f"which runs it; so does TensorRT {written}."
        )
    if header.is_version_compatible:
        return f"Install TensorRT {written} or a newer one that may run it, lean or full."
    return f"Install TensorRT {written}, or build the plan again from its ONNX file here."
