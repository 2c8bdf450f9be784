"""Data that a function of the user's makes: ``file.py:function``.

The function takes no argument. It returns either a ``Dataset`` (``batch`` and ``__len__``) or a
sequence of samples ``(inputs, label)``, for example a PyTorch data set: ``inputs`` an array of
the shape of one sample, or a dict of them by input name; ``label`` an integer, another label as
``trtqat.data.labels`` has them, or None.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trtqat.data.batches import (
    Batch,
    Shown,
    check_input,
    check_range,
    some_labels,
    to_input,
)
from trtqat.data.labels import Labels, as_labels, check_labels
from trtqat.errors import DataError
from trtqat.pointers import load_pointer
from trtqat.tensors import Array, TensorSpec
from trtqat.user_code import returned, user_code


class FactoryDataset(Shown):
    """What the function returned, with every batch checked against the model."""

    def __init__(self, pointer: str, inputs: Sequence[TensorSpec]) -> None:
        """Calls the function and checks the first sample.

        Args:
            pointer: ``file.py:function`` or ``pkg.module:function``.
            inputs: The model's inputs.

        Raises:
            UsageError: The pointer leads nowhere.
            DataError: The function raised, returned something else, or its first sample does not
                fit the model.
        """
        self.name = pointer
        self._inputs = tuple(inputs)
        self._samples, self._length = made_samples(pointer)
        self.batch(0, 1)

    def __len__(self) -> int:
        return self._length

    def batch(self, start: int, stop: int) -> Batch:
        """The samples of the user's object, checked and converted.

        Raises:
            DataError: The user's code raised, or the batch does not fit the model.
        """
        check_range(start, stop, self._length)
        with self._user_code(f"it gave samples {start} to {stop - 1}"):
            read: Callable[[int, int], tuple[Any, Any]] = (
                self._read_batch if hasattr(self._samples, "batch") else self._read_samples
            )
            inputs, labels = read(start, stop)
            # The arrays are the user's objects as well, until they are NumPy's.
            arrays = self._named(inputs)
            labels = None if labels is None else as_labels(labels)
        return self._checked(arrays, labels, start, stop - start)

    def _read_batch(self, start: int, stop: int) -> tuple[Any, Any]:
        batch = self._samples.batch(start, stop)
        if not (hasattr(batch, "inputs") and hasattr(batch, "labels")):
            raise DataError(
                f"The batch(start, stop) of {self.name} returned {returned(batch)} for samples "
                f"{start} to {stop - 1}.",
                "Return a trtqat.data.batches.Batch, or what has inputs and labels as it does.",
            )
        return _kept(batch.inputs), _kept(batch.labels)

    def _read_samples(self, start: int, stop: int) -> tuple[Any, Any]:
        samples = [
            tuple(map(_kept, pair_at(self.name, self._samples, index)))
            for index in range(start, stop)
        ]
        labels = [sample[1] for sample in samples]
        if any(label is None for label in labels):
            if any(label is not None for label in labels):
                raise some_labels(self.name, start, stop)
            labels = None  # type: ignore[assignment]
        first = samples[0][0]
        if not isinstance(first, Mapping):
            return np.stack([np.asarray(sample[0]) for sample in samples]), labels
        return {
            name: np.stack([np.asarray(sample[0][name]) for sample in samples]) for name in first
        }, labels

    def _named(self, inputs: Any) -> dict[str, Array]:  # noqa: ANN401
        if not isinstance(inputs, Mapping):
            if len(self._inputs) != 1:
                names = ", ".join(f"'{spec.name}'" for spec in self._inputs)
                raise DataError(
                    f"{self.name} gives one array, but the model has the inputs {names}.",
                    "Return a dict of arrays by input name.",
                )
            inputs = {self._inputs[0].name: inputs}
        for spec in self._inputs:
            if spec.name not in inputs:
                raise DataError(
                    f"{self.name} gives no array for input '{spec.name}', only "
                    f"{', '.join(map(repr, inputs)) or 'an empty dict'}.",
                    "Name the arrays like the inputs of the model.",
                )
        return {spec.name: np.asarray(inputs[spec.name]) for spec in self._inputs}

    def _checked(
        self, arrays: Mapping[str, Array], labels: Labels | None, start: int, count: int
    ) -> Batch:
        checked = {}
        for spec in self._inputs:
            array = arrays[spec.name]
            if array.ndim == 0 or len(array) != count:
                raise DataError(
                    f"{self.name} gave an array of shape {array.shape} for input '{spec.name}' "
                    f"where {count} samples were asked for.",
                    "Its batch(start, stop) must return exactly the samples from start to stop-1.",
                )
            check_input(self.name, spec, array.shape[1:], array.dtype)
            checked[spec.name] = to_input(self.name, spec, array, start=start)
        if labels is None:
            return Batch(checked)
        source = f"The labels of {self.name}"
        return Batch(checked, check_labels(source, labels, count, start=start))

    def _user_code(self, when: str) -> contextlib.AbstractContextManager[None]:
        return _told(self.name, when)


def made_samples(pointer: str) -> tuple[Any, int]:
    """What a function makes that gives data, and how many samples that has.

    Args:
        pointer: ``file.py:function`` or ``pkg.module:function``.

    Raises:
        UsageError: The pointer leads nowhere.
        DataError: The function raised, or returned something else, or no sample.
    """
    function = load_pointer(pointer)
    with _told(pointer, "it was called"):
        samples = function()
        has_length = hasattr(samples, "__len__")
        is_dataset = has_length and (hasattr(samples, "batch") or hasattr(samples, "__getitem__"))
        is_loader = not is_dataset and hasattr(samples, "dataset")
    if not is_dataset:
        raise DataError(
            f"{pointer} returned {returned(samples)}.",
            "Return its dataset alone; what reads it makes the batches."
            if is_loader
            else "Return an object with __len__ and either batch(start, stop) or samples "
            "(inputs, label) by index.",
        )
    with _told(pointer, "it was asked for its length"):
        length = len(samples)
    if not length:
        raise DataError(f"{pointer} returned no sample.", "Return at least one.")
    return samples, length


def pair_at(name: str, samples: Any, index: int) -> tuple[Any, Any]:  # noqa: ANN401
    """The inputs and the label of a sample.

    Raises:
        DataError: It is no such pair.
    """
    sample = samples[index]
    if not isinstance(sample, Sequence) or len(sample) != 2:
        raise DataError(
            f"Sample {index} of {name} is not (inputs, label).",
            "Return pairs; the label may be None.",
        )
    return sample[0], sample[1]


def as_array(given: object) -> Array:
    """A copy of an array, or of a tensor on any device, with or without a gradient.

    NumPy has no bfloat16: such numbers become float32, which holds them all.
    """
    # What PyTorch makes is known by its methods: this room does not import it.
    if hasattr(given, "detach"):
        tensor: Any = given
        tensor = tensor.detach().cpu()
        given = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return np.array(given)


def _told(pointer: str, when: str) -> contextlib.AbstractContextManager[None]:
    remedy = "Mend the function, or try it in Python first."
    return user_code(pointer, DataError, remedy, when=f" when {when}")


def _kept(given: Any) -> Any:  # noqa: ANN401 - it is the user's
    """Copies of arrays, and of those in a dict or a list.

    Whoever gives them may write the next sample or batch into the same memory, while this one is
    on its way through a model or waits for others to be chosen with it.
    """
    if isinstance(given, Mapping):
        return {name: _kept(each) for name, each in given.items()}
    if isinstance(given, (list, tuple)):
        return [_kept(each) for each in given]
    # A number, or a text, of NumPy's lies in no memory of others.
    is_array = hasattr(given, "__array__") and not isinstance(given, np.generic)
    return as_array(given) if is_array else given
