"""The JSON schema of a report, made from the types of its parts.

``report.schema.json`` beside this file is what ``report_schema`` returns; a test holds them equal:

    python -m trtqat.evaluation.schema > trtqat/evaluation/report.schema.json
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from trtqat.evaluation.accuracy import Compared
from trtqat.evaluation.counts import Agreement, Paired
from trtqat.evaluation.recorded import SCHEMA_VERSION
from trtqat.evaluation.report import Report

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"$ref": "#/$defs/Float"},
    type(None): {"type": "null"},
}


def report_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what ``trtqat eval --json`` writes."""
    parts = _Parts()
    properties = parts.properties_of(Report)
    del properties["comparison"]
    classes = {"type": "string", "description": "Class of each image, with spaces between them."}
    paired = _closed({**parts.properties_of(Paired), "p_value": _PLAIN[float]})
    properties |= {
        "command": {"type": "string", "description": "What made the report."},
        "schema_version": {"const": SCHEMA_VERSION},
        "steps": parts.of(tuple[Compared, ...]),
        "agreement": parts.of(Agreement | None),
        "paired": {"anyOf": [paired, _PLAIN[type(None)]]},
        "top1_drop_points": parts.of(float | None),
        "predictions": _closed(
            {
                "model": classes,
                "baseline": classes,
                "data_sha256": _PLAIN[str],
                "output": parts.of(str | None),
            }
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of trtqat eval",
        **_closed(properties),
        "$defs": parts.definitions,
    }


class _Parts:
    """Schemas of annotations; that of a dataclass stands once, under its name."""

    def __init__(self) -> None:
        # JSON has neither infinity, as the SQNR of what is identical, nor NaN.
        self.definitions: dict[str, Any] = {
            "Float": {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}
        }

    def of(self, annotation: Any) -> dict[str, Any]:  # noqa: ANN401
        origin, arguments = get_origin(annotation), get_args(annotation)
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if is_dataclass(annotation) and isinstance(annotation, type):
            name = annotation.__name__
            if name not in self.definitions:
                self.definitions[name] = _closed(self.properties_of(annotation))
            return {"$ref": f"#/$defs/{name}"}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is tuple:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is Literal:
            return {"enum": list(arguments)}
        raise TypeError(f"a report has no {annotation}")

    def properties_of(self, part: type) -> dict[str, Any]:
        hints = get_type_hints(part)
        return {each.name: self.of(hints[each.name]) for each in fields(part)}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report_schema(), indent=1) + "\n")
