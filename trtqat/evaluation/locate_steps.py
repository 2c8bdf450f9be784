"""Where the steps to an engine part: every INT8 tensor of fake-quantized model, reference, engine.

Tensors are compared in steps of their quantizer, so that an error reads as codes: one code in a
thousand that is off by one is the rounding of sums in another order, and no more.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trtqat.data.batches import Dataset
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.running import run_all
from trtqat.io_names import IoNames, match_outputs
from trtqat.numerics import Noise, lost_db, signal_and_error
from trtqat.runtime.protocol import Model, ObservableModel
from trtqat.tensors import Array, Arrays
from trtqat.typed_json import Unbounded

if TYPE_CHECKING:
    from trtqat.building.tapped_engine import TappedEngine
    from trtqat.graph.lenses.taps import Tap
    from trtqat.runtime.engine import Engine

# Fields of TensorLoss, in words.
STEPS = {
    "reference": "the ONNX reference against the fake-quantized model",
    "engine": "the engine against the ONNX reference",
}
# All tensors of a batch are kept at once: 350 MB for ResNet-50 in floats.
_BATCH = 8
# No layer is blamed for less: a code in a thousand off by one is 60 dB for codes of 30. Where
# floats have 11 bits, three in a hundred are; an engine may compute in such what is not INT8.
_ROUNDING_DB = 60.0
_HALF_ROUNDING_DB = 45.0


@dataclass(frozen=True)
class StepLoss:
    """How far one tensor is from the same one a step before.

    Attributes:
        sqnr_db: The step before as the signal; infinite if nothing differs.
        lost_db: By how much that is below the worst of the tensors that it is computed from, and
            below what rounding explains (60 dB; of an FP16 graph and of an engine 45): what is lost
            on the way from those. Infinite where numbers become NaN.
        differing: Share of codes that differ, from 0 to 1; None for what was an output before.
        largest: Largest difference in codes; None likewise, and where one is no number.
    """

    sqnr_db: Unbounded
    lost_db: Unbounded
    differing: float | None
    largest: int | None


@dataclass(frozen=True)
class TensorLoss:
    """One INT8 tensor, or output, of the graph.

    Attributes:
        layer: The layer that it comes from; empty for the graph's input.
        tensor: Name of its QuantizeLinear, or of the output.
        reference: The ONNX reference against the fake-quantized PyTorch model.
        engine: The engine against the ONNX reference.
        findings: Identifiers of the lint rules that speak of the layer.
    """

    layer: str
    tensor: str
    reference: StepLoss | None
    engine: StepLoss | None
    findings: tuple[str, ...]

    @property
    def label(self) -> str:
        """The tensor's name without what most of them end with."""
        return self.tensor.removesuffix("/QuantizeLinear")


@dataclass(frozen=True)
class Probe:
    """How far the engine that was looked into is the engine under test.

    Attributes:
        layers: Number of layers of the engine under test, without reformats.
        missing: Those of them that the other one has not, with the same nodes fused.
        same_kernels: How many of the others run the same kernel.
        sqnr_db: Of the output that differs most, the engine under test as the signal.
    """

    layers: int
    missing: tuple[str, ...]
    same_kernels: int
    sqnr_db: Unbounded


@dataclass(frozen=True)
class LocatedInSteps:
    """The steps' tensors.

    Attributes:
        tensors: Every INT8 tensor in the graph's order, and the outputs.
        probe: What the engine's were read from; None if there was no engine.
        from_pytorch: Whether there was a fake-quantized model.
    """

    tensors: tuple[TensorLoss, ...]
    probe: Probe | None
    from_pytorch: bool

    @property
    def steps(self) -> tuple[str, ...]:
        """The fields of ``TensorLoss`` that were to be compared."""
        asked = {"reference": self.from_pytorch, "engine": self.probe is not None}
        return tuple(step for step in STEPS if asked[step])


