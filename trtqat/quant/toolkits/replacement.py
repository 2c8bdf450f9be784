"""Puts stand-ins in the places of a model's quantizers while it is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.toolkits.quantizers import Quantizer


@contextlib.contextmanager
def replaced_quantizers(
    model: torch.nn.Module, quantizers: Mapping[str, Quantizer | None]
) -> Iterator[dict[str, FakeQuantize]]:
    """Makes a ``FakeQuantize`` of every quantizer, and the original again at exit.

    The object stays and is of another class meanwhile: a model reaches its quantizers also by
    lists and objects that are no modules, as ModelOpt's recurrent layers do.

    Args:
        model: The model that ``quantizers`` was read from; changed in place meanwhile.
        quantizers: As ``read_quantizers`` returns it; disabled ones become an identity.

    Yields:
        The stand-ins of the active quantizers by dotted name.
    """
    stand_ins: dict[str, FakeQuantize] = {}
    originals: list[tuple[torch.nn.Module, type[torch.nn.Module], dict[str, Any]]] = []
    # All are found before the first one changes: a chain has others inside.
    modules = {name: model.get_submodule(name) for name in quantizers}
    try:
        for name, module in modules.items():
            quantizer = quantizers[name]
            stand_in: torch.nn.Module = torch.nn.Identity()
            if quantizer is not None:
                stand_in = quantizer.stand_in()
            originals.append((module, type(module), module.__dict__))
            _become(module, stand_in.eval())
            if isinstance(module, FakeQuantize):
                stand_ins[name] = module
        yield stand_ins
    finally:
        for module, kind, state in originals:
            module.__class__, module.__dict__ = kind, state


def _become(module: torch.nn.Module, stand_in: torch.nn.Module) -> None:
    """Gives an object class and state of another one."""
    kind = type(stand_in)
    try:
        module.__class__ = kind
    except TypeError:
        # Python lays objects of abstract classes out otherwise, as those of torch.ao are: a class
        # derived from both has the layout of the first and does what the second does.
        own = {**vars(torch.nn.Module), **vars(kind)}
        for descriptor in ("__dict__", "__weakref__"):
            own.pop(descriptor, None)
        module.__class__ = type(kind.__name__, (type(module), kind), own)
    module.__dict__ = stand_in.__dict__
