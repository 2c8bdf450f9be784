"""The JSON schema of a manifest, made from the types of its parts.

``manifest.schema.json`` beside this file is what ``manifest_schema`` returns; a test holds them
equal:

    python -m trtqat.plan.schema > trtqat/plan/manifest.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from trtqat.plan.manifest import Manifest
from trtqat.typed_json import json_schema


def manifest_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of the file beside a plan; later versions may add fields."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **json_schema(Manifest),
        "title": "Manifest of a plan that trtqat build wrote",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(manifest_schema(), indent=1) + "\n")
