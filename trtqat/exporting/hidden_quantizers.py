"""Refuses quantizers that run and are none of the model's modules: nobody could replace them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from trtqat.errors import QuantizerError
from trtqat.quant.state import Reader
from trtqat.quant.toolkits.quantizers import READERS


@contextlib.contextmanager
def no_hidden_quantizers(model: torch.nn.Module) -> Iterator[None]:
    """Around a run of a model, as its toolkit quantizes it.

    Args:
        model: In eval mode; its modules are known by then.

    Raises:
        QuantizerError: Forward calls a quantizer that a list, say, keeps. A trace would make
            floating-point arithmetic of it, without a Q/DQ pair.
    """
    known = set(model.modules())

    def check(module: torch.nn.Module, _: object) -> None:
        if module not in known and any(_quantizes(reader, module) for reader in READERS):
            raise QuantizerError(
                f"Forward calls a quantizer, a {type(module).__name__}, that is no submodule of "
                "the model, as one in a plain list: it would get no Q/DQ pair.",
                "Keep such quantizers in a torch.nn.ModuleList or ModuleDict.",
            )

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _quantizes(reader: Reader, module: torch.nn.Module) -> bool:
    try:
        return reader.is_quantizer(module) and reader.read("", module) is not None
    except QuantizerError:
        return True
