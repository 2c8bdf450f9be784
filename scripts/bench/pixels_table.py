"""What ``pixels.py`` prints: the layers that bytes cost, and what they cost on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from string import ascii_uppercase
from typing import Any

NONE = "-"


def layers_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The layers before the first convolution of each plan of TensorRT for RTX, as Markdown.

    Args:
        results: By graph: ``rtx`` with ``layers`` and ``first``, or ``refused``.
    """
    lines = [["graph", "layers", "before the first convolution"], ["---", "---:", "---"]]
    for name, result in results.items():
        found = result["rtx"]
        if found.get("refused"):
            lines.append([name, NONE, f"refused: {found['refused']}"])
        else:
            first = ", ".join(f"`{each}`" for each in found["first"])
            lines.append([name, str(found["layers"]), first])
    return _markdown(lines)


def measured_table(results: Mapping[str, Mapping[str, Any]], batch_size: int) -> str:
    """GPU time, request and images a second of each graph, beside floats and codes, as Markdown.

    Graphs with the same letter have the same outputs of the same images. What was measured in turns
    is the median of them.

    Args:
        results: By graph; ``floats`` and ``codes`` are what the others stand beside.
        batch_size: Images a query.
    """
    floats_ms = results.get("floats", {}).get("compute_ms")
    codes_ms = _median(results.get("codes", {}), "request_ms")
    codes_rate = _best(results.get("codes", {}))
    heads = ["graph", "GPU ms", "of floats", "request ms", "of codes", "H2D ms", "MB"]
    heads += ["images/s in flight", "of codes", "outputs"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    letters = iter(ascii_uppercase)
    letter_of: dict[str | None, str] = {None: NONE}
    for name, result in results.items():
        if "refused" in result:
            lines.append([name, f"refused: {result['refused']}", *[NONE] * (len(heads) - 2)])
            continue
        rate, request_ms = _best(result), _median(result, "request_ms")
        outputs = result.get("outputs")
        if outputs not in letter_of:
            letter_of[outputs] = next(letters, "other")
        lines.append(
            [
                name,
                f"{result['compute_ms']:.4f}",
                _ratio(result["compute_ms"], floats_ms),
                _ms(request_ms),
                _ratio(codes_ms, request_ms),
                _ms(_median(result, "h2d_ms")),
                f"{result['input_bytes'] / 1e6:.1f}",
                NONE if rate is None else f"{rate:,.0f}",
                _ratio(rate, codes_rate),
                letter_of[outputs],
            ]
        )
    return f"Batch {batch_size}.\n\n{_markdown(lines)}"


def _best(result: Mapping[str, Any]) -> float | None:
    """The most images a second by number of queries in flight, of each the median of its turns."""
    by_count: dict[str | int, list[float]] = {}
    for turn in result.get("throughput", []):
        for count, each in turn["in_flight"].items():
            by_count.setdefault(count, []).append(each["images_per_second"])
    return max(map(median, by_count.values()), default=None)


def _median(result: Mapping[str, Any], figure: str) -> float | None:
    """Of a figure of one query at a time, over all turns."""
    found = [turn[figure] for turn in result.get("throughput", []) if turn[figure] is not None]
    return median(found) if found else None


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _ratio(value: float | None, other: float | None) -> str:
    return NONE if not value or not other else f"{value / other:.3f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
