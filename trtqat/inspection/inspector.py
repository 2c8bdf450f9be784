"""What TensorRT's engine inspector says of an engine, for every version in one form.

TensorRT 8.6 and 10 write ``{"Layers": […], "Bindings": […]}`` with one "Format/Datatype" string
for a tensor; 11 writes "I/O Tensors" and keeps format and type apart. trtexec's
``--exportLayerInfo`` writes the same. Real output of 8.6.0 lies in tests/data/inspector-8.6.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtqat.errors import GraphError
from trtqat.files import read_input, why_unreadable
from trtqat.tensors import LARGEST_DIM
from trtqat.typed_json import parse_json

# Each version spells types in words of its own, inside longer descriptions.
_DTYPES = (
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\buint8\b", re.IGNORECASE), "uint8"),
    (re.compile(r"\b(fp16|half)\b", re.IGNORECASE), "float16"),
    (re.compile(r"\b(fp32|float)\b", re.IGNORECASE), "float32"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bfloat16"),
    (re.compile(r"\bfp8\b", re.IGNORECASE), "float8"),
    (re.compile(r"\bint32\b", re.IGNORECASE), "int32"),
    (re.compile(r"\bint64\b", re.IGNORECASE), "int64"),
    (re.compile(r"\bbool\b", re.IGNORECASE), "bool"),
)
_MOST_BYTES = 2**30
# Twice what TensorRT's own tensors have.
_MOST_DIMS = 16
_ONNX_LAYER = "[ONNX Layer: "
# Kinds of layers that multiply, in lists of TensorRT for RTX. Attention is a generated kernel
# ("kgen") there, whose products stand in its name alone, as "_gemm_mha_v2_0x80374e45".
_TRANSPOSED = "deconv"
_PRODUCTS = ("correlation", "gemm", _TRANSPOSED)
_FUSED_PRODUCT = re.compile(r"(?:^|_)(gemm|mha|conv)_")
# What is compiled where the plan is loaded has no tactic there. Its name tells its steps in their
# order, as "__myl_CastMulFc_myl0_1": codes become floats, which are scaled and then multiplied.
_RUNTIME_FUSION = "runtime_fusion"
_STEPS_OF_PRODUCT = re.compile(r"__myl_((?:[A-Z][a-z]*)*?)(Fc|Corr|Deco)(?![a-z])")
_WAY_OUT = "Write one with TensorRT's engine inspector, or trtexec --exportLayerInfo=layers.json."


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine layer.

    Attributes:
        name: TensorRT's name for it.
        dtype: As NumPy spells it; empty where the inspector does not say, as for an engine
            of dynamic shapes without a context.
        description: What the inspector says of format and type.
        shape: As ``(N, C, H, W)``; empty where it is not said or open.
    """

    name: str
    dtype: str
    description: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class EngineLayer:
    """One kernel, or what TensorRT runs as one.

    Attributes:
        name: TensorRT's name, which joins what it fused by " + ".
        kind: Its layer type, as ``"CaskConvolution"``; empty if only names were recorded.
        onnx_nodes: The nodes of the ONNX graph that it runs, where TensorRT says so.
        inputs: Its inputs.
        outputs: Its outputs.
        weight_dtype: Type of its weights; empty if it has none, or they are not described.
        tactic: Name of its kernel; empty if it has none.
        weight_count: How many weights it has.
        origin: What a reformat of 8.6 is for: ``"QDQ"``, ``"REFORMAT"`` or ``"CAST"``; empty if
            the inspector does not say.
    """

    name: str
    kind: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    weight_dtype: str
    tactic: str
    weight_count: int = 0
    origin: str = ""

    @property
    def is_product(self) -> bool:
        """Whether its kind says that it multiplies, as TensorRT's newer compiler has it."""
        is_fused = self.kind == "kgen" and _FUSED_PRODUCT.search(self.tactic)
        return self.kind in _PRODUCTS or bool(is_fused)

    @property
    def is_compiled_late(self) -> bool:
        """Whether TensorRT for RTX leaves it to the GPU's compiler, where the plan is loaded."""
        return self.kind == _RUNTIME_FUSION

    @property
    def _late_product(self) -> re.Match[str] | None:
        return _STEPS_OF_PRODUCT.match(self.name) if self.is_compiled_late else None

    @property
    def is_late_product(self) -> bool:
        """Whether it is a product of TensorRT for RTX that the GPU's compiler fuses with others."""
        return self._late_product is not None

    @property
    def casts_first(self) -> bool:
        """Whether such a product turns the codes that it reads into floats first."""
        return self._late_product is not None and "Cast" in self._late_product[1]

    @property
    def is_transposed(self) -> bool:
        """Whether TensorRT for RTX says that it is a transposed convolution."""
        late = self._late_product
        return self.kind == _TRANSPOSED or (late is not None and late[2] == "Deco")

    @property
    def is_reformat(self) -> bool:
        """Whether it only converts a format or a type, which kernels beside it ask for."""
        # Where names alone were recorded, one is called after the kernel that it is for.
        is_called_so = not self.kind and self.name.startswith("Reformatting CopyNode ")
        return is_called_so or self.kind in ("Reformat", "MyelinReformat")

    @property
    def is_quantizer(self) -> bool:
        """Whether it is what a QuantizeLinear or DequantizeLinear node became on its own."""
        if self.origin:
            return self.origin == "QDQ"
        is_named_so = re.search("quantizelinear", self.name, re.IGNORECASE)
        return bool(is_named_so) and not self.weight_dtype

    @property
    def only_moves(self) -> bool:
        """Whether it computes nothing: what it reads is there again, elsewhere or otherwise."""
        return self.is_reformat or self.kind in ("NoOp", "Shuffle")


