"""Plans of TensorRT for RTX with several profiles: each is listed, and each is proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trtqat as package
from tests.support import models
from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved
from trtqat.building import proof
from trtqat.errors import GateError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.inspection.inspector import parse_information, read_layers
from trtqat.inspection.profiles import split_profiles
from trtqat.plan.manifest import read_manifest
from trtqat.runtime.engine_profiles import make_profiles


@pytest.fixture(scope="module", params=["residual", "attention"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose batch is open."""
    made = models.EXAMPLES[request.param]
    path = tmp_path_factory.mktemp("open") / "m.onnx"
    export_onnx(made.qat(), path, ExportOptions(made.inputs, exporter="torchscript"))
    return path


def test_several_profiles_in_one_plan(example: Path, tmp_path: Path) -> None:
    """The builder lists the layers of each, as many as it lists for one, and each is proven."""
    layers = tmp_path / "layers.json"
    done = in_process(
        tmp_path,
        *("build", example, "-o", "m.engine", "--for", "rtx", "--batch", "1:4:8,1,4"),
        *("--require-int8", "--export-layer-info", layers),
    )
    assert done.returncode == 0, done.stderr
    assert "shapes of 3 profiles, for batch 1, 4, 1:4:8" in done.stdout
    assert "in each of 3 profiles (batch 1, 4, 1:4:8)" in done.stdout
    assert "\nbesides, in one of these profiles: " in done.stdout
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert (manifest.schema_version, len(manifest.all_profiles)) == (2, 3)
    assert manifest.coverage is not None
    assert len(manifest.coverage.wanted) >= 4
    assert manifest.coverage.missed == ()

    read = in_process(tmp_path, "inspect", layers, "--graph", example, "--require-int8")
    assert read.returncode == 0, read.stderr
    assert "in each of 3 profiles (profile 0, profile 1, profile 2)" in read.stdout

    found = split_profiles(read_layers(layers), 3, "m")
    for batch, profile in zip((1, 4, None), found, strict=True):
        products = [each for each in profile if each.is_product]
        # The shapes of a profile are those of its list, open ones where it is a range.
        shapes = [each.inputs[0].shape for each in products if each.inputs]
        assert len(products) >= 3
        assert {shape[0] if shape else None for shape in shapes} <= {batch, *sizes(batch)}
    alone = package.build(example, tmp_path / "one.engine", for_="rtx", batch=4)
    listed = parse_information(alone.layers, "one")
    assert [each.tactic for each in listed] == [each.tactic for each in found[1]]


def sizes(batch: int | None) -> set[int]:
    """What a product may have for its first dimension besides the batch: nine tokens a sample."""
    return set() if batch is None else {9 * batch}


def test_a_table_of_fixed_size_beside_an_open_batch(tmp_path: Path) -> None:
    """It is built, called and opened by the batch of the images."""
    made = Graph(("N", 4, 6, 6), inputs={"anchors": (100, 4)})  # type: ignore[arg-type]
    made.node("ReduceMean", ["anchors"], "mean", keepdims=0)
    made.node("Add", [made.conv(made.pair("x", 0.1), "convolved"), "mean"], "y")
    path = saved(made.proto("y"), tmp_path / "m.onnx")
    shapes = ("--shapes", "x:1:8:32x4x6x6", "--shapes", "x:8x4x6x6")
    done = in_process(tmp_path, "build", path, "-o", "m.engine", "--for", "rtx", *shapes)
    assert done.returncode == 0, done.stderr
    assert "shapes of 2 profiles, for batch 8, 1:8:32" in done.stdout
    manifest = read_manifest(tmp_path / "m.engine")
    assert manifest is not None
    assert manifest.coverage is not None
    assert manifest.coverage.profiles == ("8", "1:8:32")
    profiles = make_profiles(manifest.all_profiles, manifest.inputs)
    assert (profiles.batch_range, profiles.optimal_batch) == ((1, 32), 8)
    assert [profiles.choose(size, "m.engine").profile for size in (8, 9)] == [0, 1]


def test_a_layer_that_one_profile_lacks_is_not_int8(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the builder had kept one profile's last product in floating point."""
    read = proof.read_logged_layers

    def changed(network: Any) -> Any:
        listed = dict(read(network))
        last = max(
            index
            for index, each in enumerate(listed["Layers"])
            if "_myl1_" in each["Name"] and each["LayerType"] in ("gemm", "correlation")
        )
        floats = [{**each, "Datatype": "Float"} for each in listed["Layers"][last]["Inputs"]]
        listed["Layers"][last] = {**listed["Layers"][last], "Inputs": floats}
        return listed

    monkeypatch.setattr(proof, "read_logged_layers", changed)
    built = package.build(example, tmp_path / "m.engine", for_="rtx", batch="1,4,8")
    assert built.coverage is not None
    (missed,) = built.coverage.missed
    assert missed.reason.startswith("in the profile for batch 4: in the plan it reads float32")
    with pytest.raises(GateError, match=r"1 of \d quantized layers are not seen in INT8"):
        built.check_int8()
