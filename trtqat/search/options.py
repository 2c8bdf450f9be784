"""The options of ``trtqat.quantize_source``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trtqat.checks import check_choice, check_kind, check_least, check_names
from trtqat.errors import UsageError
from trtqat.evaluation.metrics.metric import Metric
from trtqat.quant.placing.placement import Target
from trtqat.quant.quantize import METHODS, TARGETS
from trtqat.quant.ranges.activation_ranges import ActivationMethod
from trtqat.tensors import TensorSpec, parse_tensor_spec


@dataclass(frozen=True)
class QuantizeOptions:
    """How a source is quantized; ``trtqat.quantize_source`` says what each option is."""

    data: str
    inputs: Sequence[str | TensorSpec] = ()
    images: int = 512
    method: ActivationMethod = "auto"
    keep: Sequence[str] = ()
    for_: Target | None = None
    eval_data: str | None = None
    metric: str | Metric | None = None
    max_accuracy_drop: float | None = None
    sensitivity: bool = False
    sensitivity_images: int = 64
    batch_size: int = 32
    device: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("The data", self.data, str, "'npz:train.npz'")
        check_choice("method", self.method, METHODS)
        check_names("keep", self.keep, "keep=['fc', 'layer1.*']")
        if self.for_ is not None:
            check_choice("for_", self.for_, TARGETS)
        for name in ("images", "sensitivity_images", "batch_size"):
            check_kind(name, getattr(self, name), int, "64")
            check_least(name, getattr(self, name), 1)
        check_kind("seed", self.seed, int, "0")
        check_least("seed", self.seed, 0)
        check_kind("sensitivity", self.sensitivity, bool, "True")
        if self.device is not None:
            check_choice("device", self.device, ("cpu", "cuda"))
        self._check_target()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """What the user says of the inputs.

        Raises:
            UsageError: A text is no specification.
        """
        return tuple(
            parse_tensor_spec(each) if isinstance(each, str) else each for each in self.inputs
        )

    def _check_target(self) -> None:
        if self.eval_data is not None:
            check_kind("The evaluation data", self.eval_data, str, "'npz:val.npz'")
        if self.metric is not None:
            check_kind("metric", self.metric, (str, Metric), "'miou:classes=5'")
        if self.max_accuracy_drop is None:
            if self.metric is not None:
                raise UsageError(
                    "A metric belongs to an accuracy target.",
                    "Give --max-accuracy-drop as well: how much worse it may be, in its own unit.",
                )
            if self.eval_data is not None:
                raise UsageError(
                    "Evaluation data belongs to an accuracy target.",
                    "Give --max-accuracy-drop as well, or evaluate the engine with trtqat eval.",
                )
            return
        check_kind("max_accuracy_drop", self.max_accuracy_drop, (int, float), "0.5")
        if not math.isfinite(self.max_accuracy_drop):
            raise UsageError(
                f"max_accuracy_drop is {self.max_accuracy_drop}.", "Give percentage points, as 0.5."
            )
        check_least("max_accuracy_drop", self.max_accuracy_drop, 0)
        if self.eval_data is None:
            raise UsageError(
                "An accuracy target needs labelled data to count on.",
                "Give --eval-data npz:val.npz, or leave out --max-accuracy-drop.",
            )
