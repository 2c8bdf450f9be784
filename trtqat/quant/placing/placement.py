"""Where quantizers stand: what TensorRT needs to run a model in INT8, and no more.

1. Both operands of convolutions, linear layers and products of activations, those of attention
   among them. A weight has a range for each output channel.
2. Of a sum whose result is quantized: the operand that does not come from the last layer. TensorRT
   computes the sum in that layer's kernel (NVIDIA's placement recommendations,
   https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html).
   Where neither operand comes straight from a layer, both.
3. The parts of a Concat, the input of an average pool, and both operands of a product that scales
   channels (squeeze-and-excitation), where the result is quantized.
4. One quantizer for a tensor, whoever reads it; for the parts of a Concat and its result; for all
   tensors that arrive at one place, as where a module runs twice; for a tensor and what a max
   pool or a reshape makes of it.

What is quantized only to be read as float is not quantized: it would round for nothing.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from trtqat.errors import QuantizerError
from trtqat.quant.placing import reasons
from trtqat.quant.placing.attention import PROBABILITIES
from trtqat.quant.placing.interception import Call
from trtqat.quant.placing.multiplying import RECURRENT
from trtqat.quant.placing.passing import ACTIVATIONS, FOLDED, MOVING, REARRANGING
from trtqat.quant.placing.steps import Recording, Step, Value

Target = Literal["8.6", "10", "11", "rtx"]

# A product scales channels where one operand is smaller by this factor at least.
SMALL = 4

_BETWEEN = ("sum", "joining", "pooling", "scaling")


@dataclass(frozen=True)
class Place:
    """Where a quantizer stands.

    Attributes:
        path: Dotted name of the module whose forward makes the call.
        call: The call.
        operand: Which of its operands is quantized.
    """

    path: str
    call: Call
    operand: str

    def __str__(self) -> str:
        index = f"_{self.call.index}" if self.call.index else ""
        return ".".join(filter(None, (self.path, f"{self.call.function}{index}", self.operand)))


@dataclass(frozen=True)
class PlannedQuantizer:
    """A quantizer and all of its places.

    Attributes:
        places: In the order of the run; the first one names it.
        axis: The channel axis of a weight; None for one range.
        dim: Number of dimensions of what it quantizes.
        is_weight: Whether it stands on a weight.
    """

    places: tuple[Place, ...]
    axis: int | None
    dim: int
    is_weight: bool


@dataclass(frozen=True)
class Layer:
    """A convolution or product, as the user sees it.

    Attributes:
        name: Dotted name.
        path: Of its module.
        call: In that module's forward; None for what no quantizer can stand at.
        macs: Multiply-accumulates for one sample, of all runs of its module.
        kept: Why it stays in floating point; empty for a quantized one.
    """

    name: str
    path: str
    call: Call | None
    macs: float
    kept: str = ""


@dataclass(frozen=True)
class Placement:
    """What to quantize in a model.

    Attributes:
        quantizers: In the order of the run.
        layers: Every convolution and product, in the order of the run; then those that did not
            run.
        counts: By the path of a module, how often its forward calls each function.
    """

    quantizers: tuple[PlannedQuantizer, ...]
    layers: tuple[Layer, ...]
    counts: Mapping[str, Mapping[str, int]]


@dataclass
class _Marks:
    """The places that were chosen, with what arrives there, in the order of choice."""

    values: dict[Place, list[Value]] = field(default_factory=dict)
    axes: dict[Place, int | None] = field(default_factory=dict)

    def add(self, step: Step, operand: str, values: Sequence[Value], axis: int | None) -> None:
        assert step.call is not None
        place = Place(step.path, step.call, operand)
        self.values.setdefault(place, []).extend(values)
        self.axes[place] = axis

    def has(self, step: Step, operand: str) -> bool:
        assert step.call is not None
        return Place(step.path, step.call, operand) in self.values


def place_quantizers(
    recording: Recording, *, keep: Sequence[str] = (), for_: Target | None = None
) -> Placement:
    """Decides what is quantized.

    Args:
        recording: A run of the model.
        keep: Patterns of names of layers, or of modules, that stay in floating point.
        for_: The TensorRT that it is for; None for what each of them can build.

    Raises:
        QuantizerError: A pattern matches nothing.
    """
    kept = _matched(recording, keep)
    marks = _Marks()
    layers: dict[tuple[str, Call | None, str], Layer] = {}
    fusing: set[Step] = set()
    for step in recording.steps:
        if not _is_layer(step):
            continue
        name = step.path if step.path in recording.unseen else step.layer
        reason = _why_float(step, recording, for_)
        if not reason:
            # Also a layer that is kept: so keeping one changes no place of another.
            fusing.add(step)
            reason = reasons.AS_ASKED if name in kept else ""
        if not reason:
            _mark_layer(marks, step)
        key = step.path, step.call, name
        # One that runs on a table of weights as well is INT8 where it runs on data.
        before = layers.get(key) or Layer(name, step.path, step.call, 0.0, reason)
        macs = before.macs + step.macs / recording.batch_size
        layers[key] = Layer(name, step.path, step.call, macs, reason and before.kept)
    for path in recording.idle:
        layers[path, None, path] = Layer(path, path, None, 0.0, reasons.DID_NOT_RUN)
    _mark_between(marks, recording, fusing, kept)
    return Placement(_planned(marks, recording), tuple(layers.values()), recording.counts)


def _is_layer(step: Step) -> bool:
    """Whether a step multiplies, as far as that depends on the model's inputs."""
    if step.function is None:
        return bool(step.multiplied) and step.output.is_computed
    return step.function.multiplies or step.function.kind == "attention"


