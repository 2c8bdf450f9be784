"""Batches of any size through one model, with a row for each image in every output."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from trtqat.errors import DataError
from trtqat.evaluation.batch_axis import (
    by_image,
    find_batch_axis,
    first_images,
    is_of_no_image,
    moved_axis,
    possible_batch_axes,
)
from trtqat.io_names import IoNames, match_outputs
from trtqat.runtime.batches import next_batch
from trtqat.runtime.protocol import Model, Session
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec

_LOG = logging.getLogger(__name__)


class BatchRunner:
    """Runs batches of any size, one session at a time: an engine may allow no second one."""

    def __init__(
        self,
        model: Model,
        session: Session | None = None,
        size: int = 0,
        *,
        lent: Sequence[TensorSpec] = (),
    ) -> None:
        """Takes a session that is open already, or none.

        Args:
            model: Whose session it is.
            session: The first one; it is closed as all others are.
            size: Its batch size.
            lent: What another model declares of the outputs, where this one declares none.
        """
        self._model = model
        self._session = session
        self._size = size
        specs = declared_outputs(model) if model.outputs else lent
        self._declared = {spec.name: spec.shape for spec in specs}
        self._axes: dict[str, int | None] = {}
        self._in_doubt: set[str] = set()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def outputs_by_image(
        self, inputs: Arrays, size: int, names: IoNames | None = None
    ) -> dict[str, Array]:
        """The outputs of ``run``, a row for each image: ``(size, …)``.

        Args:
            inputs: Arrays ``(size, …)`` by input name.
            size: At most the model's largest batch.
            names: Of the outputs, in their order; None takes the model's own.

        Raises:
            DataError: They are not the outputs of this model, or which of their rows are these
                images' is not known.
        """
        outputs = self.run(inputs, size, names)
        return {name: by_image(array, self._axes[name], size) for name, array in outputs.items()}

    def run(self, inputs: Arrays, size: int, names: IoNames | None = None) -> dict[str, Array]:
        """All outputs, ``(size, …)``; rows are repeated where the model takes no fewer.

        Args:
            inputs: Arrays ``(size, …)`` by input name.
            size: At most the model's largest batch.
            names: As for ``outputs_by_image``.

        Raises:
            DataError: As ``outputs_by_image``.
        """
        session = self.open(size)
        if self._size > size:
            rows = np.arange(self._size) % size
            inputs = {name: array[rows] for name, array in inputs.items()}
        found = self._query(session, inputs, names)
        # Once, in the first batch: the last one may be as long as another dimension.
        if not self._axes:
            found = self._find_axes(session, inputs, names, found)
        if size < self._size:
            self._check_axes(found, size)
        return {
            name: first_images(array, self._axes[name], size, self._size)
            for name, array in found.items()
        }

    def _query(
        self, session: Session, inputs: Arrays, names: IoNames | None
    ) -> Mapping[str, Array]:
        found: Mapping[str, Array] = session.run(inputs)
        if self._model.outputs:
            found = {spec.name: found[spec.name] for spec in self._model.outputs}
        return found if names is None else match_outputs(found, names, model=self._model.name)

    def _find_axes(
        self,
        session: Session,
        inputs: Arrays,
        names: IoNames | None,
        found: Mapping[str, Array],
    ) -> Mapping[str, Array]:
        """Learns which dimension of each output is the batch; returns the outputs."""
        if names is not None and self._declared:
            self._declared = match_outputs(self._declared, names, model=self._model.name)
        possible = {
            name: possible_batch_axes(array.shape, self._size, self._declared.get(name))
            for name, array in found.items()
        }
        moved: Mapping[str, Array] = {}
        if self._size > 1 and any(len(axes) > 1 for axes in possible.values()):
            # The next query of a session may write to the memory of this one.
            found = {name: np.array(array) for name, array in found.items()}
            other = {name: np.roll(array, 1, axis=0) for name, array in inputs.items()}
            moved = self._query(session, other, names)
        for name, array in found.items():
            axis = find_batch_axis(array.shape, self._size, self._declared.get(name))
            if moved and len(possible[name]) > 1:
                if is_of_no_image(array, moved[name], possible[name], self._size):
                    self._keep_axis(name, array, None)
                    continue
                evident = moved_axis(array, moved[name], possible[name], self._size)
                if evident is None:
                    self._in_doubt.add(name)
                    _LOG.warning(
                        "Which dimension of the output '%s' of '%s' (%s) holds its %d images is "
                        "not known; the first one of that length is taken.",
                        name,
                        self._model.name,
                        "x".join(map(str, array.shape)),
                        self._size,
                    )
                else:
                    axis = evident
            self._keep_axis(name, array, axis)
        return found

    def _keep_axis(self, name: str, array: Array, axis: int | None) -> None:
        self._axes[name] = axis
        self.shapes[name] = tuple(
            DYNAMIC if index == axis else length for index, length in enumerate(array.shape)
        )

    def _check_axes(self, found: Arrays, size: int) -> None:
        """Refuses to take the rows of some images where nobody knows which these are.

        Raises:
            DataError: There is such an output.
        """
        for name in self._in_doubt:
            shape = "x".join(map(str, found[name].shape))
            raise DataError(
                f"Which dimension of the output '{name}' of '{self._model.name}' ({shape}) holds "
                f"its images is not known, and the last {size} fill no batch of {self._size}.",
                f"Give a multiple of {self._size} samples, as by --limit, or export the model "
                "with an open batch.",
            )

    def open(self, size: int) -> Session:
        """The session for batches of a size, opened if it is not the one that is open."""
        padded = next_batch(self._model, size) or size
        if self._session is None or padded != self._size:
            self.close()
            self._session, self._size = self._model.session(padded), padded
        return self._session

    def close(self) -> None:
        """Frees the session, not the model."""
        if self._session is not None:
            self._session.close()
        self._session = None


def declared_outputs(model: Model) -> tuple[TensorSpec, ...]:
    """Outputs whose open dimension is the batch; none of a fixed batch, where it is another one.

    Args:
        model: The model.
    """
    low, high = model.batch_range
    return () if low == high else model.outputs
