"""Whether an engine computes what its graph says, on random samples.

TensorRT 8.6.0 was seen to make engines of right graphs that compute something else, and to say
nothing (``scripts/results/wrong-engines.txt``). So what was built runs once, beside the graph on
ONNX Runtime.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trtqat.errors import TrtqatError, UsageError
from trtqat.memory import check_fits
from trtqat.numerics import difference, worst_db
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec, random_arrays

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.onnx_model import OnnxModel

_LOG = logging.getLogger(__name__)

# Both run as many samples as make a batch of these; ONNX Runtime is not to run a large batch.
_SAMPLES = 2
# More of them it does not run where the graph has a fixed batch.
_MOST_SAMPLES = 64
# An error of a tenth of the signal. Wrong engines were seen at 9 dB and less, right ones at 31 dB
# and more, but for networks that make much of a rounding: a random MobileNetV2 is at 20.
_WRONG_DB = 20.0
# An input that is rounded as to FP16 tells of such a network by how far its outputs move. An engine
# rounds all that is not INT8, so that much more is forgiven. Without float inputs it is asked.
_FORGIVEN_DB = 10.0
_HALF_ROUNDING = 2**-11
# Of a number of an output: both again, their difference and squares, in double.
_COMPARED_BYTES = 40
_WAY_OUT = (
    "TensorRT made a wrong engine of it: trtqat eval with --locate names the first tensor that is "
    "off. Keep what computes that in floating point, as by quantize --keep, or build with another "
    "TensorRT."
)
_WHERE_NOT_FINITE = "Where the graph is FP32, try --no-fp16 first: FP16 ends at 65504. Else "


@dataclass(frozen=True)
class ComparedOutput:
    """One output of an engine beside its graph.

    Attributes:
        sqnr_db: The graph on ONNX Runtime as the signal; NaN where the engine alone has no number.
        least_db: What a right engine reaches in any case.
    """

    sqnr_db: float
    least_db: float

    @property
    def is_wrong(self) -> bool:
        """Whether rounding does not explain it."""
        return not self.sqnr_db >= self.least_db


@dataclass(frozen=True)
class Agreement:
    """An engine beside its graph.

    Attributes:
        outputs: Of all profiles the worst, by name: floats that no choice stands before.
        reason: Why nothing was compared; empty if something was.
    """

    outputs: Mapping[str, ComparedOutput] = field(default_factory=dict)
    reason: str = ""

    @property
    def wrong(self) -> tuple[str, ...]:
        """Names of the outputs that are not what the graph says."""
        return tuple(name for name, each in self.outputs.items() if each.is_wrong)

    @property
    def worst(self) -> str:
        """Name of the output that is farthest off."""
        return _worst(self.outputs, self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        outputs = {
            name: {"sqnr_db": each.sqnr_db, "least_db": each.least_db}
            for name, each in self.outputs.items()
        }
        return {"outputs": outputs, "wrong": self.wrong, "reason": self.reason}


def compare_with_graph(engine: Engine, graph: Path) -> Agreement:
    """Runs an engine beside the graph that it was built from, in each of its profiles.

    Args:
        engine: Just built.
        graph: Of it.

    Returns:
        What was seen, or why nothing could be: an engine stays what it is.
    """
    from trtqat.graph.lenses.choices import outputs_of_choices
    from trtqat.graph.passes.tidy import inline_functions
    from trtqat.graph_file.reading import read_model
    from trtqat.runtime.onnx_model import OnnxModel

    seen: dict[str, ComparedOutput] = {}
    _LOG.info("Running '%s' beside its graph, on random samples.", engine.name)
    try:
        model = read_model(graph)
        inline_functions(model)
        chosen = outputs_of_choices(model)
        with OnnxModel(graph, as_written=True) as reference:
            for index, batches in enumerate(engine.profiles.ranges):
                with engine.session(batches.opt, cuda_graph=False, profile=index) as session:
                    shapes = {spec.name: spec.shape for spec in session.input_specs}
                    found = compare_with_reference(reference, shapes, session.run, batches.opt)
                for name in found.keys() - chosen:
                    seen[name] = _worse(found[name], seen.get(name))
    except TrtqatError as error:
        return Agreement(reason=str(error))
    if not seen:
        return Agreement(reason="It has no output of floats that can be compared.")
    return Agreement({spec.name: seen[spec.name] for spec in engine.outputs if spec.name in seen})


def warn_of_wrong_outputs(plan: Path, agreement: Agreement | None) -> None:
    """Warns of an engine that does not compute what its graph says.

    Args:
        plan: Of the engine, for the message.
        agreement: What was seen of it.
    """
    if agreement is None or not agreement.wrong:
        return
    # Another one may be farther off, and be forgiven as much.
    name = _worst(agreement.outputs, agreement.wrong)
    found = agreement.outputs[name]
    more = len(agreement.wrong) - 1
    _LOG.warning(
        "'%s' does not compute what its graph says: on random samples output '%s'%s is at %.1f dB "
        "beside the graph on ONNX Runtime, where rounding alone leaves %.1f dB and more. %s",
        plan,
        name,
        f" and {more} more" * bool(more),
        found.sqnr_db,
        found.least_db,
        _WHERE_NOT_FINITE * math.isnan(found.sqnr_db) + _WAY_OUT,
    )


def compare_with_reference(
    reference: OnnxModel,
    shapes: Mapping[str, tuple[int, ...]],
    run: Callable[[Arrays], Arrays],
    batch_size: int,
) -> dict[str, ComparedOutput]:
    """The outputs of something beside those of a graph, on random samples.

    Where the graph takes any batch it runs few samples, which fill the batch again and again.

    Args:
        reference: The graph, as it is written.
        shapes: Of the batch, by input name.
        run: What is compared, on such inputs; they have the graph's types, where an engine may
            have INT32 for INT64.
        batch_size: Of the batch.

    Returns:
        By name the floats that the graph has numbers for.

    Raises:
        UsageError: The graph has a fixed batch that is too large, or an input more; or an output
            does not fit into memory.
        InferenceError: A runtime failed.
    """
    is_open = {spec.name: spec.shape[:1] == (DYNAMIC,) for spec in reference.inputs}
    samples = _samples(reference, batch_size, is_open=any(is_open.values()))
    whole = _whole_inputs(reference, shapes)
    few = [spec.with_batch(samples) if is_open[spec.name] else spec for spec in whole]
    inputs = random_arrays(few, seed=0)
    with reference.session(samples) as session:
        expected = session.run(inputs)
        shaken = _shaken(inputs)
        again = None if shaken is None else session.run(shaken)
        found = run({name: _repeated(each, shapes[name]) for name, each in inputs.items()})
        outputs = _compared(expected, again, found, is_whole=samples == batch_size)
        if samples == batch_size or not any(each.is_wrong for each in outputs.values()):
            return outputs
        # What more samples change is no repeat of few ones: a Softmax over the batch, say.
        twice = [spec.with_batch(2 * samples) if is_open[spec.name] else spec for spec in whole]
        more = session.run({spec.name: _repeated(inputs[spec.name], spec.shape) for spec in twice})
    return {
        name: each
        for name, each in outputs.items()
        if not each.is_wrong or _is_repeat(expected[name], more[name])
    }


def _samples(reference: OnnxModel, batch_size: int, *, is_open: bool) -> int:
    """How many the graph runs: few ones, or the batch that it is fixed to."""
    if is_open:
        return _SAMPLES if batch_size % _SAMPLES == 0 else 1
    if batch_size > _MOST_SAMPLES:
        raise UsageError(
            f"'{reference.name}' has a fixed batch of {batch_size}, which takes long here.",
            "Compare it with trtqat eval --reference.",
        )
    return batch_size


def _whole_inputs(reference: OnnxModel, shapes: Mapping[str, tuple[int, ...]]) -> list[TensorSpec]:
    """The graph's inputs with the shapes of the batch."""
    for spec in reference.inputs:
        if spec.name not in shapes:
            raise UsageError(
                f"The engine has no input '{spec.name}', which its graph has.",
                "Export the graph again: what nothing reads is no input of an engine.",
            )
    return [replace(spec, shape=shapes[spec.name]) for spec in reference.inputs]


