"""Which layers cost most: the model's outputs with one layer quantized at a time.

1. The reference is the same model with no quantizer at work, so it is the FP32 model.
2. One layer quantizes its operands, all others compute in floating point. The difference of the
   outputs is that layer's noise. No labels are needed.
3. A model with several outputs is as far off as the worst of them.
4. What is quantized between the layers, as an operand of a sum, belongs to none of them.

The noise of one layer alone adds up, nearly, to that of all of them. So it also says what keeping
the layer in floating point would gain. The README has how this ranking does beside its reverse,
all layers quantized but one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtqat.errors import DataError
from trtqat.numerics import Noise, signal_and_error, worst_db
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.placing.placed import only_calls
from trtqat.quant.placing.placement import Layer
from trtqat.quant.quantize import Quantized
from trtqat.search.running import Announce, Batch, Cost, Progress, outputs_of
from trtqat.search.saved_search import SavedSearch
from trtqat.tensors import Array
from trtqat.typed_json import Unbounded

TASK = "sensitivity"


@dataclass(frozen=True)
class LayerSensitivity:
    """What the outputs lose when one layer alone is quantized.

    Attributes:
        layer: Its dotted name.
        macs: Multiply-accumulates for one sample.
        share: Of all MACs of the model, 0 to 1.
        sqnr_db: SQNR of the worst output against the FP32 model, in dB; infinite where no bit
            differs, NaN where an output is not finite.
        output: The name of that output.
    """

    layer: str
    macs: float
    share: float
    sqnr_db: Unbounded
    output: str

    @property
    def noise(self) -> float:
        """Power of the noise, that of the signal being 1; infinite for NaN."""
        return 10 ** (-worst_db([self.sqnr_db]) / 10)


def measure_sensitivity(
    quantized: Quantized,
    batches: Sequence[Batch],
    *,
    announce: Announce | None = None,
    progress: Progress | None = None,
    saved: SavedSearch | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Measures every quantized layer; one more run than layers, over all images.

    Args:
        quantized: From ``trtqat.quantize``; not changed.
        batches: Samples, best those that it was calibrated on, or some of them.
        announce: Called once, after the first batch, with what it will take.
        progress: Called after every batch of every layer, with forwards done and their total.
        saved: Where it is written down after every layer, and gone on from.

    Returns:
        The quantized layers, the worst first.

    Raises:
        DataError: There is no batch.
        UsageError: The state cannot be written.
    """
    if not batches:
        raise DataError("There is no sample to measure sensitivity on.", "Give at least one.")
    layers = [each for each in quantized.layers if not each.kept]
    sums = _Sums(layers, saved or SavedSearch())
    images = sum(len(batch[0]) for batch in batches)
    total = images * (len(layers) + 1)
    done = sums.forwards_done(batches)
    with buffers_kept(quantized.model):
        for number, batch in enumerate(batches):
            if number < sums.batch:
                continue
            began = time.monotonic()
            with only_calls(quantized.model, ()):
                reference = _compared(outputs_of(quantized.model, batch))
            if announce is not None:
                left = (total - done) / len(batch[0])
                announce(Cost(TASK, len(layers) + 1, images, (time.monotonic() - began) * left))
                announce = None
            done += len(batch[0])
            for layer in layers[sums.layer :]:
                with only_calls(quantized.model, {(layer.path, layer.call)}):
                    sums.add(reference, outputs_of(quantized.model, batch))
                done += len(batch[0])
                if progress is not None:
                    progress(TASK, done, total)
            sums.next_batch()
    return sums.result(sum(layer.macs for layer in quantized.layers))


def _compared(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of real numbers, or all of them where there is none."""
    real = {name: each for name, each in outputs.items() if each.dtype.kind == "f"}
    return real or dict(outputs)


class _Sums:
    """Signal and noise of every output, layer by layer, as far as they are summed.

    Attributes:
        batch: The number of the batch that is being summed.
        layer: The number of the next layer, in that batch.
    """

    def __init__(self, layers: Sequence[Layer], saved: SavedSearch) -> None:
        self._layers = layers
        self._saved = saved
        state = saved.part(TASK)
        self.batch: int = state.get("batch", 0)
        self.layer: int = state.get("layer", 0)
        self._noises = [
            {name: Noise(*fields) for name, fields in each.items()}
            for each in state.get("noises", [{} for _ in layers])
        ]

    def forwards_done(self, batches: Sequence[Batch]) -> int:
        """How many images have gone through the model so far."""
        whole = sum(len(each[0]) for each in batches[: self.batch]) * (len(self._layers) + 1)
        # The reference of a batch that was not finished is computed once more.
        return whole + (self.layer * len(batches[self.batch][0]) if self.layer else 0)

    def add(self, reference: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Adds what the next layer makes of the batch."""
        noises = self._noises[self.layer]
        for name, expected in reference.items():
            signal, error = signal_and_error(expected, outputs[name])
            noises.setdefault(name, Noise()).add(signal, error)
        self.layer += 1
        self._write()

    def next_batch(self) -> None:
        """The batch has been through all layers."""
        self.batch, self.layer = self.batch + 1, 0
        self._write()

    def _write(self) -> None:
        state: dict[str, Any] = {
            "batch": self.batch,
            "layer": self.layer,
            "noises": [
                {name: [each.signal, each.noise, each.count] for name, each in noises.items()}
                for noises in self._noises
            ],
        }
        self._saved.write(TASK, state)

    def result(self, total_macs: float) -> tuple[LayerSensitivity, ...]:
        """Every layer, the worst first; the same ones stay in the order of the run."""
        found = []
        for layer, noises in zip(self._layers, self._noises, strict=True):
            output = min(noises, key=lambda name: worst_db([noises[name].sqnr_db]))
            share = layer.macs / total_macs if total_macs else 0.0
            sqnr_db = noises[output].sqnr_db
            found.append(LayerSensitivity(layer.name, layer.macs, share, sqnr_db, output))
        return tuple(sorted(found, key=lambda each: worst_db([each.sqnr_db])))
