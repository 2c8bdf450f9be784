"""Names and signatures of TensorRT's bindings, as recorded from NVIDIA's packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
API: dict[str, Any] = json.loads((DATA / "tensorrt_api.json").read_text())
VERSIONS = sorted(API, key=lambda version: [int(part) for part in version.split(".")])
# TensorRT for RTX; all others are TensorRT.
RTX = "1.7.1.116"
