"""What a host is around its GPU: a Jetson's board, a container, WSL2, Windows.

What is read and what follows from it are apart: ``read_surroundings`` reads a few files and
variables, ``find_kind`` only thinks. So any host can be made up in a test.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trtqat.files import read_input
from trtqat.host.gpu import Gpu

# Each has a recipe.
HostKind = Literal[
    "rtx-card",
    "gpu-server",
    "nvidia-container",
    "triton-container",
    "jetson",
    "wsl2",
    "windows",
    "no-gpu",
]

_MOST_BYTES = 4096
# NVIDIA's images say in these variables which they are; the value is the image's release.
_IMAGES = {
    "NVIDIA_TRITON_SERVER_VERSION": "Triton",
    "NVIDIA_PYTORCH_VERSION": "PyTorch",
    "NVIDIA_TENSORRT_VERSION": "TensorRT",
}
# Major release of L4T, the Linux of a Jetson → JetPack.
_JETPACKS = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}
# "GeForce RTX 4090", "NVIDIA RTX 6000 Ada Generation", "Quadro RTX 5000", "TITAN RTX".
_RTX_NAME = re.compile(r"\bRTX\b")


@dataclass(frozen=True)
class Surroundings:
    """What was read of a host; empty is not there.

    Attributes:
        system: Operating system, as ``"Linux"``.
        kernel: Its release, which names WSL2.
        l4t: Release of a Jetson's Linux, as ``"36.4.3"``; ``"unknown"`` on a board that does not
            tell it.
        board: Model of a Jetson's board.
        container: What kind of container this is, as ``"docker"``.
        image: NVIDIA's image that the container was made of, as ``"PyTorch 26.08"``.
    """

    system: str = ""
    kernel: str = ""
    l4t: str = ""
    board: str = ""
    container: str = ""
    image: str = ""

    @property
    def is_wsl(self) -> bool:
        """Whether the kernel is that of Windows' subsystem for Linux."""
        return "microsoft" in self.kernel.lower()

    @property
    def jetpack(self) -> str:
        """Major version of the JetPack that brings this Linux, as ``"6"``; empty if unknown."""
        return _JETPACKS.get(self.l4t.partition(".")[0], "")

    def describe(self) -> str:
        """Board, system and container in words; empty where all of them are the usual."""
        board = self.board or "A Jetson"
        jetpack = f" (JetPack {self.jetpack})" if self.jetpack else ""
        parts = (
            f"{board}, L4T {self.l4t}{jetpack}" if self.l4t else "",
            "WSL2 of Windows" if self.is_wsl else "",
            "Windows" if self.system == "Windows" else "",
            f"NVIDIA's container {self.image}" if self.image else "",
            f"a container ({self.container})" if self.container and not self.image else "",
        )
        return ", ".join(filter(None, parts))


def read_surroundings(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None
) -> Surroundings:
    """Reads what this host is; nothing of it must be there.

    Args:
        root: Where ``/etc``, ``/proc`` and the marks of containers lie.
        environ: Variables; None is those of this process.
    """
    variables = os.environ if environ is None else environ
    l4t, board = _jetson(root)
    return Surroundings(
        system=platform.system(),
        kernel=_text(root / "proc/sys/kernel/osrelease"),
        l4t=l4t,
        board=board,
        container=_container(root, variables),
        image=next(
            (f"{name} {variables[key]}" for key, name in _IMAGES.items() if variables.get(key)), ""
        ),
    )


def find_kind(found: Surroundings, gpus: Sequence[Gpu]) -> HostKind:
    """Which recipe is for a host: the narrowest that fits.

    Args:
        found: What was read of it.
        gpus: Its GPUs.
    """
    if found.l4t:
        return "jetson"
    if found.image:
        return "triton-container" if found.image.startswith("Triton") else "nvidia-container"
    if found.is_wsl:
        return "wsl2"
    if found.system == "Windows":
        return "windows"
    if not gpus:
        return "no-gpu"
    name = gpus[0].name
    return "rtx-card" if "GeForce" in name or _RTX_NAME.search(name) else "gpu-server"


def _jetson(root: Path) -> tuple[str, str]:
    """Release and board of a Jetson: the Linux of other boards has neither file.

    A container on a Jetson may have the board's file alone.
    """
    release = _text(root / "etc/nv_tegra_release")
    # "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, …"
    match = re.match(r"#\s*R(\d+)\b.*?\bREVISION:\s*([\d.]+)", release)
    board = _text(root / "proc/device-tree/model")
    is_jetson = bool(release) or "jetson" in board.lower()
    if not is_jetson:
        return "", ""
    return f"{match[1]}.{match[2]}" if match else "unknown", board


def _container(root: Path, variables: Mapping[str, str]) -> str:
    # Podman and systemd set the variable, Kubernetes those of its services.
    for name, is_it in (
        ("docker", (root / ".dockerenv").exists()),
        ("podman", (root / "run/.containerenv").exists()),
        ("kubernetes", "KUBERNETES_SERVICE_HOST" in variables),
    ):
        if is_it:
            return name
    return variables.get("container", "")


def _text(path: Path) -> str:
    """A small file's first line; empty if it is not there. A device tree ends names by a null."""
    try:
        content = read_input(path, most_bytes=_MOST_BYTES)
    except OSError:
        return ""
    return content.decode(errors="replace").strip("\0\n ").partition("\n")[0].strip()
