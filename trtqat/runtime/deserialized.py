"""A plan's bytes made an engine by TensorRT, with all that has to live as long as it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trtqat.errors import PlanError
from trtqat.host.plugins import load_plugins
from trtqat.host.preflight import Preflight
from trtqat.host.tensorrt_library import advice_on_loading, open_device
from trtqat.host.tensorrt_log import Messages, make_logger
from trtqat.runtime.refit import check_weights, refit


@dataclass(frozen=True)
class Deserialized:
    """What TensorRT made of a plan.

    Attributes:
        trt: The module of the TensorRT that runs it.
        device: The ``cuda.core.Device``.
        logger: TensorRT's.
        messages: What that collected.
        runtime: The ``IRuntime``; the engine needs it.
        engine: The ``ICudaEngine``.
    """

    trt: ModuleType
    device: Any
    logger: Any
    messages: Messages
    runtime: Any
    engine: Any


def deserialize(found: Preflight, path: Path, weights: Path | None) -> Deserialized:
    """Deserializes a plan, and gives it the weights that it was built without.

    Args:
        found: What was found out of it before, which refuses nothing.
        path: The plan file.
        weights: The ONNX file that has its weights; None if it has them.

    Raises:
        PlanError: TensorRT cannot load it, or it lacks its weights.
        UsageError: A library of plugins cannot be loaded.
        MissingError: There is no GPU here.
    """
    assert found.flavour is not None
    assert found.header is not None
    trt = found.flavour.load()
    device = open_device("Running a plan")
    logger, messages = make_logger(trt)
    runtime = trt.Runtime(logger)
    if found.header.is_version_compatible and found.code_allowed:
        runtime.engine_host_code_allowed = True
    if found.needs_plugins:
        load_plugins(trt, runtime.get_plugin_registry(), logger, found.plugins)
    engine = runtime.deserialize_cuda_engine(found.plan)
    if engine is None:
        raise PlanError(
            f"{found.flavour.title} cannot load the plan '{path}': {messages.reason()}.",
            advice_on_loading(messages),
        )
    try:
        check_weights(found.manifest, path, weights)
        if weights is not None:
            refit(trt, engine, logger, weights, messages)
    except BaseException:
        # The error's traceback would keep device memory for as long as somebody has the error.
        engine = runtime = None
        raise
    return Deserialized(trt, device, logger, messages, runtime, engine)