def _matched(recording: Recording, keep: Sequence[str]) -> set[str]:
    """Names of the calls that the patterns match, by their own name or by that of a module."""
    seen = (step for step in recording.steps if step.call is not None or _is_layer(step))
    names = {step.layer: step.path for step in seen} | {path: path for path in recording.idle}
    found: set[str] = set()
    for pattern in keep:
        matching = {
            layer
            for layer, path in names.items()
            if fnmatch.fnmatchcase(layer, pattern)
            or any(fnmatch.fnmatchcase(each, pattern) for each in _with_parents(path))
        }
        if not matching:
            shown = ", ".join(list(names)[:8]) + (", …" if len(names) > 8 else "")
            raise QuantizerError(
                f"The pattern '{pattern}' matches no layer of the model.",
                f"Its layers are: {shown or 'none'}.",
            )
        found |= matching
    return found


def _with_parents(path: str) -> Iterable[str]:
    parts = path.split(".") if path else []
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _why_float(step: Step, recording: Recording, for_: Target | None) -> str:
    if step.path in recording.unseen:
        return reasons.SCRIPTED
    if step.function is None:
        return reasons.RECURS if step.name in RECURRENT else reasons.OTHER
    operands = [value for values in step.operands.values() for value in values]
    data = [each for each in operands if each.is_computed]
    if not data:
        return reasons.ON_WEIGHTS
    if step.function.kind == "transposed" and for_ in reasons.NO_TRANSPOSED:
        return reasons.NO_TRANSPOSED[for_]
    if step.function.kind in ("convolution", "transposed") and len(data) > 1:
        return reasons.COMPUTED_WEIGHT
    if min(len(each.shape) for each in operands) < 2:
        return reasons.VECTOR
    return reasons.of_convolution(for_, *step.groups) if step.groups else ""


def _mark_layer(marks: _Marks, step: Step) -> None:
    assert step.function is not None
    for name, values in step.operands.items():
        axis = None
        if not values[0].is_computed:
            axis = _weight_axis(step, name, values[0])
        marks.add(step, name, values, axis)
    if step.function.kind == "attention":
        query = step.operands["query"][0]
        marks.add(step, PROBABILITIES, [Value((0,) * 4, is_computed=True, dtype=query.dtype)], None)


def _weight_axis(step: Step, operand: str, weight: Value) -> int | None:
    assert step.function is not None
    axis = step.function.weight_axes.get(operand)
    dim = len(weight.shape)
    if axis is None:
        return None
    if step.function.kind == "product" and operand != "weight" and dim != 2:
        # ONNX's MatMul has no axis of output channels for a stack of weights.
        return None
    if step.function.kind == "transposed":
        # With groups axis 1 is that of the channels of one group: no axis is the outputs'.
        return axis if step.output.shape[1] == weight.shape[1] else None
    return axis % dim


