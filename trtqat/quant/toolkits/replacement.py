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
            before = _same_as(module)
            _become(module, stand_in.eval())
            module.__dict__["_before"] = (before,)
            if isinstance(module, FakeQuantize):
                stand_ins[name] = module
        yield stand_ins
    finally:
        for module, kind, state in originals:
            module.__class__, module.__dict__ = kind, state


def _same_as(module: torch.nn.Module) -> torch.nn.Module:
    """Another object of the same class and state."""
    same = object.__new__(type(module))
    same.__dict__ = module.__dict__
    return same


class _Asked(torch.nn.Module):
    """Answers as the quantizer that it was: forward may ask one for its range, or whether it is on.

    Attributes:
        _before: That quantizer, in a tuple so that it is no module of the model.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_before" not in self.__dict__:
                raise
        return getattr(self.__dict__["_before"][0], name)

    def forward(self, *args: Any, **named: Any) -> Any:  # noqa: ANN401
        """Takes what it quantizes by whatever name the quantizer has for it, too."""
        return super().forward(*args, *named.values())


class _FakeQuantize(_Asked, FakeQuantize):
    pass


class _Identity(_Asked, torch.nn.Identity):
    pass


def _become(module: torch.nn.Module, stand_in: torch.nn.Module) -> None:
    """Gives an object class and state of another one."""
    kind = _FakeQuantize if isinstance(stand_in, FakeQuantize) else _Identity
    try:
        module.__class__ = kind
    except TypeError:
        # Python lays objects of abstract classes out otherwise, as those of torch.ao are: a class
        # derived from both has the layout of the first and does what the second does.
        own: dict[str, Any] = {}
        for base in reversed(kind.__mro__[:-1]):
            own.update(vars(base))
        for descriptor in ("__dict__", "__weakref__"):
            own.pop(descriptor, None)
        module.__class__ = type(kind.__name__, (type(module), kind), own)
    module.__dict__ = stand_in.__dict__
