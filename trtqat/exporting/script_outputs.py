"""A TorchScript module that returns a dict, brought to a form that the exporter reads.

The exporter has no translation for a dict. Around the module a second one returns the dict's
values as a tuple; its trace contains the first one as it is, branches and loops included, and the
dict goes when PyTorch matches what was put in with what is taken out. What the graph names after
modules gets their paths in the user's module.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

from trtqat.exporting.samples import Samples

INNER = "returns_dict"


class _Values(torch.nn.Module):
    def __init__(self, model: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.add_module(INNER, model)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.get_submodule(INNER)(*inputs).values())


def is_dict_script(model: torch.nn.Module) -> bool:
    """Whether this is a TorchScript module whose forward returns a dict."""
    if not isinstance(model, torch.jit.ScriptModule):
        return False
    forward: Any = model.forward
    returned = forward.schema.returns
    return len(returned) == 1 and returned[0].type.kind() == "DictType"


def returning_values(model: torch.nn.Module, samples: Samples) -> torch.nn.Module:
    """The same module with a tuple of the dict's values, in the dict's order.

    Args:
        model: One for which ``is_dict_script`` holds.
        samples: Inputs, in the order of forward.
    """
    assert isinstance(model, torch.jit.ScriptModule)
    inputs = tuple(samples.values())
    made: torch.nn.Module = torch.jit.trace(  # type: ignore[no-untyped-call]
        _Values(model).eval(), inputs, check_trace=False
    )
    return made


def own_path(name: str) -> str:
    """A module's path in the user's module: ``"returns_dict.conv"`` is ``"conv"``."""
    return "" if name == INNER else name.removeprefix(f"{INNER}.")


def restore_paths(graph: ir.Graph) -> None:
    """Gives nodes, initializers and the tensors in between the names that the user knows."""
    for value in list(graph.initializers.values()):
        value.name = own_path(str(value.name))
    for node in graph:
        node.name = _restored(str(node.name))
        for value in node.outputs:
            value.name = _restored(str(value.name))


def _restored(name: str) -> str:
    return name.removeprefix(f"/{INNER}")
