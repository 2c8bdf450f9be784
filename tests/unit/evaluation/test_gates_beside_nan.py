"""A gate fails beside a baseline of NaN where it may go by the output that is NaN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.measured import NumpyModel, Samples
from trtqat.evaluation.contenders import Lineup
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.gates import failed_gates
from trtqat.evaluation.metrics.asked import AskedMetrics, ask_metrics
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.timing import LatencyOptions

X = np.random.default_rng(0).standard_normal((20, 7)).astype(np.float32)
OPTIONS = EvaluateOptions(batch_size=4, latency=LatencyOptions(duration_s=0))


@pytest.fixture(scope="module")
def lineup() -> Lineup:
    """The baseline's output ``aux`` is NaN for every image."""
    found = evaluate(NumpyModel(), Samples(X, X.argmax(1)), OPTIONS, baseline=NumpyModel())
    return replace(
        found,
        contenders=tuple(
            replace(each, nan_outputs=("aux",)) if each.role == "baseline" else each
            for each in found.contenders
        ),
    )


@pytest.mark.parametrize("label", ["miou@aux", "metric.py:own"])
def test_a_metric_that_may_read_the_output(lineup: Lineup, label: str) -> None:
    is_own = label.startswith("metric.py")
    asked = AskedMetrics((), {label: 1}) if is_own else ask_metrics((), {label: 1})
    first, *_ = failed_gates(OPTIONS, lineup, ["logits", "aux"], asked)
    assert first.startswith("The output 'aux' of 'numpy")
    assert first.endswith(f"is NaN for every image, so nobody knows how the {label} changed.")


def test_what_goes_by_another_output_says_nothing_of_it(lineup: Lineup) -> None:
    top1 = replace(OPTIONS, max_accuracy_drop=1)
    assert failed_gates(top1, lineup, ["logits", "aux"]) == ()
    for asked in (
        ask_metrics((), {"miou@logits": 1}),
        ask_metrics((), {"top1": 1}),
        ask_metrics((), {"miou": 1}),
    ):
        (sentence,) = failed_gates(OPTIONS, lineup, ["logits", "aux"], asked)
        assert "is NaN" not in sentence
