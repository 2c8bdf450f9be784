"""A run that was cut off goes on: its file says what it has measured, and of what.

Rows of different code, hosts or graphs do not stand in one file. So a run goes on only with a file
whose record says the very same of those, and refuses any other, which nothing overwrites unasked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtqat.errors import UsageError

# By what they are called in messages: where they stand in a record.
_SAME: dict[str, tuple[str, ...]] = {
    "commit": ("commit",),
    "batch size": ("batch_size",),
    "--seconds": ("seconds",),
    "--tactic-sources": ("tactic_sources",),
    "--graph": ("graph", "sha256"),
    "TensorRT for RTX": ("tensorrt_rtx",),
    "TensorRT": ("environment", "packages", "tensorrt"),
    "GPU": ("environment", "gpu", "name"),
}
_WAY_OUT = "Give another --output, or --anew to overwrite it."


def go_on(path: Path, record: Mapping[str, Any], *, anew: bool) -> dict[str, Any]:
    """What a run adds its results to: the record of its file, or its own.

    Args:
        path: Of the file, which need not exist.
        record: What this run says of itself, by ``describe_run`` and more; results are in
            ``graphs``.
        anew: Whether to take no account of the file.

    Returns:
        A record. One that goes on lists the later commands, with their dates, in ``resumed``.

    Raises:
        UsageError: The file is no such record, or one of another run.
    """
    if anew or not path.is_file():
        return dict(record)
    found = _read(path)
    differences = _differences(found, record)
    if differences:
        raise UsageError(
            f"'{path}' holds {len(found['graphs'])} graphs of another run: "
            f"{'; '.join(differences)}.",
            _WAY_OUT,
        )
    commit = str(found["commit"])
    if commit == "unknown" or commit.endswith("-dirty"):
        raise UsageError(
            f"'{path}' holds {len(found['graphs'])} graphs of commit '{commit}', which does not "
            "say of what code.",
            f"{_WAY_OUT} Where there is no git, COMMIT=… says the commit.",
        )
    graphs = found.pop("graphs")
    later = {"command": record["command"], "date": record["date"]}
    return {**found, "resumed": [*found.get("resumed", []), later], "graphs": graphs}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("graphs"), dict):
        raise UsageError(f"'{path}' is no file of this benchmark.", _WAY_OUT)
    return found


def _differences(found: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    pairs = {what: (_at(found, keys), _at(record, keys)) for what, keys in _SAME.items()}
    return [
        f"its {what} is {_shown(there)}, and here it is {_shown(here)}"
        for what, (there, here) in pairs.items()
        if there != here
    ]


def _at(record: Any, keys: tuple[str, ...]) -> Any:  # noqa: ANN401
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _shown(value: object) -> str:
    return "none" if value is None else f"'{value}'"
