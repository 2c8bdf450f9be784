"""The libraries of plugins that a plan needs, as its manifest records them.

A plan holds what a plugin keeps of itself, and not its code. So the library must be there where the
plan is loaded, and it should be the very one: another one may read the same bytes in another way.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PluginLibrary:
    """A shared library that registers plugins.

    Attributes:
        name: Of its file, without directories.
        sha256: Of its file.
    """

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"'{self.name}' (SHA-256 {self.sha256[:12]}…)"


@dataclass(frozen=True)
class RecordedPlugins:
    """What a plan has of plugins.

    Attributes:
        libraries: Those that the build was given. TensorRT's own plugins need none.
        operators: Operators of the graph that are none of ONNX's, each once.
    """

    libraries: tuple[PluginLibrary, ...] = ()
    operators: tuple[str, ...] = ()
