"""Where the steps to an engine part: every INT8 tensor of fake-quantized model, reference, engine.

Tensors are compared in steps of their quantizer, so that an error reads as codes: one code in a
thousand that is off by one is the rounding of sums in another order, and no more.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from trtqat.data.batches import Dataset
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.protocol import Model
from trtqat.evaluation.running import Batches
from trtqat.numerics import signal_and_error, sqnr_db
from trtqat.tensors import Array, Arrays

if TYPE_CHECKING:
    from trtqat.engine.tapped_engine import TappedEngine
    from trtqat.graph.taps import Tap
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.pytorch import PyTorchModel

# Fields of TensorDrift, in words.
PARTINGS = {
    "reference": "the ONNX reference against the fake-quantized model",
    "engine": "the engine against the ONNX reference",
}
# All tensors of a batch are kept at once: 350 MB for ResNet-50 in floats.
_BATCH = 8
# A code in a thousand off by one is 60 dB for codes of 30: no layer is blamed for less.
_ROUNDING_DB = 60.0


@dataclass(frozen=True)
class Parting:
    """How far one tensor is from the same one a step before.

    Attributes:
        sqnr_db: The step before as the signal; infinite if nothing differs.
        fall_db: By how much that is below the worst of the tensors that it is computed from: what
            is lost on the way from those.
        differing: Share of codes that differ, from 0 to 1; None for an output, which is float.
        largest: Largest difference in codes; None likewise.
    """

    sqnr_db: float
    fall_db: float
    differing: float | None
    largest: int | None


@dataclass(frozen=True)
class TensorDrift:
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
    reference: Parting | None
    engine: Parting | None
    findings: tuple[str, ...]

    @property
    def label(self) -> str:
        """The tensor's name without what all of them end with."""
        return self.tensor.removesuffix("/QuantizeLinear")


@dataclass(frozen=True)
class Probe:
    """How far the engine that was looked into is the engine under test.

    Attributes:
        layers: Number of layers of the engine under test, without reformats.
        missing: Those of them that the other one has not, with the same nodes fused.
        same_kernels: How many of the others run the same kernel.
        sqnr_db: First output, the engine under test as the signal.
    """

    layers: int
    missing: tuple[str, ...]
    same_kernels: int
    sqnr_db: float


@dataclass(frozen=True)
class StepDrift:
    """Every tensor in the graph's order, and what the engine's were read from."""

    tensors: tuple[TensorDrift, ...]
    probe: Probe | None


def compare_steps(
    graph: Path,
    dataset: Dataset,
    *,
    fake_quantized: Model | None = None,
    engine: Model | None = None,
    progress: Progress | None = None,
) -> StepDrift:
    """Compares every INT8 tensor of a graph across the steps.

    The reference is the graph on ONNX Runtime as written. The engine is built once more with its
    INT8 tensors as outputs (``engine.tapped_engine``). A fake-quantized model's tensors are what
    its quantizers return, found by their names.

    Args:
        graph: ONNX file with Q/DQ, from which the engine was built.
        dataset: Images that fit its inputs.
        fake_quantized: The PyTorch model that was exported (``PyTorchModel``).
        engine: The engine under test (``Engine``).
        progress: Called with images done and their total.

    Raises:
        GraphError: The graph cannot be read.
        UsageError: The engine has no manifest.
        BuildError: TensorRT does not build the engine.
        InferenceError: A runtime failed.
        MissingError: Something that is needed is not installed.
    """
    import onnx_ir as ir

    from trtqat.graph.lint import lint
    from trtqat.graph.reading import read_model
    from trtqat.graph.taps import tap
    from trtqat.runtime.onnx_reference import OnnxModel

    model = read_model(graph)
    rules: dict[str, list[str]] = {}
    for finding in lint(model):
        rules.setdefault(finding.where, []).append(finding.rule)
    taps = tap(model)
    serialized = ir.to_proto(model).SerializeToString()
    with contextlib.ExitStack() as stack:
        tapped: TappedEngine | None = None
        if engine is not None:
            from trtqat.engine.tapped_engine import tapped_engine

            tapped = stack.enter_context(tapped_engine(cast("Engine", engine), graph))
        reference = OnnxModel(serialized, as_written=True)
        stack.callback(reference.close)
        runners = [reference] if engine is None or tapped is None else [reference, tapped.engine]
        found, probed = _Sums(taps), _Sums(taps)
        both = 0.0, 0.0
        done = 0
        for inputs, outputs in _runs([*runners, *([engine] if engine else [])], dataset):
            expected = outputs[0]
            if fake_quantized is not None:
                found.add(_observed(cast("PyTorchModel", fake_quantized), taps, inputs), expected)
            if len(outputs) > 1:
                probed.add(expected, outputs[1])
                name, array = next(iter(outputs[2].items()))
                signal, error = signal_and_error(array, outputs[1][name])
                both = both[0] + float(np.sum(signal**2)), both[1] + float(np.sum(error**2))
            done += len(next(iter(inputs.values())))
            if progress:
                progress(done, len(dataset))
    partings, engines = found.partings(), probed.partings()
    tensors = tuple(
        TensorDrift(
            each.layer,
            each.quantizer or each.output,
            partings.get(each.output),
            engines.get(each.output),
            tuple(dict.fromkeys(rules.get(each.layer, ()))),
        )
        for each in taps
    )
    probe = None
    if tapped is not None:
        probe = Probe(tapped.layers, tapped.missing, tapped.same_kernels, sqnr_db(*both))
    return StepDrift(tensors, probe)


