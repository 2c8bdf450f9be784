"""The search on regions whose times were measured: both ends of real networks on an H100."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.worlds import World
from trtqat.search.speed.strategy import search

MEASURED = json.loads(
    (Path(__file__).parents[3] / "data/tuned-8.6/regions.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("border_ms", [0.0, 0.004, 0.012])
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_measured_networks_take_few_builds(name: str, border_ms: float) -> None:
    """One region, the pool, is faster in floating point, but for what its borders cost."""
    world = World(**MEASURED[name], border_ms=border_ms)
    found = search(world.regions(), world)
    assert found is not None
    # With the forms and levers of the plan that is handed out, that is twelve at most.
    assert len(world.built) <= 7
    assert found.best.time_ms <= min(world.time_ms(each) for each in world.built)
    assert len(found.best.assignment) == (border_ms == 0)
