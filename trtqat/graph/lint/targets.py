"""What each TensorRT does with a graph that breaks a rule, and how that is known.

8.6 is 8.6.0 and rtx is TensorRT for RTX 1.7. What a builder was given is "run"; what NVIDIA's
documentation, headers or error messages say is "read". That TensorRT for RTX does something is
no proof that TensorRT 11 does it. tests/integration/test_lint_builder.py gives the graphs to the
builder of TensorRT for RTX and compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trtqat.plan.header import Target

TARGETS: tuple[Target, ...] = get_args(Target)
TARGET_NAMES: dict[Target, str] = {
    "8.6": "TensorRT 8.6",
    "10": "TensorRT 10",
    "11": "TensorRT 11",
    "rtx": "TensorRT for RTX",
}

# refused: there is no plan. float: the quantized layer is built in floating point. INT8: its inputs
# and weights are INT8 in the built plan. slow: built, and documented to cost time. built: a plan
# without a quantized layer.
Outcome = Literal["refused", "float", "INT8", "slow", "built", "unknown"]
Known = Literal["run", "read", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What one TensorRT does where a rule finds its fault.

    Attributes:
        outcome: The worst that is known.
        known: How: from a build that was ``run``, or ``read`` in documentation.
        also: What it does with other graphs that break the same rule.
    """

    outcome: Outcome = "unknown"
    known: Known = "unknown"
    also: tuple[Outcome, ...] = ()

    def __str__(self) -> str:
        if self.outcome == "unknown":
            return "unknown"
        return f"{' or '.join((self.outcome, *self.also))} (*{self.known}*)"


_UNKNOWN = Verdict()
_REFUSED_READ = Verdict("refused", "read")
_SLOW_READ = Verdict("slow", "read")
_INT8_READ = Verdict("INT8", "read")
_REFUSED = Verdict("refused", "run")
_FLOAT = Verdict("float", "run")
_INT8 = Verdict("INT8", "run")
_BUILT = Verdict("built", "run")


def _row(old: Verdict, ten: Verdict, eleven: Verdict, rtx: Verdict) -> dict[Target, Verdict]:
    return {"8.6": old, "10": ten, "11": eleven, "rtx": rtx}


def _unknown_but(rtx: Verdict) -> dict[Target, Verdict]:
    return _row(_UNKNOWN, _UNKNOWN, _UNKNOWN, rtx)


def _slow_and(rtx: Verdict) -> dict[Target, Verdict]:
    """Against NVIDIA's placement recommendations, which are about kernels of TensorRT."""
    return _row(_SLOW_READ, _SLOW_READ, _SLOW_READ, rtx)


def _refused_by_all(rtx: Verdict) -> dict[Target, Verdict]:
    return _row(_REFUSED_READ, _REFUSED_READ, _REFUSED_READ, rtx)


VERDICTS: dict[str, dict[Target, Verdict]] = {
    # Its process ends by a segmentation fault at a scale that is computed from an input.
    "scale-computed": _unknown_but(Verdict("refused", "run", ("INT8",))),
    "scale-not-positive": _refused_by_all(Verdict("refused", "run", ("INT8",))),
    "zero-point-not-zero": _refused_by_all(_REFUSED),
    "codes-not-int8": _row(_REFUSED_READ, _UNKNOWN, _UNKNOWN, Verdict("refused", "run", ("INT8",))),
    "zero-point-missing": _row(_REFUSED_READ, _INT8_READ, _INT8_READ, _INT8),
    "per-channel-activation": _unknown_but(_FLOAT),
    "scale-per-block": _row(
        _REFUSED_READ, _UNKNOWN, _UNKNOWN, Verdict("refused", "run", ("INT8",))
    ),
    "wrong-axis": _refused_by_all(Verdict("refused", "run", ("float", "INT8"))),
    "int8-weight-of-matmul": _row(_REFUSED, _INT8_READ, _INT8_READ, _INT8),
    "int8-weight-behind-bytes": _row(
        Verdict("refused", "run", ("INT8",)), _UNKNOWN, _UNKNOWN, _INT8
    ),
    "bytes-not-cast-first": _row(_REFUSED, _UNKNOWN, _UNKNOWN, _REFUSED),
    "integer-operator": _row(_REFUSED_READ, _UNKNOWN, _UNKNOWN, _REFUSED),
    "foreign-quantizer": _unknown_but(_INT8),
    # Refused where constant codes are moved, which export mends.
    "node-inside-pair": _unknown_but(Verdict("refused", "run", ("INT8",))),
    "bias-dequantized": _row(
        _REFUSED_READ, _UNKNOWN, _UNKNOWN, Verdict("refused", "run", ("INT8",))
    ),
    "quantized-conv-transpose": _row(_REFUSED, _UNKNOWN, _UNKNOWN, _FLOAT),
    "int8-weights-of-siblings": _row(_REFUSED, _UNKNOWN, _UNKNOWN, _INT8),
    "groups-of-few-channels": _row(_REFUSED, _UNKNOWN, _UNKNOWN, _INT8),
    "operands-of-two-types": _unknown_but(_REFUSED),
    "codes-of-number": _unknown_but(_REFUSED),
    "opset-not-read": _refused_by_all(_UNKNOWN),
    "weight-not-finite": _unknown_but(_INT8),
    "scale-denormal": _unknown_but(_INT8),
    "pair-unequal": _unknown_but(_INT8),
    "requantized": _unknown_but(_INT8),
    "per-tensor-weight": _unknown_but(_INT8),
    "scale-in-list": _unknown_but(_FLOAT),
    "one-sided": _slow_and(_FLOAT),
    "pair-inside-layer": _slow_and(_INT8),
    "weight-behind-moves": _unknown_but(_INT8),
    "batch-norm-not-folded": _unknown_but(_INT8),
    "batch-norm-not-foldable": _unknown_but(_INT8),
    "parameters-behind-identity": _row(Verdict("slow", "run"), _UNKNOWN, _UNKNOWN, _UNKNOWN),
    "float-output": _slow_and(_BUILT),
    "idle-pair": _slow_and(_BUILT),
    "resize-behind-pair": _unknown_but(_FLOAT),
    "redundant-pair": _unknown_but(_INT8),
    "float-residual": _slow_and(_INT8),
    "pair-before-add": _slow_and(_INT8),
    "unequal-scales-concat": _slow_and(_INT8),
    "unequal-scales-consumers": _slow_and(_INT8),
    "repeated-pair": _unknown_but(_INT8),
    "channels-unaligned": _unknown_but(_INT8),
    "layer-not-quantized": _unknown_but(_UNKNOWN),
    "recurrent-in-float": _unknown_but(_UNKNOWN),
    "product-in-float": _unknown_but(_UNKNOWN),
    "subgraph-in-float": _unknown_but(_UNKNOWN),
    "not-counted": _unknown_but(_UNKNOWN),
    "linear-behind-bytes": _row(Verdict("slow", "run"), _UNKNOWN, _UNKNOWN, _INT8),
}


def outcomes(rule: str) -> dict[str, Outcome]:
    """The worst that each TensorRT is known to do where a rule finds its fault."""
    return {target: verdict.outcome for target, verdict in VERDICTS[rule].items()}