def _mark_between(marks: _Marks, recording: Recording, fusing: set[Step], kept: set[str]) -> None:
    """Rules 2 and 3, from the end: what is quantized later is known by then."""
    later: set[Value] = set()
    for step in reversed(recording.steps):
        is_later = any(each in later for each in step.outputs)
        if step.function is not None and is_later and step.layer not in kept:
            for name in _between(step, fusing):
                marks.add(step, name, step.operands[name], None)
        if step.function is not None:
            for name, values in step.operands.items():
                if marks.has(step, name):
                    later.update(values)
        if is_later and step.inputs and _passes(step):
            later.add(step.inputs[0])


def _passes(step: Step) -> bool:
    """Whether a quantizer behind a step quantizes what stands before it."""
    # diffusers divides each of its sums by a factor that is 1; exporters leave that out.
    is_one = step.name in ("mul", "div") and step.scalars in ({1: 1}, {"other": 1})
    return is_one or step.name in (ACTIVATIONS | MOVING)


def _between(step: Step, fusing: set[Step]) -> list[str]:
    """The operands to quantize of a step that is no layer, and whose result is quantized."""
    assert step.function is not None
    kind = step.function.kind
    values = [value for each in step.operands.values() for value in each]
    if kind not in _BETWEEN or not all(value.is_computed for value in values):
        return []
    if kind in ("pooling", "joining"):
        return list(step.operands)
    first, second = step.operands
    left, right = step.operands[first][0], step.operands[second][0]
    if kind == "scaling":
        sizes = sorted(math.prod(each.shape) for each in (left, right))
        return [first, second] if sizes[0] * SMALL <= sizes[1] else []
    made_by = {first: _layer_before(left, fusing), second: _layer_before(right, fusing)}
    straight = {name: layer for name, layer in made_by.items() if layer is not None}
    fused = max(straight, key=lambda name: straight[name].index, default=None)
    return [name for name in made_by if name != fused]


def _layer_before(value: Value, fusing: set[Step]) -> Step | None:
    """The layer that makes a value, seen through what TensorRT folds into it."""
    while True:
        maker = value.maker
        if maker is None or maker in fusing:
            return maker
        computed = [each for each in maker.inputs if each.is_computed]
        if maker.name.rstrip("_") not in FOLDED or len(computed) != 1:
            return None
        value = computed[0]


class _Groups:
    """Values that one quantizer is for: a forest of values, each with its representative."""

    def __init__(self) -> None:
        self._parents: dict[Value, Value] = {}

    def of(self, value: Value) -> Value:
        while (parent := self._parents.get(value, value)) is not value:
            self._parents[value] = self._parents.get(parent, parent)
            value = parent
        return value

    def join(self, values: Iterable[Value]) -> None:
        first, *others = map(self.of, values)
        for other in others:
            self._parents[self.of(other)] = self.of(first)


def _planned(marks: _Marks, recording: Recording) -> tuple[PlannedQuantizer, ...]:
    groups = _Groups()
    read = {value for values in marks.values.values() for value in values}
    for values in marks.values.values():
        groups.join(values)
    for step in recording.steps:
        is_join = step.function is not None and step.function.kind == "joining"
        if is_join and marks.has(step, "inputs") and step.output in read:
            groups.join([*step.operands["inputs"], step.output])
        if step.name in REARRANGING and step.inputs and step.output in read:
            source = step.inputs[0]
            if source in read and source.is_computed:
                groups.join([source, step.output])
    first_run: dict[tuple[str, Call | None], int] = {}
    for step in recording.calls:
        first_run.setdefault((step.path, step.call), step.index)
    found: dict[tuple[Value, int | None], list[Place]] = {}
    for place in sorted(marks.values, key=lambda each: first_run[each.path, each.call]):
        key = groups.of(marks.values[place][0]), marks.axes[place]
        found.setdefault(key, []).append(place)
    return tuple(
        PlannedQuantizer(
            tuple(places),
            axis,
            len(marks.values[places[0]][0].shape),
            is_weight=not value.is_computed,
        )
        for (value, axis), places in found.items()
    )
