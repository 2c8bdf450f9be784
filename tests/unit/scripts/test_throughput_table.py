"""scripts.bench.throughput_table: who stands beside whom."""

from __future__ import annotations

from typing import Any

from scripts.bench.throughput_table import NONE, table_of


def result(polygraphy: float, rates: dict[int, float], **more: Any) -> dict[str, Any]:
    return {
        "quiet": {"images_per_second": 40_000.0},
        "polygraphy": {"images_per_second": polygraphy},
        "throughput": {
            "in_flight": {count: {"images_per_second": rate} for count, rate in rates.items()},
            "in_flight_on_own_streams": {
                count: {"images_per_second": rate / 2} for count, rate in rates.items()
            },
        },
        **more,
    }


FLOATS = result(8_000.0, {1: 10_000.0, 6: 36_000.0})
CODES = result(
    16_000.0,
    {1: 20_000.0, 6: 40_000.0},
    quantizer="ONNX Runtime",
    in_flight_from_floats={6: {"images_per_second": 38_000.0}},
)


def rows(results: dict[str, Any]) -> list[list[str]]:
    lines = table_of(results).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_floats_stand_beside_polygraphy_from_floats() -> None:
    head, _, floats, apart, codes, _, from_floats = rows({"r": FLOATS, "r-codes": CODES})
    assert head[1:4] == ["Polygraphy", "1 in flight", "6 in flight"]
    assert floats == ["r, from floats", "8,000", "10,000", "36,000", "40,000", "90.0 %", "4.50"]
    assert apart[0] == "r, from floats, a stream each"
    assert apart[2:4] == ["5,000", "18,000"]
    assert codes[0] == "r-codes, from codes"
    assert codes[1:] == ["16,000", "20,000", "40,000", "40,000", "100.0 %", "2.50"]
    assert from_floats[0] == "r-codes, from floats by ONNX Runtime"
    assert from_floats[1:] == ["8,000", NONE, "38,000", "40,000", "95.0 %", "4.75"]


def test_without_an_engine_that_takes_floats() -> None:
    *_, from_floats = rows({"r-codes": CODES})
    assert from_floats[1] == from_floats[-1] == NONE
