"""The table of translations that PyTorch's torch.export-based exporter goes by, made once."""

from __future__ import annotations

import copy
import sys
from functools import cache
from typing import Any

_MODULE = "torch.onnx._internal.exporter._registration"


def keep_translations() -> None:
    """Lets the exporter keep its table, which it makes anew for each graph from 500 sources.

    A command makes one graph, and so one table; the tests make some hundred, and the table is a
    third of what each costs. Every export has a copy, so that none sees what another one added.
    Nothing happens before the first export has imported the exporter.
    """
    if _MODULE in sys.modules:
        _keep(sys.modules[_MODULE].ONNXRegistry)


@cache
def _keep(registry: Any) -> None:
    make = registry.from_torchlib

    @cache
    def made(opset_version: int) -> Any:
        return make(opset_version=opset_version)

    def copied(opset_version: int) -> Any:
        kept = copy.copy(made(opset_version))
        kept.functions = {target: list(found) for target, found in kept.functions.items()}
        return kept

    registry.from_torchlib = staticmethod(copied)
