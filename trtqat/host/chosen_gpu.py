"""Which of several GPUs a process uses, decided before CUDA starts.

CUDA's current device is one per thread, and TensorRT, cuda.core, PyTorch and the threads of each
would all have to be told. So CUDA is shown one GPU alone (``CUDA_VISIBLE_DEVICES``): that is the
first one for everything in this process, and in those that it starts.
"""

from __future__ import annotations

import os
from itertools import takewhile
from typing import Any

from trtqat.checks import check_kind, check_least
from trtqat.errors import MissingError, UsageError
from trtqat.host.gpu import HIDES_ALL
from trtqat.host.nvml import NvmlMissing, named_handles, opened_nvml, visible_handles

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_OPTION = "--device"

_chosen: int | None = None


def choose_gpu(ordinal: int | None) -> None:
    """Lets this process use one GPU alone.

    It takes effect where nothing has used CUDA yet: not PyTorch, and no engine.

    Args:
        ordinal: Among the GPUs that CUDA may use, in CUDA's order, from 0 on: of
            ``CUDA_VISIBLE_DEVICES=3,1`` number 1 is the GPU that is 1 without it. None leaves it to
            CUDA, which takes the first one.

    Raises:
        UsageError: There is no such GPU, or this process has chosen another one.
        MissingError: There is none at all.
    """
    global _chosen
    if ordinal is None:
        return
    check_kind(_OPTION, ordinal, int, "1")
    check_least(_OPTION, ordinal, 0)
    if _chosen is not None:
        if _chosen != ordinal:
            raise UsageError(
                f"This process uses the GPU {_chosen} already, and not {ordinal} as well.",
                "Use a process for each GPU.",
            )
        return
    visible = os.environ.get(_VARIABLE)
    listed = [] if visible is None else visible.replace(" ", "").split(",")
    # CUDA hides what follows a name that is none.
    named = list(takewhile(lambda name: name not in HIDES_ALL, listed))
    found = _gpus(visible)
    if found is not None:
        names, are_named = found
        if ordinal >= len(names):
            raise _no_such(ordinal, names, visible)
        named = named if are_named else []
    elif visible is not None and ordinal >= len(named):
        # The variable alone tells what CUDA may use.
        raise _no_such(ordinal, tuple(named), visible)
    os.environ[_VARIABLE] = named[ordinal] if ordinal < len(named) else str(ordinal)
    _chosen = ordinal


def chosen_gpu() -> int | None:
    """What ``choose_gpu`` was told; None if nobody chose."""
    return _chosen


def _gpus(visible: str | None) -> tuple[tuple[str, ...], bool] | None:
    """What the GPUs are called that CUDA may use, and whether ``visible`` names them.

    Returns:
        None where NVML does not tell, and CUDA itself is to say: if it were asked here, it would
        have started.
    """
    if visible is not None and visible.strip() in HIDES_ALL:
        return (), True
    try:
        with opened_nvml() as nvml:
            try:
                named = named_handles(nvml, visible)
                handles = named or visible_handles(nvml, None)
            except nvml.NVMLError:
                return None
            return tuple(_name(nvml, handle) for handle in handles), bool(named)
    except NvmlMissing:
        return None


def _name(nvml: Any, handle: Any) -> str:  # noqa: ANN401
    try:
        return str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return "unknown"


def _no_such(ordinal: int, names: tuple[str, ...], visible: str | None) -> Exception:
    if not names:
        hidden = f": {_VARIABLE}={visible} hides every GPU" if visible is not None else ""
        return MissingError(
            f"{_OPTION} {ordinal} names a GPU, and there is none here{hidden}.",
            "`nvidia-smi` must list the GPU, and the variable must not hide it.",
        )
    listed = ", ".join(f"{number}: {name}" for number, name in enumerate(names))
    within = f" within {_VARIABLE}={visible}" if visible else ""
    last = len(names) - 1
    return UsageError(
        f"{_OPTION} {ordinal} names no GPU; there {'is' if last == 0 else 'are'} {len(names)} here"
        f"{within} ({listed}).",
        f"Give {'0' if last == 0 else f'0 to {last}'}.",
    )
