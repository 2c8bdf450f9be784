"""Records what a model computes while it runs."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from trtqat.errors import first_line
from trtqat.quant.feeding import on_arguments
from trtqat.quant.placing.functions import Arguments, Function
from trtqat.quant.placing.instrumented import watched_run
from trtqat.quant.placing.interception import Call, current_path
from trtqat.quant.placing.multiplying import RECURRENT, Operators, operator_macs, recurrent_macs
from trtqat.quant.placing.steps import Recording, Step, Value
from trtqat.quant.placing.written import changed_by, storage_of

_LOG = logging.getLogger(__name__)

# What they make of a weight may have the batch's size; then no exporter makes it a weight.
_REPEATING = frozenset({"expand", "expand_as", "repeat", "tile", "repeat_interleave"})
# What they make is as large as what they are given first, and no number of that is in it.
_FILLING = frozenset({"full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"})
_MODULES = frozenset(
    getattr(nn, f"{name}{n}d")
    for name in ("Conv", "ConvTranspose", "AvgPool", "AdaptiveAvgPool")
    for n in "123"
) | {nn.Linear, nn.Bilinear, nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
# Modules that are layers, whoever calls them.
_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)


def record(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Recording:
    """Runs a model in eval mode and without gradients, and records what it calls.

    Once, behind a run that fills what forward keeps for the next one, as a grid of its input's
    size. Where it repeats what no input reaches, once more on a single sample: what is as large
    then is a weight, and the model is recorded again with that known.

    Args:
        model: In eval mode; without quantizers of ``trtqat.quantize`` that quantize.
        args: Positional arguments of forward; tensors of shape ``(N, …)``.
        kwargs: Keyword arguments.
    """
    size = next((each.shape[0] for each in _tensors([args, dict(kwargs)]) if each.dim()), 1)
    # A forward may write into what it is given.
    spare, first = (on_arguments(torch.clone, (args, dict(kwargs))) for _ in range(2))
    with torch.no_grad():
        model(*first[0], **first[1])
    recorder = _run(model, (args, dict(kwargs)))
    if recorder.doubtful:
        fixed = _not_of_batch(model, spare, size, recorder.repeats)
        if fixed & recorder.doubtful:
            recorder = _run(model, spare, fixed)
    unseen = {
        name: type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule)
    }
    return Recording(recorder.steps, size, recorder.counts, unseen, tuple(_idle(model, recorder)))


def _run(model: nn.Module, given: Arguments, fixed: Collection[int] = ()) -> _Recorder:
    args, kwargs = given
    recorder = _Recorder(model, fixed)
    for tensor in _tensors(given):
        recorder.known(tensor, is_computed=True)
    with torch.no_grad(), watched_run(model, recorder), Operators(recorder.ran):
        result = model(*args, **kwargs)
    for tensor in _tensors(result):
        recorder.known(tensor).is_output = True
    return recorder


def _not_of_batch(
    model: nn.Module, given: Arguments, size: int, repeats: list[torch.Size]
) -> frozenset[int]:
    """Which of the repeats in a run are as large for one sample; none where that is not known."""

    def first(tensor: torch.Tensor) -> torch.Tensor:
        return (tensor[:1] if tensor.dim() and tensor.shape[0] == size else tensor).clone()

    if size < 2:
        return frozenset()
    try:
        single = _run(model, on_arguments(first, given)).repeats
    # A model may be made for one batch size.
    except Exception as error:
        _LOG.debug("Recording one sample failed: %s", first_line(error))
        return frozenset()
    if len(single) != len(repeats):
        return frozenset()
    both = enumerate(zip(repeats, single, strict=True))
    return frozenset(index for index, (one, other) in both if one == other)


def _idle(model: nn.Module, recorder: _Recorder) -> Iterator[str]:
    """Layers that did not run. One whose weight a function of another module read did."""
    modules = dict(model.named_modules())
    inside = ""
    for path, module in modules.items():
        if not isinstance(module, _LAYERS) or path in recorder.entered_paths:
            continue
        if inside and path.startswith(inside):
            continue
        readers = itertools.chain.from_iterable(map(recorder.readers, module.parameters()))
        if all(_reads_its_own(modules[step.path], module) for step in readers):
            inside = f"{path}."
            yield path


def _reads_its_own(reader: nn.Module, layer: nn.Module) -> bool:
    """Whether a module that reads a layer's weight has it as its own, as a tied embedding."""
    of_layer = set(layer.parameters())
    return type(reader).__module__.startswith("torch.nn.") and any(
        each in of_layer for each in reader.parameters(recurse=False)
    )


