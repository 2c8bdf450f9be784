"""An evaluation by metrics in which nothing is timed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.measured import NumpyModel, Samples, make_samples
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.report import Report
from trtqat.tensors import Array

X, CLASSES = make_samples(50, seed=3)
WISHED = Samples(X, X * 2)
# Nothing is timed.
OPTIONS = EvaluateOptions(8, None)


def doubled(x: Array) -> Array:
    """What is wished, but for a hundredth."""
    return np.asarray(x * 2.02)


def noisy(x: Array) -> Array:
    """What is wished, and a wave on it."""
    return np.asarray(x * 2 + 0.1 * np.sin(40 * x))


def measured(
    *, data: Any = WISHED, baseline: Any = None, options: EvaluateOptions = OPTIONS, **fields: Any
) -> Report:
    """The report on the noisy model."""
    return evaluate(NumpyModel(noisy), data, options, baseline=baseline, **fields)
