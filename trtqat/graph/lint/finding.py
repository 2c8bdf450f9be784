"""What a rule is and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.targets import Outcome, outcomes
from trtqat.plan.header import Target

Cost = Literal["refusal", "accuracy", "speed"]
Severity = Literal["warning", "note"]


@dataclass(frozen=True)
class Advice:
    """What to change in the model, where a rule's own words do not fit the place.

    Attributes:
        remedy: As that of ``Finding``.
        example: As that of ``Finding``.
    """

    remedy: str
    example: str = ""


# Name of the layer or tensor, a sentence on what is wrong with it, and advice if not the rule's.
Places = Iterator[tuple[str, str] | tuple[str, str, Advice]]


@dataclass(frozen=True)
class Finding:
    """One fault at one place.

    Attributes:
        rule: Identifier, as ``"float-residual"``.
        severity: A ``warning`` fails ``--strict``; a ``note`` may be as it should be.
        cost: What it costs: ``refusal`` by TensorRT, ``accuracy`` or ``speed``.
        where: Name of the layer or tensor.
        problem: What is wrong there, in one sentence.
        remedy: What to change in the PyTorch model.
        example: That change as a line of code; empty where there is nothing to change.
        repair: Which exact repair of ``trtqat export`` does it; empty if none does.
        targets: What each TensorRT (``8.6``, ``10``, ``11``, ``rtx``) does with a graph that
            breaks the rule: ``refused``, ``float``, ``INT8``, ``slow``, ``built`` or ``unknown``.
        only_for: The one TensorRT of which it is so; None where it is so of all.
    """

    rule: str
    severity: Severity
    cost: Cost
    where: str
    problem: str
    remedy: str
    example: str
    repair: str = ""
    targets: Mapping[str, Outcome] = field(default_factory=dict, hash=False)
    only_for: Target | None = None

    def concerns(self, target: Target) -> bool:
        """Whether it is worth a word to whoever builds with that TensorRT.

        What it costs in accuracy or speed is, unless another one alone makes it so. What others
        refuse is not, where this TensorRT is known to take it and to run the layer in INT8.
        """
        if self.only_for not in (None, target):
            return False
        return self.cost != "refusal" or self.targets.get(target) != "INT8"


@dataclass(frozen=True)
class Rule:
    """A check with what all its findings share.

    Attributes:
        identifier: As ``"float-residual"``.
        check: Yields the places of a graph where it finds its fault.
        cost: What a finding costs: ``refusal`` by TensorRT, ``accuracy`` or ``speed``.
        severity: A ``warning`` fails ``--strict``; a ``note`` may be as it should be.
        remedy: What to change in the PyTorch model.
        example: That change as a line of code.
        repair: Which exact repair of ``trtqat export`` does it; empty if none does.
        only_for: The one TensorRT of which it is so; None where it is so of all.
    """

    identifier: str
    check: Callable[[GraphView], Places]
    cost: Cost
    severity: Severity
    remedy: str
    example: str
    repair: str = ""
    only_for: Target | None = None

    def findings(self, view: GraphView) -> Iterator[Finding]:
        """Runs the check."""
        own = Advice(self.remedy, self.example)
        # What 8.6 does is no matter where it does not read the opset, unless somebody asks.
        is_for_old = is_for_8_6(view.opset) or view.target == "8.6"
        targets = {
            target: outcome
            for target, outcome in outcomes(self.identifier).items()
            if is_for_old or target != "8.6"
        }
        for where, problem, *given in self.check(view):
            advice = given[0] if given else own
            yield Finding(
                self.identifier,
                self.severity,
                self.cost,
                where,
                problem,
                advice.remedy,
                advice.example,
                self.repair,
                targets,
                self.only_for,
            )


def rule(
    identifier: str,
    *,
    cost: Cost,
    remedy: str,
    example: str,
    severity: Severity = "warning",
    repair: str = "",
    only_for: Target | None = None,
) -> Callable[[Callable[[GraphView], Places]], Rule]:
    """Makes a rule of the function below it."""

    def make(check: Callable[[GraphView], Places]) -> Rule:
        return Rule(identifier, check, cost, severity, remedy, example, repair, only_for)

    return make
