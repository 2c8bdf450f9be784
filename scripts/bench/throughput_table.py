"""What ``throughput.py`` prints: GPU compute times in words, images a second as a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

NONE = "-"


def lines_of(name: str, result: Mapping[str, Any]) -> str:
    """The GPU compute times of one engine, in words.

    Args:
        name: Of the engine.
        result: What was measured.
    """
    lines = [
        f"{name}: GPU compute time {result['quiet']['median_ms']:.4f} ms in a quiet process; "
        f"beside PyTorch's timing {result['independent']['median_ms']}, difference "
        f"{result['independent']['difference_percent']:+.2f} %; repeats in a process of more "
        f"sessions {statistics.median(result['repeated']['medians_ms']):.4f} ms, within "
        f"{result['repeated']['spread_percent']:.2f} %"
    ]
    if beside := result.get("trtexec"):
        lines.append(
            f"  trtexec of TensorRT {beside['version'] or 'unknown'}: "
            f"{statistics.median(beside['trtexec_ms']):.4f} ms; ours "
            f"{beside['difference_percent']:+.2f} % in a quiet process, "
            f"{beside['busy_difference_percent']:+.2f} % in one of more sessions"
        )
    return "\n".join(lines)


def table_of(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Images a second of each engine as a table in Markdown.

    What is given floats stands beside Polygraphy from floats: that of the first engine that takes
    them. What is given codes stands beside Polygraphy on the same engine.

    Args:
        results: What was measured, by engine; of one that takes codes also from floats.
    """
    rows = list(_rows(results))
    counts = sorted({count for _, rates, _, _ in rows for count in rates})
    heads = ["engine, from", "Polygraphy", *(f"{count} in flight" for count in counts)]
    heads += ["GPU alone, quiet", "best of it", "times Polygraphy"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, rates, polygraphy, alone in rows:
        best = max(rates.values())
        lines.append(
            [
                name,
                _number(polygraphy),
                *(_number(rates.get(count)) for count in counts),
                _number(alone),
                f"{100 * best / alone:.1f} %",
                f"{best / polygraphy:.2f}" if polygraphy else NONE,
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# Name, images/s by queries in flight, Polygraphy's or None, the GPU's alone.
_Row = tuple[str, dict[int, float], float | None, float]


def _rows(results: Mapping[str, Mapping[str, Any]]) -> Iterator[_Row]:
    from_floats = next(
        (_polygraphy(each) for each in results.values() if "quantizer" not in each), None
    )
    for name, result in results.items():
        measured = result["throughput"]
        alone = result["quiet"]["images_per_second"]
        what = "codes" if "quantizer" in result else "floats"
        own = _polygraphy(result)
        yield f"{name}, from {what}", _rates(measured["in_flight"]), own, alone
        apart = _rates(measured["in_flight_on_own_streams"])
        yield f"{name}, from {what}, a stream each", apart, own, alone
        if "quantizer" in result:
            rates = _rates(result["in_flight_from_floats"])
            yield f"{name}, from floats by {result['quantizer']}", rates, from_floats, alone


def _polygraphy(result: Mapping[str, Any]) -> float:
    return float(result["polygraphy"]["images_per_second"])


def _rates(in_flight: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    return {count: each["images_per_second"] for count, each in in_flight.items()}


def _number(rate: float | None) -> str:
    return NONE if rate is None else f"{rate:,.0f}"
