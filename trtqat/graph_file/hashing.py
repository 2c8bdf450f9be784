"""The SHA-256 of a graph: of its file and, where weights lie beside it, of those too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trtqat.errors import GraphError
from trtqat.extras import require
from trtqat.files import why_unreadable

# The key that every external tensor has in the file, as the bytes of a protocol buffer.
_EXTERNAL = b"location"
_BLOCK = 1 << 20


def graph_sha256(path: Path) -> str:
    """SHA-256 of a graph, in hexadecimal: that of its file if all its weights are in there.

    Files of external data follow in the order of their names. onnx is needed only where there may
    be some.

    Raises:
        GraphError: A file of it cannot be read, or it seems to have external data and is damaged.
        MissingError: It seems to have external data, and onnx is not installed.
    """
    digest = hashlib.sha256()
    try:
        if _add(digest, path):
            require("onnx", extra="cuda12", purpose="Finding the weights beside a graph")
            from trtqat.graph_file.reading import external_files

            for file in external_files(path):
                _add(digest, file)
    except OSError as error:
        raise GraphError(
            f"'{error.filename or path}' cannot be read: {why_unreadable(error)}.",
            "Check its path and permissions.",
        ) from error
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> bool:
    """Adds a file, and tells whether the key of external data may be in it."""
    found, end = False, b""
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
            found = found or _EXTERNAL in end + block
            end = block[-len(_EXTERNAL) :]
    return found
