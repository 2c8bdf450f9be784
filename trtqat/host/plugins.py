"""Libraries of plugins: read where a user names them, compared with a manifest, loaded.

A library is code, which runs as soon as it is loaded. So none is ever looked for: what is loaded is
what the user names, and only after its SHA-256 was compared with what the plan's manifest records.

They are loaded as by trtexec's ``--plugins``: by the system's loader, at which a library registers
what it has. One that has ``getCreators`` instead is given to TensorRT's registry. TensorRT's own
plugins are registered with them. TensorRT for RTX 1.7.1 was seen to refuse a library without
``getCreators`` in its registry, which the system's loader takes. No plugin was run yet.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trtqat.checks import check_kind
from trtqat.errors import UsageError, first_line
from trtqat.files import sha256_of, why_unreadable
from trtqat.host.check import Check
from trtqat.plan.plugins import PluginLibrary, RecordedPlugins

_LOG = logging.getLogger(__name__)

# What makes a library one for the registry: the name of TensorRT 10, and that of 8.6.
_ENTRIES = ("getCreators", "getPluginCreators")
# What the system has loaded stays, by the file's real path; and the library must not be let go.
_LOADED: dict[str, ctypes.CDLL] = {}
# By module: what its registry was given.
_REGISTERED: dict[tuple[ModuleType, str], Any] = {}


@dataclass(frozen=True)
class PluginFile:
    """A library that a user named.

    Attributes:
        path: Where it is.
        library: Its name, and the SHA-256 of its file.
    """

    path: Path
    library: PluginLibrary


def read_plugins(paths: Sequence[Path | str]) -> tuple[PluginFile, ...]:
    """Looks at the files that a user names; nothing is loaded.

    Args:
        paths: The libraries.

    Raises:
        UsageError: They are no list, one is no file that can be read, or two have one name.
    """
    check_kind("The plugin libraries", paths, (list, tuple), "['libplugins.so']")
    for path in paths:
        check_kind("A plugin library", path, (str, os.PathLike), "'libplugins.so'")
    found: dict[str, PluginFile] = {}
    for each in map(Path, paths):
        try:
            digest = sha256_of(each)
        except OSError as error:
            raise UsageError(
                f"The plugin library '{each}' cannot be read: {why_unreadable(error)}.",
                "Give the file of a shared library, as in --plugins ./libplugins.so.",
            ) from error
        if each.name in found and found[each.name].library.sha256 != digest:
            raise UsageError(
                f"Two plugin libraries have the name '{each.name}', by which a manifest knows "
                "them.",
                "Give one of them another name.",
            )
        found[each.name] = PluginFile(each, PluginLibrary(each.name, digest))
    return tuple(found.values())


def check_plugins(
    recorded: RecordedPlugins | None, given: Sequence[PluginFile], *, has_manifest: bool
) -> list[Check]:
    """Compares the libraries that are there with those that a plan was built with.

    Args:
        recorded: What the plan's manifest says of plugins.
        given: What the user names.
        has_manifest: Whether there is a manifest.

    Returns:
        A check for each library; none where neither side has any.
    """
    needed = {} if recorded is None else {each.name: each for each in recorded.libraries}
    here = {each.library.name: each for each in given}
    operators = "" if recorded is None else ", ".join(recorded.operators)
    checks = [_compare(library, here.get(name), operators) for name, library in needed.items()]
    for name in here:
        if name in needed:
            continue
        told = (
            "its manifest names no such library."
            if has_manifest
            else "without a manifest nothing tells whether the plan was built with it."
        )
        status = "warning" if has_manifest else "unknown"
        checks.append(
            Check("plugins", status, f"'{name}' is given, and {told}")  # type: ignore[arg-type]
        )
    return checks


def _compare(needed: PluginLibrary, given: PluginFile | None, operators: str) -> Check:
    if given is None:
        purpose = f" for {operators}" if operators else ""
        return Check(
            "plugins",
            "missing",
            f"It needs the plugin library {needed}{purpose}, and none of that name is given.",
            f"Copy it from the build host, and name it: --plugins {needed.name}",
        )
    if given.library != needed:
        return Check(
            "plugins",
            "failed",
            f"'{given.path}' is not the plugin library that it was built with: the SHA-256 "
            "differs.",
            "Copy the library from the build host again, or build the plan with this one.",
        )
    return Check("plugins", "passed", f"{needed} is the library that it was built with.")


def load_plugins(
    trt: ModuleType,
    registry: Any,  # noqa: ANN401
    logger: Any,  # noqa: ANN401
    files: Sequence[PluginFile],
) -> None:
    """Loads libraries into this process, where they stay, and registers TensorRT's own plugins.

    Args:
        trt: The imported module.
        registry: Its ``IPluginRegistry``, of a builder or a runtime.
        logger: Its ``ILogger``.
        files: The libraries, in the order in which they are loaded.

    Raises:
        UsageError: The system's loader or the registry refuses one.
    """
    # Lean and dispatch runtimes have none.
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger, "")
    for each in files:
        before = plugin_names(registry)
        _load(trt, registry, each)
        _LOG.info("'%s' registers %s.", each.path, _in_words(plugin_names(registry) - before))


def plugin_names(registry: Any) -> set[str]:  # noqa: ANN401
    """Names of the plugins that a registry knows: ``all_creators`` from 10.0 on, another before."""
    if hasattr(registry, "all_creators"):
        return {str(creator.name) for creator in registry.all_creators}
    return {str(creator.name) for creator in registry.plugin_creator_list}


def _load(trt: ModuleType, registry: Any, file: PluginFile) -> None:  # noqa: ANN401
    path = os.path.realpath(file.path)
    try:
        loaded = _LOADED[path] = _LOADED.get(path) or ctypes.CDLL(path)
    except OSError as error:
        raise UsageError(
            f"The plugin library '{file.path}' cannot be loaded: {first_line(error)}.",
            "It must be a shared library for this platform, linked to this TensorRT, and what it "
            "needs itself must be found (ldd lists that).",
        ) from error
    if (trt, path) in _REGISTERED or not any(hasattr(loaded, entry) for entry in _ENTRIES):
        return
    handle = registry.load_library(path)
    if handle is None:
        raise UsageError(
            f"TensorRT {trt.__version__} refuses the plugin library '{file.path}'.",
            "Run it with -v to see TensorRT's log; the library must be made for this TensorRT.",
        )
    _REGISTERED[trt, path] = handle


def _in_words(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing that was not there before"
