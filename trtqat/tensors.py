"""The words for a model's inputs and outputs that every room shares."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.memory import check_fits

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

# The type of a graph's floats, of all that is not quantized.
Precision: TypeAlias = Literal["fp32", "fp16"]

DYNAMIC = -1
# A tensor of TensorRT holds no more numbers, so no dimension is larger.
LARGEST_DIM = 2**31 - 1
# How many bytes there are.
BYTES = 256
# ``(N, C, H, W)`` or ``(N, H, W, C)``, of so many channels.
_IMAGE_RANK, _COLOURS = 4, frozenset({3, 4})

# As much as can be is the name: TensorFlow's hold colons, as x:0.
_SPEC = re.compile(r"(?P<name>.+):(?P<dims>\d+(?:x\d+)*)(?::(?P<dtype>.*))?", re.DOTALL)
_INPUT_DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Tensor name in the graph or engine.
        shape: For example ``(-1, 3, 32, 32)``; ``-1`` marks a dynamic dimension.
        dtype: NumPy name, for example ``"float32"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_kind("TensorSpec.name", self.name, str, "'x'")
        check_kind(f"The shape of '{self.name}'", self.shape, (tuple, list), "(1, 3, 32, 32)")
        # NumPy's integers are as good.
        if not all(isinstance(dim, SupportsIndex) for dim in self.shape):
            raise UsageError(
                f"The shape of '{self.name}' is {self.shape!r}, which are not integers.",
                "Give a shape as (1, 3, 32, 32); -1 leaves a dimension open.",
            )
        object.__setattr__(self, "shape", tuple(operator.index(dim) for dim in self.shape))
        check_kind(f"The dtype of '{self.name}'", self.dtype, str, "'float32'")

    @property
    def is_dynamic(self) -> bool:
        """Whether a dimension is left open."""
        return DYNAMIC in self.shape

    @property
    def random_below(self) -> int:
        """Where random integers end: all bytes of a colour image; other integers are 0 or 1.

        Most of those are indices or masks, whose bounds no model tells.
        """
        is_image = self.dtype == "uint8" and len(self.shape) == _IMAGE_RANK
        has_colours = is_image and not _COLOURS.isdisjoint((self.shape[1], self.shape[3]))
        return BYTES if has_colours else 2

    def with_batch(self, batch_size: int) -> TensorSpec:
        """The same tensor with its first dimension set to ``batch_size``."""
        return replace(self, shape=(batch_size, *self.shape[1:]))

    def __str__(self) -> str:
        dims = "x".join("?" if dim == DYNAMIC else str(dim) for dim in self.shape)
        return f"{self.name}:{dims}:{self.dtype}"


def are_texts(array: Array) -> bool:
    """Whether an output holds texts, as a graph on ONNX Runtime may: nothing can be computed."""
    return array.dtype.kind in "OUS"


def io_in_words(inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> str:
    """Inputs and outputs on one line: ``x:?x3x32x32:float32 → output:?x10:float32``."""
    return " → ".join(", ".join(map(str, specs)) for specs in (inputs, outputs) if specs)


def random_arrays(specs: Iterable[TensorSpec], seed: int) -> dict[str, Array]:
    """Random inputs: standard normal floats, all bytes of colour images, else 0 or 1.

    Args:
        specs: Their names, dtypes and shapes, none of them open.
        seed: Same seed, same numbers.

    Raises:
        UsageError: They do not fit into memory.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in specs:
        # As float64 first, or int64.
        check_fits(8 * math.prod(spec.shape), f"Random numbers for {spec}")
        dtype = np.dtype(spec.dtype)
        array = (
            generator.standard_normal(spec.shape)
            if np.issubdtype(dtype, np.floating)
            else generator.integers(0, spec.random_below, spec.shape)
        )
        arrays[spec.name] = np.asarray(array, dtype)
    return arrays


def as_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    """The same numbers in another type of their kind; floats may be rounded.

    Args:
        array: Floats or integers; what has the type already is not copied.
        dtype: The type.

    Raises:
        OverflowError: A finite number does not fit; that is its message.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    check_numbers(array, converted)
    return converted


def check_numbers(array: Array, converted: Array) -> None:
    """Compares numbers with what another type of their kind holds of them.

    Args:
        array: Floats or integers.
        converted: The same in the other type.

    Raises:
        OverflowError: A finite number does not fit; that is its message.
    """
    if np.can_cast(array.dtype, converted.dtype):
        return
    is_float = converted.dtype.kind == "f"
    fits = np.isfinite(converted) if is_float else converted == array
    if not fits.all():
        fits |= is_float & ~np.isfinite(array)
    if not fits.all():
        raise OverflowError(str(array[~fits].flat[0]))


def parse_tensor_spec(text: str) -> TensorSpec:
    """Parses ``NAME:1x3x32x32[:dtype]``, as ``--input`` takes it.

    Args:
        text: The specification; the dtype is float32 if not given. A name may hold colons, as
            TensorFlow's do.

    Raises:
        UsageError: It has another form, a dimension below 1 or an unknown dtype.
    """
    form = _SPEC.fullmatch(text)
    shape = tuple(map(int, form["dims"].split("x"))) if form else ()
    if form is None or min(shape) < 1:
        raise UsageError(
            f"'{text}' is not an input specification.",
            "Write NAME:1x3x32x32, or NAME:1x128:int64 where the dtype is not float32.",
        )
    dtype = form["dtype"] or "float32"
    if dtype not in _INPUT_DTYPES:
        raise UsageError(
            f"'{text}' names the dtype '{dtype}', which no input can have.",
            f"Use one of {', '.join(_INPUT_DTYPES)}.",
        )
    return TensorSpec(form["name"], shape, dtype)


def specs_by_name(specs: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    """Input specifications by name.

    Raises:
        UsageError: A name is there twice.
    """
    found: dict[str, TensorSpec] = {}
    for spec in specs:
        if spec.name in found:
            raise UsageError(
                f"Input '{spec.name}' is given twice: {found[spec.name]} and {spec}.",
                "Give one --input for each input.",
            )
        found[spec.name] = spec
    return found
