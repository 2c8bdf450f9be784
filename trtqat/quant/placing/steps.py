"""What one run of a model computed: calls, and the tensors between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from trtqat.quant.placing.einsum import axes_of, spelled_out
from trtqat.quant.placing.functions import Function
from trtqat.quant.placing.interception import Call


@dataclass(eq=False)
class Value:
    """A tensor of the run.

    Attributes:
        shape: As it was in the run.
        is_computed: Whether it depends on the model's inputs or their number; else it is a weight,
            or made of weights alone.
        dtype: As it was in the run.
        maker: The step that returned it; None for inputs, parameters and buffers.
        readers: The steps that take it, in order, each as often as it does.
        is_output: Whether the model returns it.
    """

    shape: tuple[int, ...]
    is_computed: bool
    dtype: torch.dtype
    maker: Step | None = None
    readers: list[Step] = field(default_factory=list)
    is_output: bool = False

    @property
    def is_weight(self) -> bool:
        """Whether it was there before the run: a parameter, a buffer, or a constant."""
        return self.maker is None and not self.is_computed


@dataclass(eq=False)
class Step:
    """One call of a PyTorch function.

    Attributes:
        index: In the order of the run.
        path: Dotted name of the module whose forward calls it.
        is_module: Whether that module is one of PyTorch's for this one function.
        name: What PyTorch calls the function.
        call: Where a quantizer can stand; None for functions that take none.
        function: The function then.
        number: How manieth of this name in its module it is, of those that multiply and have no
            ``call``.
        multiplied: Multiply-accumulates of a step without a ``call``, for the batch of the run.
        inputs: Every tensor it takes, in order.
        operands: Those of ``function``, by name; the parts of a Concat are one list.
        outputs: Every tensor it returns.
        scalars: Its arguments that are numbers or strings, by keyword or position.
    """

    index: int
    path: str
    is_module: bool
    name: str
    call: Call | None
    function: Function | None
    number: int
    multiplied: int
    inputs: list[Value]
    operands: dict[str, list[Value]]
    outputs: list[Value]
    scalars: Mapping[str | int, object]

    @property
    def output(self) -> Value:
        """The first tensor that it returns."""
        return self.outputs[0]

    @property
    def layer(self) -> str:
        """What a user calls it: its module, and the function where that is a module of many."""
        if self.is_module:
            return self.path
        number = self.number if self.call is None else self.call.index
        name = self.name if self.call is None else self.call.function
        own = f"{name}_{number}" if number else name
        return f"{self.path}.{own}" if self.path else own

    @property
    def groups(self) -> tuple[int, int, int] | None:
        """Of a convolution the number of groups, and input and output channels of each."""
        if self.function is None or self.function.kind != "convolution":
            return None
        data, weight = (each[0].shape for each in self.operands.values())
        # A single sample has no axis of samples.
        groups = data[1 - len(weight)] // weight[1]
        return groups, weight[1], weight[0] // groups

    @property
    def macs(self) -> int:
        """Multiply-accumulates, for the batch of the run."""
        if self.function is None:
            return self.multiplied
        if not self.outputs:
            return 0
        made = math.prod(self.output.shape)
        if self.function.kind == "attention":
            query, key, value = (self.operands[each][0] for each in ("query", "key", "value"))
            scores = math.prod(query.shape[:-1]) * key.shape[-2]
            return scores * (query.shape[-1] + value.shape[-1])
        if not self.function.multiplies:
            return 0
        first, second = (each[0].shape for each in self.operands.values())
        if self.function.kind == "convolution":
            return made * math.prod(second[1:])
        if self.function.kind == "transposed":
            return math.prod(first) * math.prod(second[1:])
        if self.function.name == "einsum":
            axes = axes_of(spelled_out(str(self.scalars[0]), len(first), len(second)))
            assert axes is not None
            sizes = dict(zip(axes.left, first, strict=True))
            return made * math.prod(sizes[each] for each in axes.summed)
        left = self.operands.get("left", self.operands.get("input"))
        assert left is not None
        return made * left[0].shape[-1]


@dataclass(frozen=True)
class Recording:
    """One run of a model.

    Attributes:
        steps: Every call, in order.
        batch_size: Of the run.
        counts: By the path of a module, how often its forward calls each function; the runs of a
            module that runs several times call each as often.
        unseen: Paths of the modules whose inside cannot be seen (TorchScript), with their class.
        idle: Paths of the layers that did not run, and whose weights nothing else read.
    """

    steps: list[Step]
    batch_size: int
    counts: Mapping[str, Mapping[str, int]]
    unseen: Mapping[str, str]
    idle: tuple[str, ...] = ()

    @property
    def calls(self) -> Iterator[Step]:
        """The steps at which a quantizer can stand."""
        return (step for step in self.steps if step.call is not None)
