"""The timing cache: kernels that TensorRT has timed before need not be timed again.

A cache is good for one TensorRT version and one kind of GPU; TensorRT checks that itself.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from trtqat.errors import UsageError
from trtqat.files import check_writable, locked, read_input, why_unreadable, write_atomically

_LOG = logging.getLogger(__name__)


def load_timing_cache(config: Any, path: Path | None) -> Any:  # noqa: ANN401
    """Attaches a cache to a builder's configuration.

    Args:
        config: ``IBuilderConfig``.
        path: File; a new cache is made if there is none, None attaches nothing.

    Returns:
        The cache, which the build fills, or None.

    Raises:
        UsageError: The file's directory is missing or read-only, or it is no file that can be
            read.
    """
    if path is None:
        return None
    check_writable(path)
    content = _read(path)
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        _LOG.warning("The timing cache '%s' is not for this TensorRT and GPU: starting anew.", path)
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def save_timing_cache(config: Any, cache: Any, path: Path | None) -> None:  # noqa: ANN401
    """Writes the cache back, together with what other builds have written since it was read.

    Args:
        config: ``IBuilderConfig`` of the build.
        cache: What ``load_timing_cache`` returned.
        path: The file.

    Raises:
        UsageError: The file cannot be written.
    """
    if cache is None or path is None:
        return
    with locked(path.parent):
        if content := _read(path):
            others = config.create_timing_cache(content)
            # False where the file is of another TensorRT or GPU: then it is replaced. False from
            # 8.6.0 always, as it cannot read its graph compiler's part back; it has merged the
            # kernel timings all the same.
            if others is not None:
                cache.combine(others, ignore_mismatch=False)
        write_atomically(path, bytes(cache.serialize()))


def _read(path: Path) -> bytes:
    try:
        return read_input(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(
            f"The timing cache '{path}' cannot be read: {why_unreadable(error)}.",
            "Give another file; one that is not there is made.",
        ) from error
