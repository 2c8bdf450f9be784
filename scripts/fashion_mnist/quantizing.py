"""The stages without training: PTQ by each method, and PTQ with an accuracy target.

Ranges are chosen on plain training images, without crops or mirroring. None of them is one of the
held-out images, on which the target is judged. The FP32 model was trained on those as well, so its
accuracy there is higher than on test images, and the drop only a guess of the drop there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scripts.fashion_mnist.stages import Outcome, Stage, Work, products
from scripts.fitting import Images
from trtqat.data.batches import Batch
from trtqat.quant.quantize import METHODS, Quantized, quantize
from trtqat.search.accuracy_target import find_within_target
from trtqat.search.counting import LabelledSamples
from trtqat.search.sensitivity import LayerSensitivity, measure_sensitivity

SENSITIVITY_IMAGES = 128
INPUT = "images"


class HeldOut:
    """The last training images, as a data set of the package.

    Attributes:
        name: For messages.
    """

    name = "held-out training images"

    def __init__(self, images: Images, count: int) -> None:
        self._pixels, self._labels = images.pixels[-count:], images.labels[-count:]
        self._as_input = images.as_input

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, start: int, stop: int) -> Batch:
        """Images from 0 to 1 of shape ``(B, 1, 28, 28)`` with their labels."""
        pixels = self._as_input(self._pixels[start:stop]).cpu().numpy()
        labels = self._labels[start:stop].cpu().numpy().astype(np.int64)
        return Batch({INPUT: pixels}, labels)


def held_out(work: Work) -> int:
    """How many training images choose no range."""
    return min(work.choices.held_out, len(work.train) // 4)


def calibration_batches(work: Work) -> list[torch.Tensor]:
    """Plain training images, float32 ``(N, 1, 28, 28)`` on the device, drawn by the seed."""
    generator = torch.Generator().manual_seed(work.seed)
    order = torch.randperm(len(work.train) - held_out(work), generator=generator)
    chosen = order[: work.choices.calibration_images].to(work.device)
    pixels = work.train.pixels[chosen]
    return [
        work.train.as_input(each) for each in torch.split(pixels, min(64, work.choices.batch_size))
    ]


def quantize_by(method: str) -> Stage:
    """PTQ by a method: the stage ``ptq-METHOD``."""

    def run(work: Work) -> Outcome:
        quantized = _quantized(work, method)
        worst = quantized.ranges[0]
        figures = {
            "layers": len(quantized.layers),
            "layers_int8": sum(not layer.kept for layer in quantized.layers),
            "int8_share": quantized.int8_share,
            "quantizers": len(quantized.ranges),
            "worst_quantizer": worst.name,
            "worst_sqnr_db": worst.sqnr_db,
        }
        # QAT begins with one of them alone.
        model = quantized.model if method == "auto" else None
        return Outcome(work.answers(quantized.model), figures, model)

    return Stage(f"ptq-{method}", run, lambda work: _settings(work, method), is_seeded=False)


def hold_target(work: Work) -> Outcome:
    """PTQ in which the fewest MACs stay float so that the held-out images lose little."""
    quantized = _quantized(work, "auto")
    samples = LabelledSamples(HeldOut(work.train, held_out(work)), [INPUT], work.choices.batch_size)

    def ranking() -> tuple[LayerSensitivity, ...]:
        few = torch.cat(calibration_batches(work))[:SENSITIVITY_IMAGES]
        return measure_sensitivity(quantized, [(few,)])

    with products(tf32=False):
        found, ladder = find_within_target(quantized, samples, work.choices.max_drop, ranking)
    chosen = found or quantized
    rung = ladder.chosen or min(ladder.rungs, key=lambda each: each.drop_points)
    figures = {
        "is_reached": found is not None,
        "kept": list(rung.kept),
        "int8_share": chosen.int8_share,
        "rungs": len(ladder.rungs),
        "held_out_drop_points": rung.drop_points,
        "held_out_drop_of_all_int8": ladder.rungs[0].drop_points,
        "held_out_fp32_right": ladder.fp32_right,
        "held_out_images": ladder.count,
    }
    return Outcome(work.answers(chosen.model), figures, chosen.model)


def _quantized(work: Work, method: str) -> Quantized:
    with products(tf32=False):
        return quantize(
            work.trained("fp32"),
            calibration_batches(work),
            method=method,  # type: ignore[arg-type]
        )


def _settings(work: Work, method: str) -> dict[str, Any]:
    return {
        "method": method,
        "calibration_images": work.choices.calibration_images,
        "held_out": held_out(work),
        "seed": work.seed,
    }


def _target_settings(work: Work) -> dict[str, Any]:
    return {
        **_settings(work, "auto"),
        "max_drop": work.choices.max_drop,
        "sensitivity_images": SENSITIVITY_IMAGES,
    }


PTQ = tuple(quantize_by(method) for method in METHODS)
TARGET = Stage("ptq-target", hold_target, _target_settings, is_seeded=False)
