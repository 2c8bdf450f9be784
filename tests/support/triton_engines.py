"""Engines for Triton's repository, and Triton's own protobuf schema to read it with."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import make_manifest, make_plan
from trtqat.building.triton.config import TritonOptions
from trtqat.building.triton.repository import check_repository, write_repository
from trtqat.errors import UsageError
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.tensors import TensorSpec

PLAN = make_plan()
OPTIONS = TritonOptions("model")

text_format: Any = importlib.import_module("google.protobuf.text_format")


def load_schema() -> Any:
    # The file alone, because `import tritonclient.grpc` needs grpcio.
    package = importlib.util.find_spec("tritonclient")
    assert package is not None, "pip install tritonclient"
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMA = load_schema()


def engine(
    inputs: list[TensorSpec], outputs: list[TensorSpec], *profiles: ProfileShapes
) -> Manifest:
    by_name = {spec.name: shapes for spec, shapes in zip(inputs, profiles, strict=True)}
    manifest = make_manifest(PLAN)
    return replace(manifest, inputs=tuple(inputs), outputs=tuple(outputs), profiles=by_name)


def batches(low: int, opt: int, high: int, *shape: int) -> ProfileShapes:
    return ProfileShapes((low, *shape), (opt, *shape), (high, *shape))


CLASSIFIER = engine(
    [TensorSpec("images", (-1, 3, 32, 32))],
    [TensorSpec("logits", (-1, 10))],
    batches(1, 32, 128, 3, 32, 32),
)


def config_of(manifest: Manifest, folder: Path, options: TritonOptions = OPTIONS) -> Any:
    model = write_repository(folder, PLAN, manifest, options)
    assert (model.path / "config.pbtxt").read_text() == model.config_text
    return text_format.Parse(model.config_text, SCHEMA.ModelConfig())


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(manifest: Manifest, message: str, options: TritonOptions = OPTIONS) -> None:
    def check(folder: Path) -> None:
        spec = manifest.inputs, manifest.outputs, manifest.profiles
        with pytest.raises(UsageError, match=message):
            check_repository(folder, *spec, options, manifest.more_profiles)
        with pytest.raises(UsageError, match=message):
            write_repository(folder, PLAN, manifest, options)

    folder = Path.cwd() / "models"
    check(folder)
    assert not folder.exists()
