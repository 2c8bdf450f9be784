"""Where the steps to an engine part: every INT8 tensor of fake-quantized model, reference, engine.

Tensors are compared in codes of their quantizer: one code in a thousand that is off by one is the
rounding of sums in another order, and no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from trtqat.data.batches import Dataset
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.locate_differences import Differences, StepLoss
from trtqat.evaluation.running import run_all
from trtqat.io_names import IoNames, match_outputs
from trtqat.runtime.batches import largest_batch
from trtqat.runtime.protocol import Model, ObservableModel
from trtqat.tensors import Array, Arrays
from trtqat.typed_json import Unbounded

if TYPE_CHECKING:
    import onnx_ir as ir

    from trtqat.building.tapped_engine import TappedEngine
    from trtqat.graph.passes.tap import Tap
    from trtqat.runtime.engine import Engine

# What is compared with the one before it, in the order of the way; report words them.
Step = Literal["reference", "engine"]
STEPS: tuple[Step, ...] = get_args(Step)
# All tensors of a batch are kept at once: 350 MB for ResNet-50 in floats.
_BATCH = 8
# No layer is blamed for less: a code in a thousand off by one is 60 dB for codes of 30. Where
# floats have 11 bits, three in a hundred are; an engine may compute in such what is not INT8.
_ROUNDING_DB = 60.0
_HALF_ROUNDING_DB = 45.0


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

    def at(self, step: Step) -> StepLoss | None:
        """What a step loses in this tensor; None if it was not compared.

        Args:
            step: Which one.
        """
        return self.reference if step == "reference" else self.engine


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
    def steps(self) -> tuple[Step, ...]:
        """The steps that were to be compared."""
        asked: dict[Step, bool] = {
            "reference": self.from_pytorch,
            "engine": self.probe is not None,
        }
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
    from trtqat.graph.lint import rules_by_place
    from trtqat.graph.passes.tap import tap
    from trtqat.graph_file.names import io_names_of
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import serialize, temporary_graphs
    from trtqat.runtime.onnx_model import OnnxModel

    model = read_model(graph)
    names = replace(io_names_of(model), model=graph.name)
    rules = rules_by_place(model)
    taps = tap(model)
    compared = _Compared(taps, reference_rounding_db=_rounding_db(model))
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
        # Closed before the engines are, also where something fails.
        runs = run_all(models, dataset, largest_batch(models, _BATCH))
        stack.enter_context(contextlib.closing(runs))
        done = 0
        for inputs, (expected, *others) in runs:
            if fake_quantized is not None:
                seen = _observed(fake_quantized, taps, names, inputs)
                compared.reference.add(seen, expected)
            if others:
                of_tapped, of_engine = others
                compared.engine.add(expected, of_tapped)
                compared.probe.add(of_engine, of_tapped)
            done += len(next(iter(inputs.values())))
            if progress:
                progress(done, len(dataset))
    probe = None
    if engine is not None and tapped is not None:
        sqnr_db = compared.probe.worst_db([spec.name for spec in engine.outputs])
        probe = Probe(tapped.layers, tapped.missing, tapped.same_kernels, sqnr_db)
    return LocatedInSteps(compared.losses(rules), probe, fake_quantized is not None)


def first_tensor_below(
    tensors: Sequence[TensorLoss], step: Step, *, below_db: float = 20.0
) -> TensorLoss | None:
    """The first tensor in the graph's order that is off by more than a tenth.

    Args:
        tensors: What ``locate_in_steps`` found, in the graph's order.
        step: Which one.
        below_db: 20 dB is an error of a tenth of the signal.
    """
    for each in tensors:
        loss = each.at(step)
        if loss is not None and not loss.sqnr_db >= below_db:
            return each
    return None


def _rounding_db(model: ir.Model) -> float:
    import onnx_ir as ir

    half = any(value.dtype == ir.DataType.FLOAT16 for value in model.graph.outputs)
    return _HALF_ROUNDING_DB if half else _ROUNDING_DB


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


class _Compared:
    """What was seen of each step, and of the engine that was built again.

    Attributes:
        reference: The ONNX reference against the fake-quantized model.
        engine: The engine that was built again against the reference.
        probe: That engine against the one under test.
    """

    def __init__(self, taps: Sequence[Tap], *, reference_rounding_db: float) -> None:
        self._taps = taps
        self.reference = Differences(taps, reference_rounding_db)
        self.engine = Differences(taps, _HALF_ROUNDING_DB)
        self.probe = Differences(taps, _HALF_ROUNDING_DB)

    def losses(self, rules: Mapping[str, tuple[str, ...]]) -> tuple[TensorLoss, ...]:
        """Every tensor in the graph's order.

        Args:
            rules: Identifiers of lint rules, by the layer that they speak of.
        """
        return tuple(
            TensorLoss(
                each.layer,
                each.quantizer or each.output,
                self.reference.loss_of(each),
                self.engine.loss_of(each),
                rules.get(each.layer, ()),
            )
            for each in self._taps
        )
