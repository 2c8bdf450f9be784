"""Where accuracy goes, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.report.wording import Table, decibels, percent

if TYPE_CHECKING:
    from trtqat.evaluation.locate import Located
    from trtqat.evaluation.locate_layers import LayerLoss
    from trtqat.evaluation.locate_steps import LocatedInSteps, Step, TensorLoss


@dataclass(frozen=True)
class StepWords:
    """A step on the way to the engine.

    Attributes:
        way: From what to what.
        compared: What is compared with what.
    """

    way: str
    compared: str


STEP_WORDS: Mapping[Step, StepWords] = {
    "reference": StepWords(
        "PyTorch → reference", "the ONNX reference against the fake-quantized model"
    ),
    "engine": StepWords("reference → engine", "the engine against the ONNX reference"),
}


def locate_tables(located: Located) -> list[Table]:
    """Title, columns and rows of every table.

    Args:
        located: What was found.
    """
    tables: list[Table] = []
    if located.layers:
        columns = ["layer, most lost first", "operator", "SQNR", "lost here", "lint"]
        ranked = sorted(located.layers, key=lambda each: -each.lost_db)
        title = "Where quantization loses, against the same graph without it"
        tables.append((title, columns, [_layer(each) for each in ranked]))
    if located.steps is not None:
        steps = located.steps.steps
        columns = ["INT8 tensor, most lost first", "behind"]
        columns += [part for step in steps for part in (STEP_WORDS[step].way, "lost here", "codes")]
        rows = [
            [each.label, each.layer, *_losses(each, steps), ", ".join(each.findings)]
            for each in sorted(located.steps.tensors, key=_most_lost)
        ]
        tables.append(("Where values change on the way to the engine", [*columns, "lint"], rows))
    return tables


def locate_answers(located: Located) -> list[str]:
    """What the tables do not say in a glance, a line each.

    Args:
        located: What was found.
    """
    lines = []
    if located.layers:
        from trtqat.evaluation.locate_layers import first_layer_below

        first = first_layer_below(located.layers)
        lines.append(
            f"On {located.images} images, layers are compared with the same graph without "
            "quantization, not with the baseline; first one below 20 dB: "
            f"{first.name if first else 'none'}"
        )
    if located.steps is not None:
        from trtqat.evaluation.locate_steps import first_tensor_below

        for step in located.steps.steps:
            below = first_tensor_below(located.steps.tensors, step)
            lines.append(f"{STEP_WORDS[step].way}: first tensor below 20 dB: {_where(below)}")
            lines += _left_out(located.steps, step)
        probe = located.steps.probe
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


def _layer(loss: LayerLoss) -> list[str]:
    return [
        loss.name,
        loss.operator,
        decibels(loss.sqnr_db),
        _lost(loss.lost_db),
        ", ".join(loss.findings),
    ]


def _losses(tensor: TensorLoss, steps: Sequence[Step]) -> list[str]:
    cells = []
    for step in steps:
        loss = tensor.at(step)
        if loss is None:
            cells += ["", "", ""]
            continue
        codes = ""
        if loss.differing is not None:
            codes = f"{percent(loss.differing)} differ" if loss.differing else "all equal"
            if loss.differing and loss.largest is not None:
                codes += f", by {loss.largest} at most"
        cells += [decibels(loss.sqnr_db), _lost(loss.lost_db), codes]
    return cells


def _left_out(steps: LocatedInSteps, step: Step) -> list[str]:
    """What no sentence may be taken to speak of."""
    blank = [each.label for each in steps.tensors if each.at(step) is None]
    if not blank:
        return []
    names = ", ".join(blank[:3]) + (", …" if len(blank) > 3 else "")
    why = ""
    if step == "reference":
        why = (
            ": the model has no quantizer module of that name, it ran with several results, or a "
            "repair moved its pair; TorchScript files and programs have none"
        )
    return [
        f"{STEP_WORDS[step].way}: {len(blank)} of {len(steps.tensors)} not compared ({names}){why}."
    ]


def _lost(lost_db: float) -> str:
    return "all" if lost_db == math.inf else f"{lost_db:.1f} dB"


def _most_lost(tensor: TensorLoss) -> float:
    """Sorts by the most that a step loses."""
    losses = (tensor.at(step) for step in STEP_WORDS)
    return -max((each.lost_db for each in losses if each), default=-1.0)


def _where(tensor: TensorLoss | None) -> str:
    if tensor is None:
        return "none"
    return f"{tensor.label}, behind {tensor.layer}" if tensor.layer else tensor.label