def locate_in_steps(
    graph: Path,
    dataset: Dataset,
    *,
    fake_quantized: ObservableModel | None = None,
    engine: Engine | None = None,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> LocatedInSteps:
    """Compares every INT8 tensor of a graph across the steps.

    The reference is the graph on ONNX Runtime as written. The engine is built once more with its
    INT8 tensors as outputs (``building.tapped_engine``). A fake-quantized model's tensors are what
    its quantizers return, found by their names.

    Args:
        graph: ONNX file with Q/DQ, from which the engine was built.
        dataset: Images that fit its inputs.
        fake_quantized: The PyTorch model that was exported (``PyTorchModel``).
        engine: The engine under test (``Engine``).
        timing_cache: File that its second build reads and updates.
        progress: Called with images done and their total.

    Raises:
        GraphError: The graph cannot be read.
        DataError: The fake-quantized model has other outputs than the graph.
        UsageError: The engine has no manifest.
        BuildError: TensorRT does not build the engine.
        InferenceError: A runtime failed.
        MissingError: Something that is needed is not installed.
    """
    import onnx_ir as ir

    from trtqat.graph.lenses.taps import tap
    from trtqat.graph.lint import rules_by_place
    from trtqat.graph_file.names import io_names_of
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import serialize, temporary_graphs
    from trtqat.runtime.onnx_model import OnnxModel

    model = read_model(graph)
    names = replace(io_names_of(model), model=graph.name)
    rules = rules_by_place(model)
    taps = tap(model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(temporary_graphs())
        reference = OnnxModel(serialize(model), as_written=True)
        stack.callback(reference.close)
        models: list[Model] = [reference]
        tapped: TappedEngine | None = None
        if engine is not None:
            from trtqat.building.tapped_engine import tapped_engine

            tapped = stack.enter_context(tapped_engine(engine, model, timing_cache=timing_cache))
            models += [tapped.engine, engine]
        half = any(value.dtype == ir.DataType.FLOAT16 for value in model.graph.outputs)
        to_reference = _Differences(taps, _HALF_ROUNDING_DB if half else _ROUNDING_DB)
        engines, probed = (_Differences(taps, _HALF_ROUNDING_DB) for _ in range(2))
        # Closed before the engines are, also where something fails.
        runs = run_all(models, dataset, _batch_size(models))
        stack.enter_context(contextlib.closing(runs))
        done = 0
        for inputs, (expected, *others) in runs:
            if fake_quantized is not None:
                seen = _observed(fake_quantized, taps, names, inputs)
                to_reference.add(seen, expected)
            if others:
                of_tapped, of_engine = others
                engines.add(expected, of_tapped)
                probed.add(of_engine, of_tapped)
            done += len(next(iter(inputs.values())))
            if progress:
                progress(done, len(dataset))
    tensors = tuple(
        TensorLoss(
            each.layer,
            each.quantizer or each.output,
            to_reference.of(each),
            engines.of(each),
            rules.get(each.layer, ()),
        )
        for each in taps
    )
    probe = None
    if engine is not None and tapped is not None:
        noises = [probed.sqnr_db(spec.name) for spec in engine.outputs]
        # NumPy's minimum keeps a NaN: an output that was not compared is not identical.
        noise = float(np.min(noises))
        probe = Probe(tapped.layers, tapped.missing, tapped.same_kernels, noise)
    return LocatedInSteps(tensors, probe, fake_quantized is not None)


def first_tensor_below(
    tensors: Sequence[TensorLoss], step: str, *, below_db: float = 20.0
) -> TensorLoss | None:
    """The first tensor in the graph's order that is off by more than a tenth.

    Args:
        tensors: See ``locate_in_steps``.
        step: ``"reference"`` or ``"engine"``.
        below_db: 20 dB is an error of a tenth of the signal.
    """
    for each in tensors:
        loss: StepLoss | None = getattr(each, step)
        if loss is not None and not loss.sqnr_db >= below_db:
            return each
    return None


def _batch_size(models: Sequence[Model]) -> int:
    highest = [model.batch_range[1] for model in models]
    size = max(_BATCH, *(model.batch_range[0] for model in models))
    return min([size, *(each for each in highest if each is not None)])


def _observed(
    model: ObservableModel, taps: Sequence[Tap], names: IoNames, inputs: Arrays
) -> dict[str, Array]:
    """A fake-quantized model's tensors, under the names of the graph's."""
    # The export names a QuantizeLinear after the module: "/features/3/_input_quantizer/…".
    modules = {
        path.strip("/").replace("/", "."): each.output
        for each in taps
        for path, _, operator in [each.quantizer.rpartition("/")]
        if path and operator == "QuantizeLinear"
    }
    outputs, seen = model.observe(inputs, modules)
    outputs = match_outputs(outputs, names, model=model.name)
    return {**outputs, **{modules[name]: array for name, array in seen.items()}}


@dataclass
class _Sum(Noise):
    """Over the batches, of one tensor in steps of its quantizer."""

    differing: int = 0
    largest: float = 0.0
    # Elements that are no number on either side, so that nothing was compared.
    unknown: int = 0


class _Differences:
    """What differs between two runs, tensor by tensor."""

    def __init__(self, taps: Sequence[Tap], rounding_db: float) -> None:
        self._rounding_db = rounding_db
        self._taps = {each.output: each for each in taps}
        self._sums: dict[str, _Sum] = {}

    def add(self, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
        """Adds a batch; a tensor that one of the two lacks is passed over."""
        for name, tap in self._taps.items():
            if name not in expected or name not in found:
                continue
            one, other = tap.steps(expected[name]), tap.steps(found[name])
            # Of a graph that is not this model's.
            if one.shape != other.shape:
                continue
            # A NaN that was there before is lost on no way.
            both = np.isnan(one) & np.isnan(other)
            signal, error = signal_and_error(np.where(both, 0, one), np.where(both, 0, other))
            total = self._sums.setdefault(name, _Sum())
            total.add(signal, error)
            # A NaN differs from everything.
            total.differing += int(np.count_nonzero(error != 0))
            total.unknown += int(np.count_nonzero(both))
            # Not the built-in one, which drops a NaN by its position.
            total.largest = float(np.maximum(total.largest, np.max(error, initial=0)))

    def sqnr_db(self, name: str) -> float:
        """SQNR of one tensor over all batches; NaN if not all of it was compared, and none differs.

        What holds NaN on both sides is not identical, whatever the rest of it is.
        """
        total = self._sums.get(name)
        if total is None or (total.noise == 0 and total.unknown):
            return math.nan
        return total.sqnr_db

    def of(self, tap: Tap) -> StepLoss | None:
        """What became of one tensor; None if it was not compared."""
        total = self._sums.get(tap.output)
        if total is None:
            return None
        own = self.sqnr_db(tap.output)
        # A NaN that was there before is lost on no way, so these are without.
        before = [self._sums[name].sqnr_db for name in tap.before if name in self._sums]
        lost = lost_db(total.sqnr_db, before, self._rounding_db) if total.count else 0.0
        if tap.scale is None or not total.count:
            return StepLoss(own, lost, None, None)
        largest = int(total.largest) if math.isfinite(total.largest) else None
        return StepLoss(own, lost, total.differing / total.count, largest)