def read_layers(path: Path) -> tuple[EngineLayer, ...]:
    """Reads a file of layer information.

    Raises:
        GraphError: It is missing or not the inspector's JSON.
    """
    try:
        # Names hold raw control characters in 8.6.
        content = parse_json(read_input(path, most_bytes=_MOST_BYTES), with_nan=True, foreign=True)
    except FileNotFoundError as error:
        raise GraphError(f"There is no layer file '{path}'.", "Check the path.") from error
    except OSError as error:
        raise GraphError(
            f"The layer file '{path}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    except ValueError as error:
        raise GraphError(f"'{path}' is not JSON: {error}.", _WAY_OUT) from error
    return parse_information(content, str(path))


def parse_information(content: object, name: str) -> tuple[EngineLayer, ...]:
    """Reads the inspector's JSON.

    Args:
        content: Decoded.
        name: Of the file or engine, for messages.

    Raises:
        GraphError: It has no list of layers.
    """
    if not isinstance(content, dict) or not isinstance(content.get("Layers"), list):
        raise GraphError(f"'{name}' has no list of Layers.", _WAY_OUT)
    return parse_layers(content["Layers"])


def parse_layers(layers: Sequence[Any]) -> tuple[EngineLayer, ...]:
    """Reads the inspector's list of layers.

    Args:
        layers: Objects of detailed verbosity, or bare names of an engine that was built
            without it.
    """
    return tuple(
        _layer(each)
        if isinstance(each, Mapping)
        else EngineLayer(str(each), "", (), (), (), "", "")
        for each in layers
    )


def _layer(layer: Mapping[str, Any]) -> EngineLayer:
    weights = [value for key, value in layer.items() if key.endswith("Weights")]
    constant = _constant_weights(layer)
    types = [str(each["Type"]) for each in weights if isinstance(each, Mapping) and "Type" in each]
    return EngineLayer(
        name=str(layer.get("Name", "")),
        kind=str(layer.get("LayerType", "")),
        onnx_nodes=_onnx_nodes(str(layer.get("Metadata", ""))),
        inputs=_tensors(layer.get("Inputs")),
        outputs=_tensors(layer.get("Outputs")),
        # A type that is not known here is one, and not INT8.
        weight_dtype=(_dtype(types[0]) or types[0].lower()) if types else constant.dtype,
        tactic=str(layer.get("TacticName", "")),
        weight_count=sum(
            each["Count"]
            for each in weights
            if isinstance(each, Mapping) and _is_size(each.get("Count"))
        )
        or constant.count,
        origin=str(layer.get("Origin", "")),
    )


@dataclass(frozen=True)
class _Weights:
    dtype: str
    count: int


def _constant_weights(layer: Mapping[str, Any]) -> _Weights:
    """The weights of a layer of TensorRT for RTX, which lists them among its constants.

    They come first, before scales (of a convolution) and factors (of a product, of one dimension).
    """
    nothing = _Weights("", 0)
    constants = layer.get("Constants")
    if layer.get("LayerType") not in _PRODUCTS or not isinstance(constants, list) or not constants:
        return nothing
    first = constants[0]
    dims = _shape(first.get("Dimensions")) if isinstance(first, Mapping) else ()
    if len(dims) < 2:
        return nothing
    found = _Weights(_dtype(str(first.get("Datatype", ""))), math.prod(dims))
    # Where another kernel quantizes the weights they are an input, and scales come first.
    read = [tensor.dtype for tensor in _tensors(layer.get("Inputs"))]
    is_scale = found.dtype != "int8" and len(read) > 1 and set(read) == {"int8"}
    return nothing if is_scale else found


def _onnx_nodes(metadata: str) -> tuple[str, ...]:
    _, *parts = metadata.split(_ONNX_LAYER)
    # A name may hold brackets: it ends at the last one before the next name, which 8.6 writes
    # behind a control character.
    names = (part.rpartition("]")[0] for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))


def _tensors(tensors: object) -> tuple[EngineTensor, ...]:
    if not isinstance(tensors, list):
        return ()
    found = []
    for tensor in tensors:
        if not isinstance(tensor, Mapping):
            found.append(EngineTensor(str(tensor), "", ""))
            continue
        description = str(tensor.get("Format/Datatype") or tensor.get("Format", ""))
        dtype = str(tensor.get("Datatype", "")) or description
        shape = _shape(tensor.get("Dimensions"))
        found.append(EngineTensor(str(tensor.get("Name", "")), _dtype(dtype), description, shape))
    return tuple(found)


def _shape(dims: object) -> tuple[int, ...]:
    """Dimensions that the inspector lists; empty where one is open, or no tensor has them."""
    if not isinstance(dims, list) or len(dims) > _MOST_DIMS or not all(map(_is_size, dims)):
        return ()
    return tuple(dims)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_DIM


def _dtype(description: str) -> str:
    return next((name for pattern, name in _DTYPES if pattern.search(description)), "")
