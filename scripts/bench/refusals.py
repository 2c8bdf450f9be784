"""Which ends of a detector TensorRT refuses to build behind quantized convolutions.

8.6.0 did not build the detector of ``scripts/tasks`` in two earlier forms ("chooseHigherPrecision",
"binaryExprCount"), and its message names no layer. So each thing that stood in them stands here
alone, behind the same two small heads; before them the heads with nothing behind, after them the
whole ends as they were and as they are. Each is built in a process of its own, which may crash.
Needs a GPU and TensorRT, or neither with ``--for rtx``; prints a table and writes one JSON file.

    python -m scripts.bench.refusals --output runs/refusals.json \
        [--tactic-sources=-cublas,-cublas-lt,-cudnn] [--only "equal and where"]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import embedding, max_pool2d

import trtqat
from scripts.bench.record import describe_run
from scripts.models.untrained import with_statistics
from scripts.tasks.detection import BOXES, Detector, Heads
from scripts.tasks.shapes import KINDS, SIZE
from trtqat.building.apart import build_plan_apart
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import BuildError
from trtqat.plan.header import LIBRARY_NAMES
from trtqat.plan.manifest import read_manifest

Tensor = torch.Tensor
End = Callable[[Tensor, Tensor], "Tensor | tuple[Tensor, ...] | dict[str, Tensor]"]

INPUT = f"images:1x3x{SIZE}x{SIZE}"
_CELLS, _STRIDE = 16, 4
_CENTRES = torch.rand(4, _CELLS, _CELLS, generator=torch.Generator().manual_seed(0)) * _CELLS
_TABLE = _CENTRES.flatten(1).t().contiguous()
_SIGNS = torch.tensor([-1.0, -1.0, 1.0, 1.0]).reshape(4, 1, 1)


@dataclass(frozen=True)
class Row:
    """What became of one graph.

    Attributes:
        name: What stands in it.
        is_built: Whether there is a plan.
        message: Why not, in TensorRT's words; empty if there is one.
        builder: Which TensorRT built it; empty if it did not.
        seconds: How long that took.
    """

    name: str
    is_built: bool
    message: str
    builder: str
    seconds: float


class Small(nn.Module):
    """Two heads that read one quantized tensor, as a detector's do, and an end behind them."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        )
        self.heat = nn.Conv2d(32, len(KINDS), 1)
        self.sides = nn.Conv2d(32, 4, 1)
        self.end = end

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """``(N, 3, 64, 64)`` → what the end makes of ``(N, 4, 16, 16)`` twice."""
        x = self.body(images)
        return self.end(self.heat(x), self.sides(x))


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    return logits.flatten(1).topk(BOXES, dim=1)


def _best_cells(logits: Tensor) -> Tensor:
    """Of each class ``(N, 4, 16)``, which nothing needs to divide."""
    return logits.flatten(2).topk(BOXES, dim=2)[1]


def _equal_and_where(heat: Tensor) -> Tensor:
    return torch.where(max_pool2d(heat, 3, 1, 1) == heat, heat, torch.zeros_like(heat))


def _sign(heat: Tensor) -> Tensor:
    return torch.relu(heat - torch.sign(max_pool2d(heat, 3, 1, 1) - heat))


def _gathered(logits: Tensor, sides: Tensor) -> Tensor:
    return sides.flatten(2).gather(2, _best_cells(logits))


def _expanded(logits: Tensor, sides: Tensor) -> Tensor:
    index = _best(logits[:, 0])[1].unsqueeze(1).expand(-1, 4, -1)
    return sides.flatten(2).gather(2, index).transpose(1, 2)


def _first(logits: Tensor, sides: Tensor) -> tuple[Tensor, ...]:
    """As 286d4f6 had it: all boxes, and then the best."""
    scores, where = _best(_equal_and_where(logits.sigmoid()))
    corners = _STRIDE * (_CENTRES + _SIGNS * sides)
    index = (where % _CELLS**2).unsqueeze(1).expand(-1, 4, -1)
    return corners.flatten(2).gather(2, index).transpose(1, 2), scores, where // _CELLS**2


def _second(logits: Tensor, sides: Tensor) -> tuple[Tensor, ...]:
    """As 210ee80 had it: the best, and then their boxes."""
    scores, where = _best(_equal_and_where(logits.sigmoid()))
    at = where % _CELLS**2
    chosen = sides.flatten(2).gather(2, at.unsqueeze(1).expand(-1, 4, -1)).transpose(1, 2)
    boxes = _STRIDE * (_TABLE[at] + _SIGNS.flatten() * chosen)
    return boxes, scores, where // _CELLS**2


