"""Keeps toolkits quiet; every use of one, the import included, stands inside ``quiet_toolkit``.

pytorch-quantization 2.1.3 logs each step of each quantizer through absl, at levels up to error and
without a cause, and its import does three more things to the process: it takes the root logger's
handlers for standard error away, puts absl's own in their place, and calls the deprecated
``torch.jit.script``. ModelOpt calls that too, and warns where transformers is not installed. It
looks for CUDA as well: a CUDA build of PyTorch on a host without a GPU then logs where it found a
CUDA toolkit, and warns of what the driver says.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from trtqat.extras import require

_PACKAGE = "pytorch_quantization"
# A warning's module, as ``warnings.filterwarnings`` matches it.
_PACKAGES = r"(pytorch_quantization|modelopt|triton)(\.|$)"
_CUDA_LOGGER = "torch.utils.cpp_extension"


def load_toolkit() -> ModuleType:
    """Imports pytorch-quantization without a sound.

    Returns:
        The package, with its modules ``nn``, ``calib`` and ``tensor_quant``.

    Raises:
        MissingError: It is not installed.
    """
    with quiet_toolkit():
        require(f"{_PACKAGE}.nn", extra="export", purpose="Inserting quantizers")
    return sys.modules[_PACKAGE]


@contextlib.contextmanager
def quiet_toolkit() -> Iterator[None]:
    """Drops what the toolkit logs, and nothing that anything else does.

    Works around an import of the toolkit as well, also one in the user's own files: the root
    logger is afterwards as it was before.
    """
    # Only after absl has made its logger: a logger of that name made earlier, by getLogger
    # here, would be of the wrong class for absl.
    with contextlib.suppress(ImportError):
        importlib.import_module("absl.logging")
    root, absl = logging.getLogger(), logging.getLogger("absl")
    handlers, level = list(root.handlers), root.level
    noise, cuda = _Noise(), logging.getLogger(_CUDA_LOGGER)
    absl.addFilter(noise)
    cuda.addFilter(_no_runtime)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.script", DeprecationWarning)
            warnings.filterwarnings("ignore", "Cannot find transformers package", UserWarning)
            warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)
            warnings.filterwarnings("ignore", module=_PACKAGES)
            yield
    finally:
        absl.removeFilter(noise)
        cuda.removeFilter(_no_runtime)
        _undo_absl_handler(root, handlers, level)


def _no_runtime(record: logging.LogRecord) -> bool:
    """Refuses the record that a CUDA toolkit is there and no GPU: nothing is compiled here."""
    return not str(record.msg).startswith("No CUDA runtime is found")


class _Noise(logging.Filter):
    """Refuses records that come from a file of the toolkit."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _PACKAGE not in Path(record.pathname).parts


def _undo_absl_handler(root: logging.Logger, before: list[logging.Handler], level: int) -> None:
    added = [
        handler
        for handler in root.handlers
        if handler not in before and type(handler).__module__.startswith("absl.")
    ]
    if not added:
        return
    for handler in added:
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