def first_parting(
    tensors: Sequence[TensorDrift], step: str, *, below_db: float = 20.0
) -> TensorDrift | None:
    """The first tensor in the graph's order that is off by more than a tenth.

    Args:
        tensors: See ``compare_steps``.
        step: ``"reference"`` or ``"engine"``.
        below_db: 20 dB is an error of a tenth of the signal.
    """
    for each in tensors:
        parting: Parting | None = getattr(each, step)
        if parting is not None and not parting.sqnr_db >= below_db:
            return each
    return None


def _runs(
    models: Sequence[Model], dataset: Dataset
) -> Iterator[tuple[Arrays, list[dict[str, Array]]]]:
    """Inputs, and all outputs of all models, a small batch at a time."""
    size = max(_BATCH, *(model.batch_range[0] for model in models))
    highest = [model.batch_range[1] for model in models]
    size = min([size, *(each for each in highest if each is not None)])
    runners = [Batches(model) for model in models]
    try:
        for start in range(0, len(dataset), size):
            stop = min(start + size, len(dataset))
            inputs = dataset.batch(start, stop).inputs
            yield inputs, [each.run(inputs, stop - start) for each in runners]
    finally:
        for each in runners:
            each.close()


def _observed(model: PyTorchModel, taps: Sequence[Tap], inputs: Arrays) -> dict[str, Array]:
    """A fake-quantized model's tensors, under the names of the graph's."""
    # The export names a QuantizeLinear after the module: "/features/3/_input_quantizer/…".
    modules = {
        each.quantizer.rpartition("/")[0].strip("/").replace("/", "."): each.output
        for each in taps
        if each.quantizer
    }
    seen = model.observe(inputs, modules)
    return {modules.get(name, name): array for name, array in seen.items()}


@dataclass
class _Sums:
    """What differs in every tensor, over the batches."""

    taps: Sequence[Tap]
    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
        for each in self.taps:
            if each.output not in expected or each.output not in found:
                continue
            one, other = each.steps(expected[each.output]), each.steps(found[each.output])
            # A pass may have moved the pair behind a layer that changes the shape.
            if one.shape != other.shape:
                continue
            signal, error = signal_and_error(one, other)
            total = self.sums.setdefault(each.output, [0.0, 0.0, 0.0, 0.0, 0.0])
            total[0] += float(np.sum(signal**2))
            total[1] += float(np.sum(error**2))
            # A NaN differs from everything.
            total[2] += float(np.count_nonzero(error != 0))
            total[3] += error.size
            total[4] = max(total[4], float(np.nanmax(error, initial=0)))

    def partings(self) -> dict[str, Parting]:
        noise = {name: sqnr_db(total[0], total[1]) for name, total in self.sums.items()}
        found = {}
        for each in self.taps:
            if each.output not in noise:
                continue
            before = [noise[name] for name in each.before if name in noise]
            own, total = noise[each.output], self.sums[each.output]
            fall = math.inf if math.isnan(own) else min([*before, _ROUNDING_DB]) - own
            codes = each.scale is not None
            found[each.output] = Parting(
                own,
                max(0.0, fall),
                total[2] / total[3] if codes and total[3] else None,
                int(total[4]) if codes else None,
            )
        return found