class _Recorder:
    """Watches a run. It keeps every tensor, so that no two have the same identity.

    Attributes:
        repeats: What each call of those in ``_REPEATING`` made, in order.
        doubtful: The numbers of those whose operands no input reaches.
    """

    def __init__(self, model: nn.Module, fixed: Collection[int]) -> None:
        """Begins with nothing.

        Args:
            model: That will run.
            fixed: Numbers of the repeats that are known not to depend on the batch.
        """
        self.repeats: list[torch.Size] = []
        self.doubtful: set[int] = set()
        self._fixed = fixed
        self.steps: list[Step] = []
        self.counts: dict[str, dict[str, int]] = {}
        self._values: dict[int, Value] = {}
        self._kept: dict[int, torch.Tensor] = {}
        self._by_storage: defaultdict[int | None, list[torch.Tensor]] = defaultdict(list)
        self._modules = {name: type(module) for name, module in model.named_modules()}
        self.entered_paths: set[str] = set()
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._is_calling = False
        self._multiplied = 0

    def known(self, tensor: torch.Tensor, *, is_computed: bool = False) -> Value:
        """The value that a tensor holds now."""
        value = self._values.get(id(tensor))
        if value is None:
            # Nobody sees how NumPy's view of a tensor is made.
            shared = (self._values[id(each)] for each in self._of_one_storage(tensor))
            value = self._new(tensor, is_computed=is_computed or any(v.is_computed for v in shared))
        return value

    def _new(self, tensor: torch.Tensor, *, is_computed: bool) -> Value:
        if id(tensor) not in self._kept:
            self._kept[id(tensor)] = tensor
            self._by_storage[storage_of(tensor)].append(tensor)
        value = Value(tuple(tensor.shape), is_computed, tensor.dtype)
        self._values[id(tensor)] = value
        return value

    def _of_one_storage(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The known tensors that share a tensor's memory."""
        place = storage_of(tensor)
        return [] if place is None else self._by_storage[place]

    def readers(self, parameter: torch.Tensor) -> list[Step]:
        """The steps that read a parameter."""
        value = self._values.get(id(parameter))
        return [] if value is None else value.readers

    def entered(self, path: str) -> None:
        self.entered_paths.add(path)

    def calling(self) -> None:
        self._is_calling, self._multiplied = True, 0

    def ran(self, name: str, given: Arguments, result: object) -> None:
        """PyTorch has run an operator: one of a call that is seen, or one of no such call."""
        self._multiplied += operator_macs(name, given[0], result)
        if not self._is_calling:
            self.called(current_path(), None, None, name, given, result)

    def called(
        self,
        path: str,
        call: Call | None,
        function: Function | None,
        name: str,
        given: Arguments,
        result: object,
    ) -> None:
        args, kwargs = given
        multiplied, self._multiplied, self._is_calling = self._multiplied, 0, False
        inputs = [self.known(each) for each in _tensors([args, kwargs])]
        changed = changed_by(name, args, kwargs)
        returned = list(dict.fromkeys(_tensors(result), None)) if changed is None else [changed]
        if not returned:
            return
        operands: dict[str, list[Value]] = {}
        if call is not None and function is not None:
            for operand in function.operands:
                operands[operand.name] = [
                    self.known(each) for each in _tensors(operand.of(args, kwargs))
                ]
            counts = self.counts.setdefault(path, {})
            counts[function.name] = max(counts.get(function.name, 0), call.index + 1)
        is_computed = any(each.is_computed for each in inputs[name in _FILLING :])
        if name in _REPEATING:
            if not is_computed:
                self.doubtful.add(len(self.repeats))
                is_computed = len(self.repeats) not in self._fixed
            self.repeats.append(returned[0].shape)
        # What returns its argument itself, as contiguous() may, makes nothing.
        if changed is None:
            returned = [each for each in returned if id(each) not in self._values]
        elif is_computed:
            # What is written through a view is in what it is a view of, and in its other views.
            returned += [each for each in self._of_one_storage(changed) if each is not changed]
        if not returned:
            return
        outputs = [self._new(each, is_computed=is_computed) for each in returned]
        keyed: list[tuple[str | int, object]] = [*enumerate(args), *kwargs.items()]
        scalars: dict[str | int, object] = {
            key: value for key, value in keyed if isinstance(value, (int, float, str, tuple, list))
        }
        if call is None and name in RECURRENT:
            matrices = (each.shape for each in inputs if each.is_weight and len(each.shape) == 2)
            multiplied = recurrent_macs(inputs[0].shape, matrices)
        elif call is None and name == "bilinear":
            multiplied = math.prod(returned[0].shape) * math.prod(inputs[2].shape[1:])
        number = 0
        if multiplied and call is None:
            number = self._numbers[path, name]
            self._numbers[path, name] += 1
        step = Step(
            len(self.steps),
            path,
            self._modules.get(path) in _MODULES,
            name,
            call,
            function if call is not None else None,
            number,
            multiplied,
            inputs,
            operands,
            outputs,
            scalars,
        )
        self.steps.append(step)
        for value in inputs:
            value.readers.append(step)
        for value in outputs:
            value.maker = step


def _tensors(tree: object) -> Iterator[torch.Tensor]:
    """Every tensor in lists, tuples, dicts and dataclasses."""
    stack = [tree]
    while stack:
        each = stack.pop()
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, Mapping):
            stack.extend(reversed(list(each.values())))
        elif isinstance(each, (list, tuple)):
            stack.extend(reversed(each))
        elif hasattr(each, "__dataclass_fields__"):
            stack.extend(reversed([getattr(each, name) for name in each.__dataclass_fields__]))
