"""Weights for a plan that was built without them, from the ONNX file that it was built from.

TensorRT 10 and newer build such plans (``STRIP_PLAN``) and refit them with the parser; the lean
and dispatch runtimes have no parser. Checked against the recorded API only: TensorRT 10's
builder was never run.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

from trtqat.errors import MissingError, PlanError
from trtqat.files import is_file
from trtqat.graph_file.hashing import graph_sha256
from trtqat.host.tensorrt_log import Messages
from trtqat.plan.manifest import Manifest


def check_weights(manifest: Manifest | None, plan: Path, weights: Path | None) -> None:
    """Whether a plan lacks weights, and whether these are its own.

    Args:
        manifest: The plan's, if it has one.
        plan: The plan file, for messages.
        weights: The ONNX file that was given for it, if one was.

    Raises:
        PlanError: The plan needs weights and none are given, has its own, or was built from
            another file.
    """
    graph = manifest.graph if manifest else "its ONNX file"
    is_stripped = manifest is not None and manifest.options.strip_weights
    if is_stripped and weights is None:
        raise PlanError(
            f"The plan '{plan}' was built without its weights.",
            f"Give the graph that it was built from: --weights {shlex.quote(str(graph))}",
        )
    if weights is None:
        return
    if manifest is not None and not is_stripped:
        raise PlanError(f"The plan '{plan}' has its weights.", "Leave out --weights.")
    if not is_file(weights):
        raise PlanError(f"There is no file '{weights}'.", "Check the path given to --weights.")
    if manifest is not None and graph_sha256(weights) != manifest.graph_sha256:
        raise PlanError(
            f"'{weights}' is not the graph that '{plan}' was built from: the SHA-256 differs.",
            f"Give the very file: {graph}.",
        )


def refit(
    trt: ModuleType,
    engine: Any,  # noqa: ANN401
    logger: Any,  # noqa: ANN401
    weights: Path,
    messages: Messages,
) -> None:
    """Gives an ``ICudaEngine`` the weights of an ONNX file.

    Args:
        trt: The module that the engine is of.
        engine: Built with ``strip_weights``.
        logger: TensorRT's.
        weights: The ONNX file.
        messages: What the logger collected.

    Raises:
        MissingError: This TensorRT has no parser that refits.
        PlanError: It refuses the weights.
    """
    if not hasattr(trt, "OnnxParserRefitter"):
        raise MissingError(
            f"This TensorRT ({trt.__name__} {trt.__version__}) cannot give a plan its weights.",
            "Use the full TensorRT of 10.0 or newer, or a plan with weights.",
        )
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_file(str(weights)) or not refitter.refit_cuda_engine():
        raise PlanError(
            f"TensorRT {trt.__version__} refuses the weights of '{weights}': {messages.reason()}.",
            "Give the very file that the plan was built from.",
        )
