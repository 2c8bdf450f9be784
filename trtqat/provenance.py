"""What an export records in the graph, and a build in the manifest: where a plan comes from."""

from __future__ import annotations

import functools
import json
import logging
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trtqat.errors import UsageError
from trtqat.io_names import NameRecord
from trtqat.pixels import Pixels
from trtqat.typed_json import Unbounded, parse_json, read_as

_LOG = logging.getLogger(__name__)

# Under this key of an ONNX file's metadata the export records where the graph comes from.
METADATA_KEY = "trtqat"


@dataclass(frozen=True)
class Provenance:
    """Where a graph, or the plan that was built from it, comes from; None is not recorded.

    Attributes:
        version: Of trtqat, which exported it.
        source: Name of the model: a pointer without its directories, or the ONNX file that was
            improved.
        source_sha256: Of the model's file.
        factory_args: What the model's factory was called with.
        checkpoint: Name of the checkpoint's file.
        checkpoint_sha256: Of that file.
        ema: Whether the weights are the averaged ones of the checkpoint, where it was asked for.
        exporter: Which exporter traced the model.
        quantizers: Dotted names of the PyTorch quantizers that the Q/DQ pairs were made of, in the
            graph's order.
        quantized_inputs: Scale by name of the inputs that arrive as INT8 codes.
        pixels: By name of the inputs that arrive as bytes of images, what these mean.
        qdq_pairs: How many Q/DQ pairs the graph has.
        int8_share: Share of the multiply-accumulates between Q/DQ pairs, 0 to 1.
        io_names: Names of inputs and outputs, in the order of the exported model.
        calibration: How ``trtqat quantize`` chose the ranges of a graph that it put the pairs into:
            data, method, samples, and how close the outputs are to the float graph's.
        verification: How closely the graph's outputs are the model's: the export's
            ``Verification`` as JSON has it, which is passed on only. Where the graph was changed
            behind that, ``"fp16"`` and ``"convolutions"`` in it say the same of each change.
        others: What was recorded besides or in another form, by a later version, another tool or
            an editor: written again as it was.
    """

    version: str | None = None
    source: str | None = None
    source_sha256: str | None = None
    factory_args: Mapping[str, object] | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    ema: bool | None = None
    exporter: str | None = None
    quantizers: tuple[str, ...] | None = None
    quantized_inputs: Mapping[str, Unbounded] | None = None
    pixels: Mapping[str, Pixels] | None = None
    qdq_pairs: int | None = None
    int8_share: Unbounded | None = None
    io_names: NameRecord | None = None
    calibration: Mapping[str, object] | None = None
    verification: Mapping[str, object] | None = None
    others: Mapping[str, object] = field(default_factory=dict)

    def to_fields(self) -> dict[str, object]:
        """The record as JSON has it: what is known by its name, and the others as they were."""
        found = dict(self.others)
        for name in _types():
            value = getattr(self, name)
            if value is not None and value != _read(name, self.others.get(name)):
                found[name] = _plain(value)
        return found

    def to_json(self) -> str:
        """The record as it stands in a graph's metadata."""
        return json.dumps(self.to_fields(), sort_keys=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Any) -> Any:  # noqa: ANN401
        """Lets the manifest hold the record as the object that it is in the graph."""
        from pydantic_core import core_schema

        del source
        known = {
            name: core_schema.typed_dict_field(handler.generate_schema(kind), required=False)
            for name, kind in _types().items()
        }
        return core_schema.no_info_after_validator_function(
            provenance_of,
            core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()),
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls.to_fields,
                return_schema=core_schema.typed_dict_schema(known, extra_behavior="allow"),
            ),
        )


def read_provenance(text: str) -> Provenance:
    """Reads the metadata of a graph; never raises on somebody else's.

    Args:
        text: JSON, as ``Provenance.to_json`` writes it; anything else says nothing.
    """
    try:
        # The SQNR of what is bit-identical is infinite.
        data = text.encode("utf-8", "surrogatepass")
        recorded = parse_json(data, with_nan=True, foreign=True)
    except ValueError as error:
        _LOG.debug("The metadata are not of trtqat export: %s.", error)
        return Provenance()
    return provenance_of(recorded) if isinstance(recorded, dict) else Provenance()


def provenance_of(recorded: Mapping[str, object]) -> Provenance:
    """Reads a decoded record field by field: one that makes no sense does not spoil the others."""
    known: dict[str, Any] = {}
    others = dict(recorded)
    for name in _types():
        known[name] = _read(name, recorded.get(name))
        # What a later version added to a field stays among the others, with the field.
        if known[name] is not None and _as_text(_plain(known[name])) == _as_text(recorded[name]):
            del others[name]
    return Provenance(**known, others=others)


def _read(name: str, value: object) -> Any:  # noqa: ANN401
    """A field of the record; None where it makes no sense."""
    try:
        found = read_as(_types()[name], value)
    # Pixels check themselves.
    except (ValueError, UsageError):
        return None
    return None if isinstance(found, NameRecord) and not found.is_sound else found


@functools.cache
def _types() -> dict[str, Any]:
    hints = typing.get_type_hints(Provenance, include_extras=True)
    return {each.name: hints[each.name] for each in fields(Provenance) if each.name != "others"}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            name: asdict(each) if isinstance(each, Pixels) else each for name, each in value.items()
        }
    if isinstance(value, NameRecord):
        return {"inputs": value.inputs, "outputs": value.outputs, "returned": value.returned}
    return value


def _as_text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
