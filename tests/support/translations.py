"""The tables that PyTorch's torch.export-based exporter goes by, made once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_EXPORTER = "torch.onnx._internal.exporter"


def keep_translations() -> None:
    """Lets the exporter keep its tables, which it makes anew for each graph.

    One is of translations, from 500 sources; the other of decompositions, for which it asks
    PyTorch about each of its operators. A command makes one graph, and so each table once; the
    tests make some hundred, and the tables are a third of what each costs. Every export has a
    copy, so that none sees what another one added. Nothing happens before the first export has
    imported the exporter.
    """
    if f"{_EXPORTER}._registration" in sys.modules:
        _keep_translations(sys.modules[f"{_EXPORTER}._registration"].ONNXRegistry)
    if f"{_EXPORTER}._decomp" in sys.modules:
        _keep_decompositions(sys.modules[f"{_EXPORTER}._decomp"])


@cache
def _keep_translations(registry: Any) -> None:
    make = registry.from_torchlib

    @cache
    def made(opset_version: int) -> Any:
        return make(opset_version=opset_version)

    def copied(opset_version: int) -> Any:
        kept = copy.copy(made(opset_version))
        kept.functions = {target: list(found) for target, found in kept.functions.items()}
        return kept

    registry.from_torchlib = staticmethod(copied)


@cache
def _keep_decompositions(module: Any) -> None:
    import torch

    make = module.create_onnx_friendly_decomposition_table
    kept: dict[Any, dict[Any, Callable[..., Any]]] = {}

    def copied(registered: set[Any]) -> dict[Any, Callable[..., Any]]:
        # A test may bring operators of its own, whose decompositions belong into the table.
        own = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        key = frozenset(registered), len(own), len(torch._decomp.decomposition_table)
        if key not in kept:
            kept[key] = make(registered)
        return dict(kept[key])

    module.create_onnx_friendly_decomposition_table = copied
