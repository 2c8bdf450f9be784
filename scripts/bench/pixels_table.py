"""What ``pixels.py`` prints: the layers that bytes cost, and what they cost on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    Graphs with the same letter have the same outputs of the same images.

    Args:
        results: By graph; ``floats`` and ``codes`` are what the others stand beside.
        batch_size: Images a query.
    """
    floats_ms = results.get("floats", {}).get("compute_ms")
    codes_rate = _best(results.get("codes", {}))
    heads = ["graph", "GPU ms", "of floats", "request ms", "H2D ms", "MB", "images/s in flight"]
    heads += ["of codes", "outputs"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    letters = iter(ascii_uppercase)
    letter_of: dict[str | None, str] = {None: NONE}
    for name, result in results.items():
        if "refused" in result:
            lines.append([name, f"refused: {result['refused']}", *[NONE] * (len(heads) - 2)])
            continue
        rate, found = _best(result), result.get("throughput", {})
        outputs = result.get("outputs")
        if outputs not in letter_of:
            letter_of[outputs] = next(letters, "other")
        lines.append(
            [
                name,
                f"{result['compute_ms']:.4f}",
                _ratio(result["compute_ms"], floats_ms),
                _ms(found.get("request_ms")),
                _ms(found.get("h2d_ms")),
                f"{result['input_bytes'] / 1e6:.1f}",
                NONE if rate is None else f"{rate:,.0f}",
                _ratio(rate, codes_rate),
                letter_of[outputs],
            ]
        )
    return f"Batch {batch_size}.\n\n{_markdown(lines)}"


def _best(result: Mapping[str, Any]) -> float | None:
    """The most images a second, of all numbers of queries in flight."""
    if "throughput" not in result:
        return None
    in_flight = result["throughput"]["in_flight"].values()
    return max(float(each["images_per_second"]) for each in in_flight)


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _ratio(value: float | None, other: float | None) -> str:
    return NONE if not value or not other else f"{value / other:.3f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
