"""The fake-quantized model as what its graph is compared with: the batches, and what it returns."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from trtqat.errors import ExportError, ForwardError
from trtqat.exporting.batch_dimension import BATCH, check_batch_first
from trtqat.exporting.batches import notes_on_ranges, random_batch, sized, taken
from trtqat.exporting.find_quantizers import FoundQuantizers
from trtqat.exporting.open_dimensions import other_sizes
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.quantizer_calls import (
    checked_quantizers,
    input_amaxes,
    passed_at,
    recorded_calls,
)
from trtqat.exporting.samples import (
    as_tensors,
    fill_what_is_kept,
    observe,
    run_and_note,
    run_model,
)
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.pieces import FP32
from trtqat.exporting.verification.reference import OF_MODEL, Words
from trtqat.graph.passes.expand_fake_quantize import ExpandedPairs
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import difference
from trtqat.quant.toolkits.quantizers import Quantizer
from trtqat.quant.toolkits.replacement import replaced_quantizers
from trtqat.runtime.pytorch_hooks import wrapped_forwards
from trtqat.tensors import Array, Arrays, TensorSpec

# The batch for tracing and the second one for verifying; 1 is verified as well.
_TRACED_BATCH = 2
_OTHER_BATCH = 3


@dataclass(frozen=True, eq=False)
class ModelReference:
    """A model whose quantizers are replaced, and what it returned before they were.

    Attributes:
        model: With the stand-ins.
        examples: Batches with what the model returned as its toolkit quantizes it.
        stand_ins: Names of the stand-ins.
        quantizers: That they stand for, by name.
        pairs: Of the graph that is compared.
    """

    model: torch.nn.Module
    examples: Sequence[Example]
    stand_ins: Collection[str]
    quantizers: Mapping[str, Quantizer | None]
    pairs: ExpandedPairs

    @property
    def words(self) -> Words:
        """What to call graph and model in messages."""
        return OF_MODEL

    def complete(self, example: Example, graph: Serialized) -> Example:
        """Runs the model once more, and keeps what passes the stand-ins."""
        with recorded_calls(self.model, self.stand_ins) as calls:
            outputs = run_model(self.model, as_tensors(example.inputs))
        return Example(example.inputs, outputs, passed_at(self.pairs, calls, self.quantizers))


@dataclass(frozen=True)
class FirstRun:
    """What one run of a model tells before anything is expected of it.

    Attributes:
        amaxes: The greatest magnitude of each random input, where a quantizer reads it.
        notes: A sentence for each output that the graph calls otherwise than the model.
    """

    amaxes: Mapping[str, float]
    notes: Sequence[str]


def first_run(
    model: torch.nn.Module,
    inputs: Sequence[TensorSpec],
    quantizers: FoundQuantizers,
    samples: Arrays,
    options: ExportOptions,
) -> tuple[FirstRun, list[str]]:
    """Runs a model on one batch, and checks that its batch is the first dimension.

    A run before fills what its forward keeps for the next one.

    Args:
        model: In eval mode, with its toolkit's quantizers.
        inputs: In the order of forward.
        quantizers: Of the model.
        samples: Of the data, ``(N, …)`` by input, which a model of a fixed batch is run on; any
            other, and without data, on random numbers.
        options: Of the export.

    Returns:
        What the run told, and a sentence for each output that mixes the samples of a batch.

    Raises:
        SourceError: The batch of an input is another dimension, or the model returns something
            else than tensors.
        ForwardError: The model raises.
    """
    size = None if options.static_batch else BATCH
    arrays: Arrays = random_batch(sized(inputs, size), options.seed)
    if options.static_batch and samples:
        arrays = taken(samples, 0, inputs[0].shape[0])
    try:
        fill_what_is_kept(model, as_tensors(arrays))
        with input_amaxes(model, quantizers.all, arrays) as amaxes:
            outputs, notes = run_and_note(model, as_tensors(arrays))
    except ForwardError:
        if not options.static_batch:
            # It may know why.
            check_batch_first(model, inputs, options.seed)
        raise
    if options.static_batch:
        return FirstRun(amaxes, notes), []
    mixing = check_batch_first(model, inputs, options.seed, expected=outputs)
    return FirstRun(amaxes, notes), mixing


def batches_of_model(
    inputs: Sequence[TensorSpec], first: FirstRun, samples: Arrays, options: ExportOptions
) -> tuple[list[dict[str, Array]], list[str]]:
    """Batches of each size, those to trace first, and notes on them.

    Args:
        inputs: In the order of forward.
        first: Says how large random inputs are to be.
        samples: Of the data, ``(N, …)`` by input; empty for random inputs.
        options: Of the export.
    """
    specs = [
        sized(inputs, size)
        for size in ([None] if options.static_batch else [_TRACED_BATCH, 1, _OTHER_BATCH])
    ]
    # Of one size each, the traced one first; data has that one alone.
    more = [
        sized(each, None if options.static_batch else size)
        for each, size in zip(other_sizes(inputs, options.dynamic), (1, _OTHER_BATCH), strict=False)
    ]
    drawn = [
        random_batch(each, options.seed + number, first.amaxes, options.pixels)
        for number, each in enumerate(more, len(specs))
    ]
    if samples:
        counts = [each[0].shape[0] for each in specs]
        ends = list(itertools.accumulate(counts))
        of_data = [taken(samples, end - n, n) for end, n in zip(ends, counts, strict=True)]
        return [*of_data, *drawn], []
    known = {*first.amaxes, *options.pixels}
    notes = notes_on_ranges(inputs, known) if options.precision == "fp16" else []
    return [
        random_batch(each, options.seed + number, first.amaxes, options.pixels)
        for number, each in enumerate(specs)
    ] + drawn, notes


def run_quantized(
    model: torch.nn.Module, quantizers: FoundQuantizers, batches: Sequence[Arrays]
) -> tuple[list[Example], list[Counter[str]]]:
    """What a model returns as its toolkit quantizes it, and how often each quantizer ran.

    Args:
        model: In eval mode, with its toolkit's quantizers, each call of which is checked.
        quantizers: Of the model.
        batches: Inputs ``(N, …)`` by name.

    Returns:
        Both for each batch.

    Raises:
        ExportError: A quantizer makes other codes than what was read of it.
        ForwardError: The model raises.
        SourceError: The model returns something else than tensors.
    """
    modules = {name: model.get_submodule(name) for name in quantizers.active}
    runs = []
    with checked_quantizers(model, quantizers.all):
        for number, batch in enumerate(batches):
            try:
                runs.append(_run(model, modules, batch))
            except ForwardError as error:
                raise _at_other_sizes(error, batches, number) from error
    return [example for example, _ in runs], [uses for _, uses in runs]


def check_repeats(model: torch.nn.Module, inputs: Arrays) -> None:
    """Refuses a model that is random: no graph computes what it does.

    Args:
        model: That a graph was found to differ from.
        inputs: Of a batch.

    Raises:
        ExportError: It returns other values when it runs again.
    """
    first, second = (run_model(model, as_tensors(inputs)) for _ in range(2))
    for name, array in first.items():
        found = _sqnr_db(array, second[name])
        # Sums may be rounded in another order from run to run.
        if found < FP32.least_db:
            raise ExportError(
                "The model returns other values each time that it runs on the same batch: output "
                f"'{name}' is at {found:.1f} dB from the run before.",
                "Leave out what is random in eval mode: F.dropout drops unless it is given "
                "training=self.training.",
            )


def check_replaced(
    model: torch.nn.Module,
    quantizers: Mapping[str, Quantizer | None],
    inputs: Arrays,
) -> None:
    """Refuses a model whose forward takes another way while its quantizers are replaced.

    Args:
        model: With its toolkit's quantizers.
        quantizers: Of the model.
        inputs: Of a batch.

    Raises:
        ExportError: It returns something else with its own quantizers, and codes by the stand-ins.
    """
    stand_ins = {name: each.stand_in() for name, each in quantizers.items() if each is not None}
    modules = {name: model.get_submodule(name) for name in stand_ins}
    with wrapped_forwards(modules, lambda name, _: stand_ins[name]):
        expected = run_model(model, as_tensors(inputs))
    with replaced_quantizers(model, quantizers):
        replaced = run_model(model, as_tensors(inputs))
    for name, array in expected.items():
        found = _sqnr_db(array, replaced[name]) if name in replaced else -math.inf
        if found < FP32.least_db:
            raise ExportError(
                "The model computes something else while its quantizers are replaced, as a trace "
                f"needs: output '{name}' is at {found:.1f} dB from what it was.",
                "Let forward call its quantizers alone, and not ask of what class they are, as "
                "isinstance does.",
            )


def _sqnr_db(array: Array, other: Array) -> float:
    return difference(array, other).sqnr_db if array.shape == other.shape else -math.inf


def _run(
    model: torch.nn.Module, modules: Mapping[str, torch.nn.Module], batch: Arrays
) -> tuple[Example, Counter[str]]:
    uses: Counter[str] = Counter()
    outputs = observe(model, modules, as_tensors(batch), lambda name, _: uses.update([name]))
    return Example(batch, outputs), uses


def _at_other_sizes(error: ForwardError, batches: Sequence[Arrays], number: int) -> ForwardError:
    """The error of a batch, with the way out where only its size is another one."""
    first, other = (
        [array.shape[1:] for array in each.values()] for each in (batches[0], batches[number])
    )
    if first == other:
        return error
    return ForwardError(
        error.problem,
        "--dynamic says that the model takes other sizes than that of --input: leave out the "
        "dimensions that must have one size.",
    )
