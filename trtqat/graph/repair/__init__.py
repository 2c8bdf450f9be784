"""Repairs of Q/DQ placement that change no output bit; one pass per file.

What would change a trained number (equalising the scales at a Concat, dropping a pair that
rounds) is never done here: the lint says it, and the model's author decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

_COMMUTES = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
)


def commutes(node: ir.Node) -> bool:
    """Whether a node only moves or selects the values of its first input.

    Then quantizing per tensor before or after it is the same, bit for bit. Of equal values
    MaxPool takes any. A window of a dilated one can lie in the padding alone; then it makes
    the lowest FP32 number, which is nobody's value.
    """
    dilations = node.attributes.get("dilations")
    return node.op_type in _COMMUTES and (
        dilations is None or all(dilation == 1 for dilation in dilations.as_ints())
    )


@dataclass(frozen=True)
class Repair:
    """One change that a repair made.

    Attributes:
        name: Of the pass, as ``"share-pairs"``.
        where: The tensor or pair it was made at.
        what: What was done, as a sentence.
    """

    name: str
    where: str
    what: str
