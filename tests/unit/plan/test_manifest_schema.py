"""The manifest's JSON schema: up to date, and true of manifests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import trtqat.plan.schema
from tests.support.plans import make_manifest, make_plan
from trtqat.io_names import NameRecord
from trtqat.plan.schema import manifest_schema
from trtqat.provenance import Provenance

FILE = Path(trtqat.plan.schema.__file__).with_name("manifest.schema.json")
SHIPPED = Path(__file__).parents[2] / "data" / "shipped"


def test_the_file_is_up_to_date() -> None:
    assert json.loads(FILE.read_text()) == manifest_schema(), (
        "python -m trtqat.plan.schema > trtqat/plan/manifest.schema.json"
    )


def test_it_is_a_schema_and_true_of_manifests() -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    names = NameRecord(("x",), ("y",))
    provenance = Provenance(version="0.1.0", quantized_inputs={"x": 0.5}, io_names=names)
    manifest = replace(make_manifest(make_plan()), provenance=provenance, io_names=names)
    jsonschema.validate(json.loads(manifest.to_json()), schema)
    shipped = sorted(SHIPPED.glob("manifest-*.json"))
    assert len(shipped) == 5
    for path in shipped:
        jsonschema.validate(json.loads(path.read_text()), schema)


@pytest.mark.parametrize(
    "change",
    [
        {"plan_bytes": "1"},
        {"inputs": [{"name": "x"}]},
        {"options": {"timing_cache": "x"}},
        {"provenance": {"qdq_pairs": "33"}},
        {"provenance": []},
    ],
)
def test_it_finds_what_is_wrong(change: dict[str, object]) -> None:
    fields = json.loads(make_manifest(make_plan()).to_json())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**fields, **change}, manifest_schema())