ENDS: dict[str, End] = {
    "nothing": lambda logits, sides: (logits, sides),
    "sigmoid": lambda logits, sides: (logits.sigmoid(), sides),
    "topk": lambda logits, sides: (*_best(logits), sides),
    "integer division": lambda logits, sides: (_best(logits)[1] // _CELLS**2, sides),
    "integer remainder": lambda logits, sides: (_best(logits)[1] % _CELLS**2, sides),
    "constant * x": lambda logits, sides: (logits, _SIGNS * sides),
    "constant + x": lambda logits, sides: (logits, _CENTRES + sides),
    "constant + constant * x": lambda logits, sides: (logits, _CENTRES + _SIGNS * sides),
    "constant * (constant + x)": lambda logits, sides: (logits, _STRIDE * (_CENTRES + sides)),
    "equal and where": lambda logits, sides: (_equal_and_where(logits.sigmoid()), sides),
    "sign": lambda logits, sides: (_sign(logits.sigmoid()), sides),
    "gathered": _gathered,
    "gathered, index expanded": _expanded,
    "constant * gathered": lambda logits, sides: _SIGNS.flatten() * _expanded(logits, sides),
    "constant by GatherND": lambda logits, sides: (_TABLE[_best_cells(logits)], sides),
    "constant by Gather": lambda logits, sides: (embedding(_best_cells(logits), _TABLE), sides),
    "topk of topk": lambda logits, sides: (
        *_best(logits.flatten(2).topk(BOXES, dim=2)[0]),
        sides,
    ),
    "first end": _first,
    "second end": _second,
    "second end, float heads": _second,
    "end of today": Detector().decode,
}
# Heads that stay in floating point, so that no quantized layer stands right before the end.
_KEPT = {"second end, float heads": ("heat", "sides")}
# Without the small heads: the whole detector, and what of it comes before the end.
WHOLE: dict[str, Callable[[], nn.Module]] = {"heads of the task": Heads, "the task": Detector}


def main() -> None:
    """Builds each, prints a line for it at once, and writes the file."""
    arguments = _parse()
    warnings.simplefilter("ignore")
    rows = []
    width = max(map(len, [*ENDS, *WHOLE]))
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "m.onnx"
        options = BuildOptions(
            profile=ProfileOptions(batch=(1, 4, 4)),
            tactic_sources=arguments.tactic_sources,
            for_=arguments.for_,
        )
        for name in arguments.only:
            write_graph(name, graph)
            row = _built(name, graph, options)
            rows.append(row)
            print(f"{name:{width}}  {row.message or 'built'}", flush=True)
    record = {
        **describe_run("refusals"),
        "builder": next((row.builder for row in rows if row.builder), ""),
        "refused": [row.name for row in rows if not row.is_built],
        "rows": [asdict(row) for row in rows],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def write_graph(name: str, path: Path) -> None:
    """Exports a model with one of these ends, untrained and quantized.

    Args:
        name: Of ``ENDS`` or ``WHOLE``.
        path: The ONNX file.
    """
    torch.manual_seed(0)
    images = [torch.rand(8, 3, SIZE, SIZE)]
    model = WHOLE[name]() if name in WHOLE else Small(ENDS[name])
    model = with_statistics(model, images)
    quantized = trtqat.quantize(model, images, keep=_KEPT.get(name, ()), for_="8.6")
    trtqat.export(quantized.model, path, inputs=[INPUT])


def _built(name: str, graph: Path, options: BuildOptions) -> Row:
    plan = graph.with_suffix(".engine")
    start = time.perf_counter()
    try:
        build_plan_apart(graph, plan, options)
    except BuildError as error:
        return Row(name, False, error.problem, "", round(time.perf_counter() - start, 2))
    manifest = read_manifest(plan)
    assert manifest is not None
    builder = f"{LIBRARY_NAMES[manifest.library]} {manifest.tensorrt}"
    return Row(name, True, "", builder, round(time.perf_counter() - start, 2))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    every = [*ENDS, *WHOLE]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="END")
    parser.add_argument("--tactic-sources", default="")
    parser.add_argument("--for", dest="for_", choices=["8.6", "10", "11", "rtx"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
