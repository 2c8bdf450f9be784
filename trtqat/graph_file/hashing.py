"""The SHA-256 of a graph: of its file and, where weights lie beside it, of those too."""

from __future__ import annotations

import hashlib
from pathlib import Path

# The key that every external tensor has in the file, as the bytes of a protocol buffer.
_EXTERNAL = b"location"
_BLOCK = 1 << 20


def graph_sha256(path: Path) -> str:
    """SHA-256 of a graph, in hexadecimal: that of its file if all its weights are in there.

    Files of external data follow in the order of their names. onnx is needed only where there may
    be some.

    Raises:
        GraphError: The file seems to have external data and is damaged.
    """
    digest = hashlib.sha256()
    if _add(digest, path):
        from trtqat.graph_file.reading import external_files

        for file in external_files(path):
            _add(digest, file)
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
