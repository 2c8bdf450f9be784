"""The layers of a plan as the builder of TensorRT for RTX logs them, in the inspector's form.

Its inspector needs a GPU, its builder does not. With detailed verbosity the builder logs one line
for each layer::

    Name: …, LayerType: …, Inputs: [ { Name: …, Datatype: Int8, … } ], Constants: […],
    Outputs: […], TacticName: …, StreamId: 0, Metadata: [ONNX Layer: …][ONNX Layer: …]

Read off logs of 1.7.1.116. Names are whatever the graph says, and are not quoted. A line that can
be read in two ways is not read at all: it is kept as a name without a type.
"""

from __future__ import annotations

import re
from typing import Any

from trtqat.host.tensorrt_log import LAYER_LIST

_KEYS = ("LayerType", "Inputs", "Constants", "Outputs", "TacticName", "StreamId", "Metadata")
_LINE = re.compile(
    r"Name: (?P<Name>.*), LayerType: (?P<LayerType>.*), Inputs: \[(?P<Inputs>.*)\], "
    r"Constants: \[(?P<Constants>.*)\], Outputs: \[(?P<Outputs>.*)\], "
    r"TacticName: (?P<TacticName>.*), StreamId: (?P<StreamId>\d+), Metadata: (?P<Metadata>.*)"
)
_TENSOR = re.compile(
    r" \{ Name: (?P<Name>[^{}]*), Dimensions: \[(?P<Dimensions>[-\d,]*)\], "
    r"Strides: \[(?P<Strides>[-\d,]*)\], StrideOrder: \[[-\d,]*\], "
    r"Datatype: (?P<Datatype>\w+), Format: (?P<Format>[^{}]*) \}(?:,|$)"
)


def read_layer_list(message: str) -> dict[str, Any]:
    """Reads the builder's list of layers.

    Args:
        message: What ``Messages.layers`` holds.

    Returns:
        What TensorRT's inspector would write as JSON: ``{"Layers": […]}``. A line that is not
        understood is a bare name there, as a layer without detailed verbosity.
    """
    lines, _, _ = message.removeprefix(LAYER_LIST).partition("\n\nI/O Tensors:")
    return {"Layers": [_read_line(line) for line in lines.split("\n") if line]}


def _read_line(line: str) -> dict[str, Any] | str:
    # First, as the expression tries every way in which such a line can be read.
    if any(line.count(f", {key}: ") != 1 for key in _KEYS):
        return line
    match = _LINE.fullmatch(line)
    if match is None:
        return line
    tensors = {key: _read_tensors(match[key]) for key in ("Inputs", "Constants", "Outputs")}
    if None in tensors.values():
        return line
    return {
        "Name": match["Name"],
        "LayerType": match["LayerType"],
        **tensors,
        "TacticName": match["TacticName"],
        "StreamId": int(match["StreamId"]),
        "Metadata": match["Metadata"],
    }


def _read_tensors(text: str) -> list[dict[str, Any]] | None:
    """The tensors of a list; None if there is anything else in it."""
    found, at = [], 0
    for match in _TENSOR.finditer(text):
        if match.start() != at:
            return None
        at = match.end()
        found.append(
            {
                "Name": match["Name"],
                "Dimensions": _numbers(match["Dimensions"]),
                "Strides": _numbers(match["Strides"]),
                "Datatype": match["Datatype"],
                "Format": match["Format"],
            }
        )
    return found if at == len(text) else None


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]
