"""One finding about a host or a plan: what doctor prints and a preflight collects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trtqat.text import visible

Status = Literal["passed", "warning", "unknown", "missing", "failed"]


@dataclass(frozen=True)
class Check:
    """What was found where one thing was looked at.

    Attributes:
        name: What was looked at.
        status: ``passed``; ``warning`` where it runs but deserves a word; ``unknown`` where this
            host cannot tell; ``missing`` where the host lacks something; ``failed`` where
            the plan does not run here.
        finding: What was found, as a sentence.
        remedy: The way out, as a sentence; empty if none is needed.
        names_file: Whether the finding names the plan or manifest that it is about by itself.
    """

    name: str
    status: Status
    finding: str
    remedy: str = ""
    names_file: bool = False

    def to_dict(self) -> dict[str, str]:
        """What was found as plain data, as ``--json`` writes it."""
        return {
            "name": self.name,
            "status": self.status,
            "finding": self.finding,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        line = f"{self.status:8} {self.name:12} {self.finding}"
        return visible(f"{line}\n{'':21} {self.remedy}" if self.remedy else line)
