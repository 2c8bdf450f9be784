"""scripts.bench.pixels_table: what is said of graphs from bytes, beside floats and codes."""

from __future__ import annotations

from typing import Any

from scripts.bench.pixels_table import NONE, layers_table, measured_table


def measured(compute_ms: float, *rates: float, megabytes: float) -> dict[str, Any]:
    return {
        "rtx": {"layers": 7, "first": ["CastMul", "Tran"]},
        "compute_ms": compute_ms,
        "input_bytes": megabytes * 1e6,
        "throughput": [turn(slower, *rates) for slower in (1.25, 1.0, 2.0)],
    }


def turn(slower: float, *rates: float) -> dict[str, Any]:
    """One of three, whose medians are ``rates``, and a request of 1.5 ms."""
    return {
        "request_ms": 1.2 * slower,
        "h2d_ms": 0.2 * slower,
        "in_flight": {n: {"images_per_second": 1.25 * r / slower} for n, r in enumerate(rates)},
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
    assert floats[:7] == ["floats", "0.8000", "1.000", "1.500", "1.000", "0.250", "19.3"]
    assert floats[7:] == ["40,000", "0.800", NONE]
    assert codes[-3:] == ["50,000", "1.000", NONE]
    assert affine[:5] == ["nhwc-affine-first", "0.8240", "1.030", "1.500", "1.000"]
    assert affine[5:7] == ["0.250", "4.8"]
    assert affine[7:] == ["48,500", "0.970", NONE]
    assert refused[1:3] == ["refused: no kernel", NONE]


def test_graphs_with_the_same_outputs_have_the_same_letter() -> None:
    codes = RESULTS["codes"]
    rows = {name: {**codes, "outputs": digest} for name, digest in zip("wxyz", "abab", strict=True)}
    found = cells(measured_table({**rows, "codes": codes}, 1))
    assert [row[-1] for row in found[2:]] == ["A", "B", "A", "B", NONE]


def test_without_the_others_there_are_no_ratios() -> None:
    *_, row = cells(measured_table({"x": RESULTS["codes"]}, 1))
    _, _, of_floats, _, request_of_codes, *_, of_codes, _ = row
    assert of_floats == request_of_codes == of_codes == NONE


def test_a_turn_does_not_decide_alone() -> None:
    """Each number of queries is the fastest in one turn of three."""
    rates = [(9.0, 1.0, 4.0), (2.0, 9.0, 5.0), (1.0, 2.0, 9.0)]
    codes = {**RESULTS["codes"], "throughput": [turn(1.25, *each) for each in rates]}
    *_, row = cells(measured_table({"codes": codes}, 1))
    assert row[-3] == "5"


def test_layers() -> None:
    _, _, floats, _, _, refused = cells(layers_table(RESULTS))
    assert floats == ["floats", "7", "`CastMul`, `Tran`"]
    assert refused == ["nhwc-affine-last", NONE, "refused: no Transpose"]


def test_without_queries_in_flight_there_is_the_gpu_time() -> None:
    alone = {"compute_ms": 0.7, "input_bytes": 4.8e6}
    *_, row = cells(measured_table({"floats": alone}, 1))
    assert row == ["floats", "0.7000", "1.000", *[NONE] * 3, "4.8", *[NONE] * 3]
