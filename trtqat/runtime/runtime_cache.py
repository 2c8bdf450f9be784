"""The runtime cache: kernels that TensorRT for RTX has compiled before, in a file beside the plan.

A cache is good for one release, one kind of GPU and one driver; the library checks that itself and
refuses another one, as it does what is damaged. Then kernels are compiled anew.

The file holds compiled code, and the manifest's signature does not cover it. So where a signature
is asked for, only a file is read that the user names.

Two processes may end at once. The file is replaced as a whole, and the later one's stays: caches
cannot be merged. What that one lacks is compiled again once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from trtqat.errors import UsageError
from trtqat.files import is_file, is_onnx, is_plan, read_input, why_unreadable, write_atomically

_LOG = logging.getLogger(__name__)

NO_CACHE = "none"
# Kernels of one plan take some MB.
_MOST_BYTES = 2**30


def runtime_cache_path(plan: Path) -> Path:
    """The file beside a plan that its compiled kernels are kept in."""
    return plan.with_name(f"{plan.name}.runtime-cache")


def choose_runtime_cache(plan: Path, given: Path | str | None, *, signed_only: bool) -> Path | None:
    """The file to read and keep compiled kernels in; None for none.

    Args:
        plan: The plan.
        given: A file, or ``"none"``; None takes the one beside the plan.
        signed_only: Whether the plan must be signed: then none lies beside it that may be read.

    Raises:
        UsageError: The file is a plan or a graph, which a cache would replace.
    """
    if given is None:
        path = runtime_cache_path(plan)
        if not signed_only:
            return path
        if is_file(path):
            _LOG.warning(
                "The runtime cache '%s' is compiled code that nobody has signed: with --trust it "
                "is not read, and kernels are compiled anew. Name a file that you vouch for with "
                "--runtime-cache.",
                path,
            )
        return None
    if str(given) == NO_CACHE:
        return None
    path = Path(given)
    if is_onnx(path) or is_plan(path):
        raise UsageError(
            f"'{path}' is no runtime cache, and would be replaced by one.",
            "Give --runtime-cache another file; one that is not there is made.",
        )
    return path


def read_runtime_cache(cache: Any, path: Path | None) -> bytes:  # noqa: ANN401
    """Fills a cache from a file, as far as that may be.

    Args:
        cache: An empty ``IRuntimeCache``; a CUDA context must be current.
        path: The file; None reads nothing.

    Returns:
        What was read; nothing where there is no such file, or one that is not for this host.
    """
    if path is None:
        return b""
    try:
        content = read_input(path, most_bytes=_MOST_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        _LOG.warning(
            "The runtime cache '%s' cannot be read (%s): kernels are compiled anew.",
            path,
            why_unreadable(error),
        )
        return b""
    if content and cache.deserialize(content):
        return content
    _LOG.warning(
        "The runtime cache '%s' is damaged, or of another GPU, driver or release: kernels are "
        "compiled anew, and it is replaced.",
        path,
    )
    return b""


def keep_runtime_cache(cache: Any, path: Path | None, before: bytes) -> bytes:  # noqa: ANN401
    """Writes a cache, if it holds other kernels than before; that it cannot is worth a note.

    Args:
        cache: The ``IRuntimeCache``.
        path: The file; None writes nothing.
        before: What is in the file, as this process knows it.

    Returns:
        What is in the file now.
    """
    if path is None:
        return before
    serialized = cache.serialize()
    content = b"" if serialized is None else bytes(serialized)
    if not content or content == before:
        return before
    try:
        write_atomically(path, content)
    except UsageError as error:
        _LOG.warning(
            "The compiled kernels are not kept, and the next start compiles them again: %s",
            error.problem,
        )
        return before
    return content
