"""Where a PyTorch model comes from. Naming one needs no PyTorch; ``exporting.loading`` loads it."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtqat.checks import check_kind, check_names
from trtqat.errors import UsageError
from trtqat.files import is_file, sha256_of
from trtqat.provenance import Provenance


@dataclass(frozen=True, init=False)
class ModelSource:
    """Where a PyTorch model comes from.

    Attributes:
        pointer: ``"pkg.module:factory"``, ``"file.py:factory"``, a TorchScript file, or a
            ``torch.export`` program (``.pt2``).
        checkpoint: State dict for the factory's model, in any form that ``load_state`` reads.
        factory_args: Keyword arguments for the factory.
        ema: Whether to take averaged weights (EMA, SWA) or the raw ones of a checkpoint that has
            both.
    """

    pointer: str | Path
    checkpoint: str | Path | None
    factory_args: Mapping[str, Any]
    ema: bool | None

    def __init__(
        self,
        pointer: str | Path,
        checkpoint: str | Path | None = None,
        factory_args: Mapping[str, Any] | Sequence[str] = (),
        ema: bool | None = None,
    ) -> None:
        """Names a model; nothing is read.

        Args:
            pointer: Factory, TorchScript file or program.
            checkpoint: State dict for the factory's model.
            factory_args: Values by name, or strings ``NAME=VALUE`` as ``--factory-arg`` takes them.
            ema: Whether to take averaged or raw weights of a checkpoint that has both.

        Raises:
            UsageError: An argument has another type, a string is no ``NAME=VALUE``, or there is a
                choice of weights without a checkpoint.
        """
        check_kind("ModelSource.pointer", pointer, (str, os.PathLike), "'file.py:factory'")
        if checkpoint is not None:
            check_kind("ModelSource.checkpoint", checkpoint, (str, os.PathLike), "'qat.pt'")
        if isinstance(factory_args, (list, tuple)):
            factory_args = parse_factory_args(factory_args)
        check_kind(
            "ModelSource.factory_args", factory_args, Mapping, "{'width': 64} or ['width=64']"
        )
        if ema is not None:
            check_kind("ModelSource.ema", ema, bool, "True")
            if checkpoint is None:
                raise UsageError(
                    "A choice of averaged or raw weights belongs to a checkpoint.",
                    "Give the checkpoint, too, or leave out --ema and --no-ema.",
                )
        object.__setattr__(self, "pointer", pointer)
        object.__setattr__(self, "checkpoint", checkpoint)
        object.__setattr__(self, "factory_args", factory_args)
        object.__setattr__(self, "ema", ema)

    def describe(self) -> Provenance:
        """What the exported graph records of its source: names and hashes, no host paths."""
        pointer = Path(self.pointer)
        checkpoint = None if self.checkpoint is None else Path(self.checkpoint)
        return Provenance(
            source=pointer.name,
            source_sha256=sha256_of(pointer) if is_file(pointer) else None,
            factory_args=dict(self.factory_args) or None,
            checkpoint=checkpoint.name if checkpoint else None,
            checkpoint_sha256=sha256_of(checkpoint) if checkpoint else None,
            ema=self.ema,
        )


def parse_factory_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Parses ``NAME=VALUE`` pairs; a value is a Python literal, or else a string.

    Raises:
        UsageError: A pair has no ``=``.
    """
    check_names("ModelSource.factory_args", pairs, "['width=64']")
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(f"'{pair}' is no factory argument.", "Write NAME=VALUE.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed
