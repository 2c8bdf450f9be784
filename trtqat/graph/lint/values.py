"""Rules on the numbers of weights."""

from __future__ import annotations

from trtqat.graph.lenses.finite import weights_not_finite
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Places, rule


@rule(
    "weight-not-finite",
    cost="accuracy",
    remedy="Training has diverged: take a checkpoint from before, and a lower learning rate.",
    example="assert all(p.isfinite().all() for p in model.parameters())",
)
def weight_not_finite(view: GraphView) -> Places:
    """NaN or infinite weights, which make every output NaN."""
    yield from weights_not_finite(view.graph)


RULES = (weight_not_finite,)
