"""What an interrupted search goes on from: a file beside its output.

It is written whole after every step, and is taken up only by a search of the same model, ranges,
data and options. What it holds is a dictionary for each part of the search, in JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from trtqat.errors import first_line
from trtqat.files import is_file, read_input, write_atomically

_LOG = logging.getLogger(__name__)
# A search of a thousand layers on a million images has less.
_MOST_BYTES = 1 << 28


class SavedSearch:
    """The state of one search.

    Attributes:
        path: Of its file; None keeps it in memory alone.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        """Reads the file, if there is one of the same search.

        Args:
            path: Of the file.
            key: What is the same if and only if the search is (``key_of``).
        """
        self.path = path
        self._key = key
        self._parts: dict[str, dict[str, Any]] = self._read()

    def part(self, name: str) -> dict[str, Any]:
        """What is known of a part of the search; empty if nothing is."""
        return self._parts.get(name, {})

    def write(self, name: str, state: dict[str, Any]) -> None:
        """Replaces what is known of a part.

        Args:
            name: Of the part.
            state: Plain data, JSON's.

        Raises:
            UsageError: The file cannot be written.
        """
        self._parts[name] = state
        if self.path is not None:
            text = json.dumps({"key": self._key, "parts": self._parts})
            write_atomically(self.path, text.encode())

    @contextlib.contextmanager
    def kept_for_later(self) -> Iterator[None]:
        """Says of a search that ends early that the same one goes on from the file."""
        try:
            yield
        except BaseException:
            if self.path is not None and is_file(self.path):
                _LOG.info(
                    "'%s' has what was done; the same search again goes on from it.", self.path
                )
            raise

    def remove(self) -> None:
        """Removes the file: the search is done."""
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def _read(self) -> dict[str, dict[str, Any]]:
        if self.path is None or not is_file(self.path):
            return {}
        try:
            found = json.loads(read_input(self.path, most_bytes=_MOST_BYTES))
            key, parts = found["key"], found["parts"]
            if not all(isinstance(each, dict) for each in parts.values()):
                raise TypeError("a part is no object")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning(
                "'%s' is no state of a search (%s); it begins anew.", self.path, first_line(error)
            )
            return {}
        if key != self._key:
            _LOG.info(
                "'%s' is of a search with another model, data or options; this one begins anew.",
                self.path,
            )
            return {}
        _LOG.info("The search goes on from '%s'.", self.path)
        return dict(parts)


def state_path(output: Path) -> Path:
    """Where a search keeps its state: ``int8.pt.search.json`` beside ``int8.pt``."""
    return output.with_name(f"{output.name}.search.json")


def key_of(model: torch.nn.Module, *options: object) -> str:
    """A digest of a model's tensors, ranges included, and of whatever else decides a search.

    Args:
        model: On any device.
        options: Of anything, the ``repr``.
    """
    digest = hashlib.sha256(repr(options).encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def digest_of(batches: Iterable[Iterable[torch.Tensor]]) -> str:
    """A digest of all tensors of some batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in batch:
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor's numbers, in any dtype."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
