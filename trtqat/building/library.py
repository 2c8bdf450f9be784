"""Which library builds: TensorRT, or TensorRT for RTX, which needs no GPU to build."""

from __future__ import annotations

import logging
from types import ModuleType

from trtqat.errors import MissingError
from trtqat.extras import install
from trtqat.host.flavours import find_flavours
from trtqat.host.tensorrt_library import load_rtx, load_tensorrt
from trtqat.plan.header import Target

_LOG = logging.getLogger(__name__)


def load_builder(wanted: Target | None) -> ModuleType:
    """Imports the library that builds.

    Args:
        wanted: A version of TensorRT, or ``rtx``. None takes TensorRT where it is installed, and
            TensorRT for RTX where only that is.

    Raises:
        MissingError: It is not installed, or only in another version.
    """
    if wanted == "rtx":
        return load_rtx("Building for RTX cards")
    if wanted is None:
        return _load_installed()
    trt = load_tensorrt(f"Building with TensorRT {wanted}")
    if not f"{trt.__version__}.".startswith(f"{wanted}."):
        raise MissingError(
            f"Building with TensorRT {wanted} was asked for, and TensorRT {trt.__version__} is "
            "what is installed.",
            "Leave out --for, or install the other one.",
        )
    return trt


def _load_installed() -> ModuleType:
    try:
        return load_tensorrt("Building an engine")
    except MissingError as error:
        found, _ = find_flavours("rtx")
        if not found:
            remedy = f"{error.remedy} Or for RTX cards, without a GPU here: {install('rtx')}."
            raise MissingError(error.problem, remedy) from error
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == "tensorrt":
            _LOG.info("TensorRT is not installed here, so TensorRT for RTX builds.")
        else:
            # Whoever has installed it expects a plan of it.
            _LOG.warning("%s So TensorRT for RTX builds.", error.problem)
    return found[0].load()
