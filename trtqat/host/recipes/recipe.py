"""What a recipe consists of: steps, each with a command and how that command is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trtqat.host.surroundings import HostKind
from trtqat.text import visible

# run: typed, and it did what it should. checked: on another host its options were parsed, its
# packages resolved, or it was run. documentation: the source that is named says so.
Mark = Literal["run", "checked", "documentation"]
MARKS: tuple[Mark, ...] = get_args(Mark)
# How a command of the kind "run" is known that needs no GPU.
BY_TEST = "on a CPU, with a small model, by tests/integration/test_recipes.py"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        does: What it is for, as a sentence.
        command: What to type: one line or more.
        mark: How it is known.
        how: Where it was run, what of it was checked, or which source in which version says so.
    """

    does: str
    command: str
    mark: Mark
    how: str

    @property
    def known(self) -> str:
        """How it is known, in words."""
        return f"from {self.mark}: {self.how}" if self.is_read else f"{self.mark} {self.how}"

    @property
    def is_read(self) -> bool:
        """Whether documentation is all that is known."""
        return self.mark == "documentation"


@dataclass(frozen=True)
class Recipe:
    """What to type on one kind of host, in this order.

    Attributes:
        kind: The hosts that it is for.
        title: Their name.
        says: What to know before, a sentence each.
        steps: The commands.
        shell: Which shell they are for.
    """

    kind: HostKind
    title: str
    says: tuple[str, ...]
    steps: tuple[Step, ...]
    shell: Literal["sh", "powershell"] = "sh"

    def __str__(self) -> str:
        lines = [self.title, *(f"  {each}" for each in self.says)]
        for number, step in enumerate(self.steps, 1):
            first, *more = step.command.splitlines()
            lines += [f"  {number}. {step.does}", f"       {first}", *(f"       {m}" for m in more)]
            lines.append(f"     ({step.known})")
        return visible("\n".join(lines))
