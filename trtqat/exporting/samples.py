"""Sample inputs and outputs: what a model is traced and verified with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trtqat.errors import ForwardError, SourceError, TrtqatError, first_line
from trtqat.exporting.batches import random_batch, sized
from trtqat.exporting.given_inputs import leaves_a_gap
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.module_by_module import module_by_module
from trtqat.quant.placing.placed import run_without_quantizers
from trtqat.quant.recipe import unwrapped
from trtqat.runtime.pytorch_hooks import watched
from trtqat.runtime.pytorch_outputs import name_outputs, notes_on_names
from trtqat.tensors import Array, TensorSpec, specs_by_name
from trtqat.user_code import exits_told, printing_aside

Samples = dict[str, torch.Tensor]


def order_inputs(model: torch.nn.Module, inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Brings the inputs into the order of the model's forward.

    Where they are not its first parameters, ``given_inputs`` lets it be called with them.

    Args:
        model: Module or ScriptModule.
        inputs: Specifications whose names are parameters of forward.

    Raises:
        SourceError: None is given, a name is not a parameter, a required one is missing, or
            forward names none.
        UsageError: A name is there twice.
    """
    parameters = forward_parameters(model)
    if not parameters:
        raise SourceError(
            "The model's forward names no parameters, and an engine's inputs have names.",
            "Name them, as in forward(self, images), or wrap the model in one whose forward does.",
        )
    names = ", ".join(parameters)
    example = f"--input {next(iter(parameters), 'x')}:1x3x224x224"
    if not inputs:
        raise SourceError(
            f"The shape of the model's input is not known; its forward takes ({names}).",
            f"Give it, for example: {example}",
        )
    given = specs_by_name(inputs)
    unknown = [name for name in given if name not in parameters]
    if unknown:
        raise SourceError(
            f"The model has no input '{unknown[0]}'; its forward takes ({names}).",
            f"Use those names, for example: {example}",
        )
    ordered = [given[name] for name in parameters if name in given]
    lacking = [name for name, required in parameters.items() if required and name not in given]
    is_script = isinstance(model, torch.jit.ScriptModule)
    if is_script and leaves_a_gap([*parameters], [spec.name for spec in ordered]):
        lacking += [name for name in parameters if name not in given]
    if lacking:
        absent = lacking[0]
        raise SourceError(
            f"The model's input '{absent}' has no shape; its forward takes ({names}).",
            f"Add --input {absent}:SHAPE.",
        )
    return ordered


def random_samples(inputs: Sequence[TensorSpec], batch_size: int | None, seed: int) -> Samples:
    """Random numbers around 1 (``batches.random_batch``) of a batch size, None for the inputs'."""
    return as_tensors(random_batch(sized(inputs, batch_size), seed))


def as_tensors(arrays: Mapping[str, Array]) -> Samples:
    """A copy of the batch for PyTorch: a model may work in place on what it is given."""
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def run_model(model: torch.nn.Module, samples: Samples) -> dict[str, Array]:
    """Runs the model and names its outputs (``runtime.pytorch_outputs.name_outputs``).

    Every quantizer on the way is called, also where PyTorch has a fused form of a layer. What
    forward writes into buffers is put back: a graph keeps nothing from run to run.

    Raises:
        ForwardError: The model raises on the samples.
        SourceError: It returns something else than tensors, or one that NumPy cannot hold, or ends
            the program.
    """
    return _run(model, samples)[0]


def fill_what_is_kept(model: torch.nn.Module, samples: Samples) -> None:
    """Lets a model make what it keeps from its first run, without its quantizers.

    Raises:
        ForwardError: The model raises on the samples.
        SourceError: It returns something else than tensors.
    """
    run_without_quantizers(model, lambda: run_model(model, samples))


def _run(model: torch.nn.Module, samples: Samples) -> tuple[dict[str, Array], list[str]]:
    """The outputs, and names of the buffers that were written and put back."""
    try:
        with (
            torch.no_grad(),
            module_by_module(),
            printing_aside(),
            exits_told("The model's forward"),
            buffers_kept(model) as written,
        ):
            result = model(*samples.values())
    except TrtqatError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in samples.items())
        raise ForwardError(
            f"The model raised {type(error).__name__} on {shapes}: {first_line(error)}.",
            "Check --input: shape, dtype and order of the dimensions.",
        ) from error
    outputs = name_outputs(result, samples)
    return {name: _array_of(name, tensor) for name, tensor in outputs.items()}, written


def _array_of(name: str, output: torch.Tensor) -> Array:
    try:
        array: Array = output.detach().numpy()
    # NumPy has no bfloat16, and nothing sparse.
    except TypeError as error:
        raise SourceError(
            f"The model's output '{name}' cannot become an array: {first_line(error)}.",
            "Return a dense tensor in float32, as .float() makes one.",
        ) from error
    return array


def run_and_note(model: torch.nn.Module, samples: Samples) -> tuple[dict[str, Array], list[str]]:
    """Runs the model as ``run_model`` does, and notes what its outputs are called.

    Args:
        model: In eval mode; a ScriptModule is not looked into.
        samples: Its inputs.

    Returns:
        The model's outputs by name, and a sentence for each that the graph calls otherwise, and for
        each buffer that forward writes.

    Raises:
        ForwardError: The model raises on the samples.
        SourceError: It returns something else than tensors, or ends the program.
    """
    notes: list[str] = []
    seen = {} if isinstance(model, torch.jit.ScriptModule) else {"": model}
    with watched(seen, lambda _, y: notes.extend(notes_on_names(y, samples))):
        outputs, written = _run(model, samples)
    notes += [
        f"The model's forward writes its buffer '{name}': the graph begins every run with what it "
        "holds now."
        for name in written
    ]
    return outputs, notes


def observe(
    model: torch.nn.Module,
    modules: Mapping[str, torch.nn.Module],
    samples: Samples,
    seen: Callable[[str, torch.Tensor], object],
) -> dict[str, Array]:
    """Runs the model once and reports the output of every call of some of its modules.

    Args:
        model: In eval mode.
        modules: Modules of it, by name.
        samples: Its inputs.
        seen: Called with name and output, in the order of execution.

    Returns:
        The model's outputs by name.

    Raises:
        ForwardError: The model raises on the samples.
        SourceError: It returns something else than tensors.
    """
    with watched(modules, seen):
        return run_model(model, samples)


def forward_parameters(model: torch.nn.Module) -> dict[str, bool]:
    """Parameter names of forward in order, and whether each must be given."""
    if isinstance(model, torch.jit.ScriptModule):
        forward: Any = model.forward
        arguments = forward.schema.arguments[1:]
        return {argument.name: not argument.has_default_value() for argument in arguments}
    others = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    # A wrapper hands on what it is given.
    parameters = inspect.signature(unwrapped(model).forward).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind not in others}
