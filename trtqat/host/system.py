"""What a host is besides its GPU: operating system, processor, installed packages."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from functools import cache


def platform_name() -> str:
    """Operating system and machine, as ``"Linux-x86_64"``; plans do not move between them."""
    return f"{platform.system()}-{platform.machine()}"


def python_version() -> str:
    """Version of the interpreter, as ``"3.10.12"``."""
    return platform.python_version()


def cpu_name() -> str:
    """Model name of the processor, if the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions by name of those packages that are installed.

    Args:
        packages: Names of distributions, as pip has them.
    """
    found = {package: _version(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}


@cache
def _version(package: str) -> str | None:
    """Read once: a process goes on with what it imported, and a package's page may be long."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
