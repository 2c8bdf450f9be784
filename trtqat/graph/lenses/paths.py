"""The way back from a tensor, over one input of each node or over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import onnx_ir as ir

Found = TypeVar("Found")


def follow(
    value: ir.Value | None,
    step: Callable[[ir.Value], tuple[Found | None, ir.Value | None]],
    known: dict[ir.Value, Found | None],
) -> Found | None:
    """Goes back from a tensor until something is found.

    Args:
        value: The tensor.
        step: What is found at a tensor, else the tensor before it to go on from.
        known: What was found from each tensor of earlier ways; those of this one are added, so that
            all ways together are no longer than the graph.
    """
    way: dict[ir.Value, None] = {}
    found: Found | None = None
    while value is not None and found is None and value not in way:
        if value in known:
            found = known[value]
            break
        way[value] = None
        found, value = step(value)
    known.update(dict.fromkeys(way, found))
    return found


def gather(
    value: ir.Value | None,
    own: Callable[[ir.Value], Found | None],
    joined: Callable[[list[Found]], Found],
    known: dict[ir.Value, Found | None],
) -> Found | None:
    """What the nearest tensors that have something have, on every path back from a tensor.

    Args:
        value: The tensor; it comes first itself.
        own: What a tensor has; the path ends there, and goes on where it is None.
        joined: What several of them come to, ``max`` for example.
        known: What was found for each tensor; those of this call are added.
    """
    if value is None:
        return None
    # A stack, as Python's own ends at a depth of a thousand nodes.
    stack, entered = [value], set[ir.Value]()
    while stack:
        current = stack[-1]
        node = current.producer()
        if current in known:
            stack.pop()
        elif (here := own(current)) is not None or node is None:
            known[current] = here
        elif current in entered:  # all before it are known by now
            found = [known.get(each) for each in node.inputs if each is not None]
            several = [each for each in found if each is not None]
            known[current] = joined(several) if several else None
        else:
            entered.add(current)
            stack += [each for each in node.inputs if each is not None and each not in entered]
    return known[value]
