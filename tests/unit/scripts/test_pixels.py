"""scripts.bench.pixels: the graphs that it compares, and what its tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from scripts.bench import pixels
from scripts.bench.pixels_table import NONE, layers_table, measured_table
from tests.support.pixel_graphs import quantizing_graph
from trtqat.graph_file.serialized import serialize
from trtqat.numerics import quantize
from trtqat.pixels import PixelSpec
from trtqat.provenance import METADATA_KEY
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import TensorSpec, random_arrays


def measured(compute_ms: float, *rates: float, megabytes: float) -> dict[str, Any]:
    return {
        "rtx": {"layers": 7, "first": ["CastMul", "Tran"]},
        "compute_ms": compute_ms,
        "input_bytes": megabytes * 1e6,
        "throughput": {
            "request_ms": 1.5,
            "h2d_ms": 0.25,
            "in_flight": {n: {"images_per_second": rate} for n, rate in enumerate(rates)},
        },
    }


RESULTS = {
    "floats": measured(0.8, 30_000.0, 40_000.0, megabytes=19.3),
    "codes": measured(0.75, 50_000.0, 45_000.0, megabytes=4.8),
    "nhwc-affine-first": measured(0.824, 48_500.0, megabytes=4.8),
    "nhwc-affine-last": {"rtx": {"refused": "no Transpose"}, "refused": "no kernel"},
}


def cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_what_is_measured_stands_beside_floats_and_codes() -> None:
    table = measured_table(RESULTS, 32)
    assert table.startswith("Batch 32.")
    _, _, floats, codes, affine, refused = cells(table)
    assert floats == ["floats", "0.8000", "1.000", "1.500", "0.250", "19.3", "40,000", "0.800"]
    assert codes[-2:] == ["50,000", "1.000"]
    assert affine == [
        "nhwc-affine-first",
        "0.8240",
        "1.030",
        "1.500",
        "0.250",
        "4.8",
        "48,500",
        "0.970",
    ]
    assert refused[1:3] == ["refused: no kernel", NONE]


def test_without_the_others_there_are_no_ratios() -> None:
    *_, (_, _, of_floats, *_, of_codes) = cells(measured_table({"x": RESULTS["codes"]}, 1))
    assert of_floats == of_codes == NONE


def test_layers() -> None:
    _, _, floats, _, _, refused = cells(layers_table(RESULTS))
    assert floats == ["floats", "7", "`CastMul`, `Tran`"]
    assert refused == ["nhwc-affine-last", NONE, "refused: no Transpose"]


def test_every_graph_takes_what_its_record_says_and_gives_the_codes(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """On a graph of one pair in place of the ResNet's."""
    monkeypatch.setattr(pixels, "IMAGES", TensorSpec("x", (1, 3, 16, 16)))
    path = tmp_path / "floats.onnx"
    ir.save(quantizing_graph(0.02), path)
    names = []
    for name, model, provenance in pixels.graphs_of(path, with_bgr=True):
        names.append(name)
        model.metadata_props[METADATA_KEY] = provenance.to_json()
        with OnnxModel(serialize(model), as_written=True) as loaded:
            (spec,) = loaded.inputs
            assert isinstance(spec, PixelSpec) == (name not in ("floats", "codes"))
            inputs = random_arrays([spec.with_batch(2)], seed=0)
            (found,) = loaded.session(2).run(inputs).values()
        floats = inputs["x"]
        if isinstance(spec, PixelSpec):
            floats = spec.pixels.normalise(inputs["x"])
        expected = quantize(floats, 0.02).astype(np.float32) * np.float32(0.02)
        np.testing.assert_array_equal(found, expected)
    assert names[:2] == ["floats", "codes"]
    assert {"nhwc-channels", "nhwc-bgr-channels"} <= set(names)
    assert len(names) == len(set(names)) == 2 + 2 * 11 + 2 * 4
