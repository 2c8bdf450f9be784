"""Where accuracy goes, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtqat.evaluation.drift import Drift
    from trtqat.evaluation.layer_drift import LayerDrift
    from trtqat.evaluation.step_drift import Parting, StepDrift, TensorDrift

Table = tuple[str, Sequence[str], list[list[str]]]

_STEPS = {"reference": "PyTorch → reference", "engine": "reference → engine"}


def drift_tables(drift: Drift) -> list[Table]:
    """Title, columns and rows of every table.

    Args:
        drift: What was found.
    """
    tables: list[Table] = []
    if drift.layers:
        columns = ["layer, most lost first", "operator", "SQNR", "lost here", "lint"]
        ranked = sorted(drift.layers, key=lambda each: -each.fall_db)
        title = "Where quantization loses, against the same graph without it"
        tables.append((title, columns, [_layer(each) for each in ranked]))
    if drift.steps is not None:
        steps = drift.steps.steps
        columns = ["INT8 tensor, most lost first", "behind"]
        columns += [part for step in steps for part in (_STEPS[step], "lost here", "codes")]
        rows = [
            [each.label, each.layer, *_partings(each, steps), ", ".join(each.findings)]
            for each in sorted(drift.steps.tensors, key=_fall)
        ]
        tables.append(("Where the steps to the engine part", [*columns, "lint"], rows))
    return tables


def drift_answers(drift: Drift) -> list[str]:
    """What the tables do not say in a glance, a line each.

    Args:
        drift: What was found.
    """
    lines = []
    if drift.layers:
        from trtqat.evaluation.layer_drift import first_drift

        first = first_drift(drift.layers)
        lines.append(
            f"On {drift.images} images, layers are compared with the same graph without "
            "quantization, not with the baseline; first one below 20 dB: "
            f"{first.name if first else 'none'}"
        )
    if drift.steps is not None:
        from trtqat.evaluation.step_drift import first_parting

        for step in drift.steps.steps:
            parted = first_parting(drift.steps.tensors, step)
            lines.append(f"{_STEPS[step]}: first tensor below 20 dB: {_where(parted)}")
            lines += _left_out(drift.steps, step)
        probe = drift.steps.probe
        if probe is not None:
            output = (
                "identical to" if probe.sqnr_db == math.inf else decibels(probe.sqnr_db) + " from"
            )
            missing = f"all but {', '.join(probe.missing)}" if probe.missing else "all"
            lines.append(
                "The engine's tensors were read from one that was built again, with a "
                f"DequantizeLinear of its own on each. Of the engine's {probe.layers} layers "
                f"{missing} are in it, fused alike, {probe.same_kernels} with the same kernel; its "
                f"output is {output} the engine's."
            )
    return lines


def _layer(drift: LayerDrift) -> list[str]:
    return [
        drift.name,
        drift.operator,
        decibels(drift.sqnr_db),
        _lost(drift.fall_db),
        ", ".join(drift.findings),
    ]


def _partings(tensor: TensorDrift, steps: Sequence[str]) -> list[str]:
    cells = []
    for step in steps:
        parting: Parting | None = getattr(tensor, step)
        if parting is None:
            cells += ["", "", ""]
            continue
        codes = ""
        if parting.differing is not None:
            codes = f"{100 * parting.differing:.2g} % differ" if parting.differing else "all equal"
            if parting.differing and parting.largest is not None:
                codes += f", by {parting.largest} at most"
        cells += [decibels(parting.sqnr_db), _lost(parting.fall_db), codes]
    return cells


def _left_out(steps: StepDrift, step: str) -> list[str]:
    """What no sentence may be taken to speak of."""
    blank = [each.label for each in steps.tensors if getattr(each, step) is None]
    if not blank:
        return []
    names = ", ".join(blank[:3]) + (", …" if len(blank) > 3 else "")
    why = ""
    if step == "reference":
        why = (
            ": the model has no quantizer module of that name, it ran with several results, or a "
            "repair moved its pair; TorchScript files and programs have none"
        )
    return [f"{_STEPS[step]}: {len(blank)} of {len(steps.tensors)} not compared ({names}){why}."]


def decibels(value: float) -> str:
    """An SQNR in words.

    Args:
        value: In dB.
    """
    if math.isnan(value):
        return "no number"
    return "identical" if value == math.inf else f"{value:.1f} dB"


def _lost(fall_db: float) -> str:
    return "all" if fall_db == math.inf else f"{fall_db:.1f} dB"


def _fall(tensor: TensorDrift) -> float:
    """Sorts by the most that a step loses."""
    partings = (getattr(tensor, step) for step in _STEPS)
    return -max((each.fall_db for each in partings if each), default=-1.0)


def _where(tensor: TensorDrift | None) -> str:
    if tensor is None:
        return "none"
    return f"{tensor.label}, behind {tensor.layer}" if tensor.layer else tensor.label
