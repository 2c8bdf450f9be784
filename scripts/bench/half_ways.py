"""Ways to an FP16 graph: ours, with all of its pieces or without one, and ModelOpt's AutoCast.

Each conversion is a process of its own, of the Python that has what it needs. The process prints
one line of JSON.

    python -m scripts.bench.half_ways ours model.onnx samples.npz half.onnx --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from unittest import mock

Convert: TypeAlias = Callable[[Path, Path, Path], dict[str, Any]]

OURS = "ours"
AUTOCAST: dict[str, dict[str, Any]] = {
    # As its documentation calls it, with the samples and float inputs and outputs.
    "AutoCast": {},
    # Up to the value that is the limit of ours.
    "AutoCast, values to 16376": {"data_max": 65504 / 4},
    "AutoCast, Q/DQ in FP32": {"op_types_to_exclude": ["QuantizeLinear", "DequantizeLinear"]},
}
CONVERT_TO_F16 = "convert_to_f16"
TRAINED_RANGES = "trained ranges"
# What is left out, and what is put in its place: nothing is found.
PIECES: dict[str, dict[str, Any]] = {
    "regions": {"derive.enclosed_nodes": lambda *_: {}},
    "lost scales": {"derive._lost_scales": lambda *_: {}},
    "dead channels": {
        "derive.used_by_all": lambda *_: None,
        "borders.used_by_all": lambda *_: None,
    },
    "makers of sizes": {"derive._makers_of_sizes": lambda *_: {}},
    "codes first": {"derive.quantize_weights": lambda *_: SimpleNamespace(count=0)},
    "second DequantizeLinear": {"borders.DEQUANTIZE": ""},
    "values": {"reasons._of_tensor": lambda *_: ""},
    "sums": {"reasons._sum": lambda *_: ""},
    "whole numbers": {"reasons._whole_numbers": lambda *_: ""},
    "angles": {"reasons._angle": lambda *_: ""},
    "variances": {"reasons._variance": lambda *_: ""},
    # The samples alone say how large a value becomes.
    TRAINED_RANGES: {},
}


def main() -> None:
    """Converts, and prints how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way")
    parser.add_argument("graph", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("half", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    convert = _way(arguments.way)
    imported = time.perf_counter() - start
    times, found = [], {}
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        found = convert(arguments.graph, arguments.samples, arguments.half)
        times.append(time.perf_counter() - start)
    figures = {
        "import_s": imported,
        "first_s": times[0],
        "median_s": statistics.median(times),
        **found,
    }
    print(json.dumps(figures))


def write_without_pieces(graph: Path, samples: Path, folder: Path) -> dict[str, Path]:
    """Makes our FP16 graph once without each of its pieces; values are measured once for all.

    Args:
        graph: The FP32 graph.
        samples: An ``.npz`` file of inputs by name.
        folder: Where the graphs are written.

    Returns:
        The files by the name of the piece that was left out.
    """
    import numpy as np
    import onnx_ir as ir

    from trtqat.exporting.verification.ranges import measure_largest, measure_with_ranges
    from trtqat.graph.half.derive import derive_half
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import serialize

    with np.load(samples) as arrays:
        batches = [dict(arrays)]
    full = serialize(read_model(graph))
    with_ranges, of_samples = measure_with_ranges(full, batches), measure_largest(full, batches)
    files = {}
    for piece, replaced in PIECES.items():
        model = read_model(graph)
        with ExitStack() as stack:
            for place, instead in replaced.items():
                stack.enter_context(mock.patch(f"trtqat.graph.half.{place}", instead))
            derive_half(model, of_samples if piece == TRAINED_RANGES else with_ranges)
        files[piece] = folder / f"without {piece}.onnx"
        ir.save(model, str(files[piece]))
    return files


def _way(name: str) -> Convert:
    if name in AUTOCAST:
        return _autocast(AUTOCAST[name])
    return _convert_to_f16() if name == CONVERT_TO_F16 else _ours()


def _ours() -> Convert:
    import numpy as np
    import onnx_ir as ir

    from trtqat.exporting.verification.ranges import measure_with_ranges
    from trtqat.graph.half.derive import derive_half
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import serialize

    def convert(graph: Path, samples: Path, half: Path) -> dict[str, Any]:
        model = read_model(graph)
        with np.load(samples) as arrays:
            report = derive_half(model, measure_with_ranges(serialize(model), [dict(arrays)]))
        ir.save(model, str(half))
        return {"kept": {each.name: each.reason for each in report.kept}}

    return convert


def _autocast(options: dict[str, Any]) -> Convert:
    import onnx
    from modelopt.onnx.autocast.convert import (  # type: ignore[import-untyped,unused-ignore]
        convert_to_mixed_precision,
    )

    def convert(graph: Path, samples: Path, half: Path) -> dict[str, Any]:
        made = convert_to_mixed_precision(
            str(graph), keep_io_types=True, calibration_data=str(samples), **options
        )
        onnx.save(made, str(half))
        return {}

    return convert


def _convert_to_f16() -> Convert:
    import onnx
    from modelopt.onnx.autocast.convert import (  # type: ignore[import-untyped,unused-ignore]
        convert_to_f16,
    )

    def convert(graph: Path, samples: Path, half: Path) -> dict[str, Any]:
        del samples  # It measures nothing.
        onnx.save(convert_to_f16(onnx.load(graph), keep_io_types=True), str(half))
        return {}

    return convert


if __name__ == "__main__":
    main()