def _compared(
    expected: Arrays, again: Arrays | None, found: Arrays, *, is_whole: bool
) -> dict[str, ComparedOutput]:
    """What can be told of outputs.

    Args:
        expected: Of the graph, for few samples.
        again: The same for inputs that are rounded; None where there are none.
        found: What is compared, for the whole batch.
        is_whole: Whether those samples are the batch.
    """
    outputs: dict[str, ComparedOutput] = {}
    for name in expected.keys() & found.keys():
        signal = expected[name]
        check_fits(_COMPARED_BYTES * found[name].size, f"The numbers of output '{name}'")
        every = _repeated(signal, found[name].shape)
        # What is computed of a whole batch is another number of few samples.
        is_of_batch = not is_whole and every.shape == signal.shape
        if every.shape != found[name].shape or is_of_batch or not _says_something(signal):
            continue
        least_db = _FORGIVEN_DB
        if again is not None and again[name].shape == signal.shape:
            least_db = min(_WRONG_DB, difference(signal, again[name]).sqnr_db - _FORGIVEN_DB)
        outputs[name] = ComparedOutput(difference(every, found[name]).sqnr_db, least_db)
    return outputs


def _shaken(inputs: Arrays) -> dict[str, Array] | None:
    """The inputs with floats as FP16 would round them; None where there are none."""
    generator = np.random.default_rng(1)
    shaken = {
        # Of an array without a dimension a product is none.
        name: np.asarray(
            each * (1 + generator.uniform(-1, 1, each.shape) * _HALF_ROUNDING), each.dtype
        )
        for name, each in inputs.items()
        if each.dtype.kind == "f"
    }
    return {**inputs, **shaken} if shaken else None


def _repeated(array: Array, shape: Sequence[int]) -> Array:
    """Samples again and again, up to a shape; as they are where they do not fill it."""
    fits = array.ndim == len(shape) and all(
        have and want % have == 0 for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        return array
    return np.tile(array, [want // have for have, want in zip(array.shape, shape, strict=True)])


def _is_repeat(few: Array, more: Array) -> bool:
    every = _repeated(few, more.shape)
    return every.shape == more.shape and difference(every, more).sqnr_db >= _WRONG_DB


def _says_something(signal: Array) -> bool:
    """Whether anything can be told of what differs from it."""
    return signal.dtype.kind == "f" and bool(np.isfinite(signal).all() and signal.any())


def _worst(outputs: Mapping[str, ComparedOutput], names: Iterable[str]) -> str:
    return min(names, key=lambda name: worst_db([outputs[name].sqnr_db]))


def _worse(one: ComparedOutput, other: ComparedOutput | None) -> ComparedOutput:
    """That of two profiles which is farther from what it should reach."""
    if other is None:
        return one
    return min(one, other, key=lambda each: worst_db([each.sqnr_db - each.least_db]))
