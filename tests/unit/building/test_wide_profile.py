"""Of which plans a build warns that their one profile costs time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.plans import make_manifest
from trtqat.building.proof import Proof
from trtqat.building.wide_profile import warn_of_wide_profile
from trtqat.errors import BuildError
from trtqat.plan.coverage import Coverage, LayerCoverage
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.plan.profile_text import parse_profile
from trtqat.tensors import TensorSpec

PLAN = Path("m.engine")
STATIC = {"x": ProfileShapes((8, 3), (8, 3), (8, 3))}
SUBGRAPH = "{ForeignNode[/block/MatMul.../head/Gemm]}"
CONVOLUTION = {"Name": "/stem/Conv", "LayerType": "CaskConvolution"}
COMPILED = {"Name": SUBGRAPH, "LayerType": "Myelin"}


def product(name: str, engine_layer: str, macs: int | None) -> LayerCoverage:
    runs = True if engine_layer else None
    return LayerCoverage(
        name, "MatMul", True, runs, macs, engine_layer, "", (), "int8", None, ""
    )  # fmt: skip


def proof(layers: list[Any], *products: LayerCoverage) -> Proof:
    return Proof(Coverage(products, (), (), ()), None, {"Layers": layers})


TRANSFORMER = proof(
    [CONVOLUTION, COMPILED],
    product("/stem/Conv", "/stem/Conv", 100),
    product("/block/MatMul", "", 5000),
    product("/head/Gemm", "", 10),
)


def warned(found: Proof, caplog: pytest.LogCaptureFixture, manifest: Manifest) -> bool:
    caplog.clear()
    warn_of_wide_profile(PLAN, manifest, found)
    return "one profile for batches 1 to 4" in caplog.text


def test_a_transformer_of_a_range(caplog: pytest.LogCaptureFixture) -> None:
    wide = make_manifest(b"")
    assert warned(TRANSFORMER, caplog, wide)
    assert "Build it with --batch 1,2,4,1:2:4:" in caplog.text
    unknown = [replace(each, macs=None) for each in TRANSFORMER.coverage.layers]  # type: ignore[union-attr]
    assert warned(proof([COMPILED], *unknown), caplog, wide)
    # Where the inspector names the nodes of a subgraph, they are inside it all the same.
    named = replace(product("/block/MatMul", SUBGRAPH, 5000), runs_int8=None)
    assert warned(proof([COMPILED], named), caplog, wide)


def test_what_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wide = make_manifest(b"")
    others = (
        replace(wide, profiles=STATIC),
        replace(wide, more_profiles=(STATIC,), schema_version=2),
        replace(wide, tensorrt="10.13.3"),
        replace(wide, library="rtx", tensorrt="1.7.1.116"),
    )
    for manifest in others:
        assert not warned(TRANSFORMER, caplog, manifest)


def test_open_sizes(caplog: pytest.LogCaptureFixture) -> None:
    def of_widths(*shapes: str) -> Manifest:
        first, *more = map(parse_profile, shapes)
        inputs = (TensorSpec("x", (-1, 3, -1)),)
        wide = make_manifest(b"")
        return replace(
            wide, inputs=inputs, profiles=first, more_profiles=tuple(more), schema_version=2
        )

    assert warned(TRANSFORMER, caplog, of_widths("x:1:2:4x3x160", "x:1:2:4x3x320"))
    assert "1 to 4 of each size" in caplog.text
    assert "alone at each size that counts, as --shapes x:2x3x320." in caplog.text
    assert warned(TRANSFORMER, caplog, of_widths("x:1:2:4x3x32:160:320"))
    assert "alone at each size that counts, as --shapes x:2x3x160." in caplog.text
    # Nobody knows what a range of sizes costs, and who has a profile for one batch has chosen.
    assert not warned(TRANSFORMER, caplog, of_widths("x:2x3x32:160:320"))
    assert not warned(TRANSFORMER, caplog, of_widths("x:2x3x320", "x:1:2:4x3x320"))


def test_a_convolutional_network(caplog: pytest.LogCaptureFixture) -> None:
    wide = make_manifest(b"")
    convolutions = [product("/stem/Conv", "/stem/Conv", 5000)]
    assert not warned(proof([CONVOLUTION], *convolutions), caplog, wide)
    # TensorRT removed a layer, and compiled nothing.
    assert not warned(proof([CONVOLUTION], product("/gone", "", 100)), caplog, wide)
    # Its compiler made the last layer alone.
    last = [*convolutions, product("/head/Gemm", "", 10)]
    assert not warned(proof([CONVOLUTION, COMPILED], *last), caplog, wide)


def test_what_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    wide = make_manifest(b"")
    assert not warned(Proof(), caplog, wide)
    assert not warned(Proof(None, BuildError("No.", "None."), {"Layers": [COMPILED]}), caplog, wide)
