"""Reads ONNX files, and tells what is not one."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.errors import GraphError, first_line
from trtqat.graph.garbage import uncollected


@uncollected()
def read_model(path: Path) -> ir.Model:
    """Reads an ONNX file, external data included.

    Initializers that are inputs as well (IR version 3, ``keep_initializers_as_inputs``) are
    constants alone afterwards, as they are to TensorRT.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    model = ir.from_proto(read_proto(path))
    common.RemoveInitializersFromInputsPass()(model)
    return model


def read_proto(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Reads an ONNX file.

    Args:
        path: The file.
        weights: Whether to load weights that are kept in files beside it.

    Raises:
        GraphError: It is missing, damaged or not ONNX.
    """
    if not path.is_file():
        raise GraphError(f"There is no ONNX file '{path}'.", "Check the path.")
    try:
        proto = onnx.load(str(path), load_external_data=weights)
    except Exception as error:
        raise GraphError(
            f"'{path}' is not an ONNX file: {first_line(error)}.",
            "Make one with: trtqat export SOURCE -o model.onnx",
        ) from error
    # Protocol buffers accept some garbage as an empty message.
    if not proto.graph.node or not proto.opset_import:
        raise GraphError(
            f"'{path}' is not an ONNX file, or is empty.",
            "Make one with: trtqat export SOURCE -o model.onnx",
        )
    return proto
