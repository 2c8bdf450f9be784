"""Pass: nodes and tensors are named after the PyTorch modules that they came from.

The TorchScript exporter writes ``/features/0/Conv``; the torch.export-based one writes
``node_conv2d_3`` and keeps the module in the node's metadata. TensorRT's layer names, its
log and its inspector repeat these names, so both exporters get the first form:

1. A node's name is its module path and operator, numbered where several would be equal.
   The TorchScript exporter repeats the parent in a Sequential's children
   (``/features/features.0/Conv``); the repetition goes.
2. A tensor's name is its node's with ``_output_N``; inputs and outputs of the graph and
   initializers keep theirs.
3. The metadata goes: it holds stack traces with paths of the exporting host.
"""

from __future__ import annotations

import ast

import onnx_ir as ir

from trtqat.graph.passes.protocol import Changed

_SCOPES = "pkg.torch.onnx.name_scopes"


def name_nodes(model: ir.Model) -> Changed:
    """Renames nodes after their modules, in place, and strips PyTorch's metadata.

    Counts the nodes that have another name now.
    """
    graph = model.graph
    taken: dict[str, int] = {}
    renamed = 0
    for node in graph:
        scopes = node.metadata_props.get(_SCOPES)
        if scopes:
            wanted = _path(scopes) + node.op_type
        elif not node.name or node.name.startswith("node_"):
            wanted = f"/{node.op_type}"
        else:
            wanted = _without_repetition(node.name)
        name = _unique(wanted, taken)
        if name != node.name:
            renamed += 1
            node.name = name
            for output in node.outputs:
                if not output.is_graph_output():
                    output.name = f"{name}_output_{output.index()}"
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
    graph.metadata_props.clear()
    model.metadata_props.clear()
    for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    return Changed(renamed)


def name_unnamed(model: ir.Model) -> Changed:
    """Names the nodes that have no name, or one that another node has, after their operator.

    In place; tensors keep their names. Counts the nodes that have another name now.
    """
    taken: dict[str, int] = {}
    renamed = 0
    for node in model.graph:
        name = _unique(node.name or f"/{node.op_type}", taken)
        renamed += name != node.name
        node.name = name
    return Changed(renamed)


def _path(scopes: str) -> str:
    """``"['', 'features', 'features.0', 'conv2d']"`` → ``"/features/0/"``."""
    modules = ast.literal_eval(scopes)[:-1]
    innermost = modules[-1] if modules else ""
    return "/" + innermost.replace(".", "/") + "/" if innermost else "/"


def _without_repetition(name: str) -> str:
    """``"/features/features.0/Conv"`` → ``"/features/0/Conv"``."""
    parts = name.split("/")
    pairs = zip(["", *parts], parts, strict=False)
    return "/".join(
        part[len(parent) + 1 :] if parent and part.startswith(f"{parent}.") else part
        for parent, part in pairs
    )


def _unique(name: str, taken: dict[str, int]) -> str:
    """The name, numbered where it is taken; ``taken`` has each one's last number."""
    candidate, number = name, taken.get(name, 0)
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken[name] = number
    taken.setdefault(candidate, 0)
    return candidate
