"""What is special about running a plan of TensorRT for RTX.

Its kernels are compiled where it is loaded: when an execution context is made, and for a shape that
was open when its first query comes. Three settings of ``IRuntimeConfig`` matter:

- Kernels for open shapes are compiled before the first query (EAGER). By default they are compiled
  behind the queries, which meanwhile run slower kernels for any shape: a timing would be of those.
- The library captures a CUDA graph and replays it itself. A capture of our own would need plans
  that are built for it (REQUIRE_USER_ALLOCATION).
- A runtime cache keeps compiled kernels.

Checked against the recorded API alone: built and inspected, not run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from trtqat.errors import InferenceError, UsageError
from trtqat.host.tensorrt_log import Reasons
from trtqat.plan.sizes import Sizes
from trtqat.runtime.deserialized import Deserialized
from trtqat.runtime.runtime_cache import (
    choose_runtime_cache,
    keep_runtime_cache,
    read_runtime_cache,
)
from trtqat.runtime.session import EngineSession

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compilation:
    """How long a plan's kernels took to compile, which is in none of its times.

    Attributes:
        batch_size: For queries of so many images.
        seconds: To make the first execution context of that batch size, set its shapes, and run
            its first queries.
        from_cache: Whether kernels of earlier runs were read from a runtime cache.
    """

    batch_size: int
    seconds: float
    from_cache: bool


def compiles_kernels(trt: ModuleType) -> bool:
    """Whether a module compiles a plan's kernels where it is loaded, as TensorRT for RTX does.

    Only what compiles them keeps them in a cache.
    """
    return hasattr(trt, "IRuntimeCache")


def open_contexts(
    loaded: Deserialized,
    plan: Path,
    runtime_cache: Path | str | None,
    *,
    signed_only: bool,
) -> RtxContexts | None:
    """What makes an engine's execution contexts, where its kernels are compiled on this host.

    Args:
        loaded: What TensorRT made of the plan; a CUDA context must be current.
        plan: The plan file.
        runtime_cache: What the user says that it is: a file, or ``"none"``.
        signed_only: Whether the plan must be signed.

    Returns:
        None where a plan brings its kernels, as those of TensorRT do.

    Raises:
        UsageError: There is nothing to keep in ``runtime_cache``, or it is no such file.
        InferenceError: TensorRT for RTX makes no configuration.
    """
    if not compiles_kernels(loaded.trt):
        if runtime_cache is not None:
            raise UsageError(
                f"--runtime-cache is for plans of TensorRT for RTX; '{plan}' brings its kernels.",
                "Leave it out.",
            )
        return None
    _LOG.warning(
        "'%s' is a plan of TensorRT for RTX. When trtqat was made, such plans were built and "
        "inspected, not run.",
        plan,
    )
    cache = choose_runtime_cache(plan, runtime_cache, signed_only=signed_only)
    return RtxContexts(loaded, plan.name, cache)


class RtxContexts:
    """Makes the execution contexts of one engine, which share their compiled kernels.

    Attributes:
        compilations: How long kernels took to compile, by batch size in the order of their first
            sessions; where sizes are open, one for each that was opened.
    """

    def __init__(self, loaded: Deserialized, name: str, cache: Path | None) -> None:
        """Reads the runtime cache.

        Args:
            loaded: What TensorRT made of the plan; a CUDA context must be current.
            name: Of the engine, for messages.
            cache: The file of the cache; None keeps compiled kernels in memory alone.

        Raises:
            InferenceError: TensorRT for RTX makes no configuration.
        """
        self.compilations: tuple[Compilation, ...] = ()
        self._compiled: set[object] = set()
        self._trt, self._messages, self._name, self._path = loaded.trt, loaded.messages, name, cache
        self._engine = loaded.engine
        # A context may refer to its configuration for as long as it lives.
        self._configs: list[Any] = []
        config = self._new_config()
        self._cache = config.create_runtime_cache()
        self._content = read_runtime_cache(self._cache, cache)
        self._is_warm = bool(self._content)

    def session(
        self,
        batch_size: int,
        bind: Callable[[Any, Reasons, bool], EngineSession],
        *,
        cuda_graph: bool,
        sizes: Sizes = MappingProxyType({}),
    ) -> EngineSession:
        """A session whose kernels are compiled on the way; the first of a shape is timed.

        Args:
            batch_size: Of the session.
            bind: Makes it of an execution context, or of None, of why that may fail, and of
                whether the library replays a CUDA graph.
            cuda_graph: Whether the library is to do that; where it cannot, queries are enqueued.
            sizes: Shape of one sample by input, where more is open than the batch.

        Raises:
            InferenceError: TensorRT for RTX makes no context, or its enqueue fails.
        """
        reasons = Reasons(self._messages)
        start = time.perf_counter()
        context = self._make(cuda_graph=cuda_graph)
        seconds = time.perf_counter() - start
        session, failure = None, ""
        try:
            session = bind(context, reasons, cuda_graph)
        # Whatever a graph fails with, plain enqueue may still work.
        except InferenceError as error:
            if not cuda_graph:
                raise
            failure = str(error)
        if session is None:
            # Behind the handler: in it, the error's traceback keeps the failed session's memory.
            context = None
            _LOG.warning("No CUDA graph for '%s' (%s): plain enqueue.", self._name, failure)
            return self.session(batch_size, bind, cuda_graph=False, sizes=sizes)
        shape = batch_size, tuple(sizes.items())
        if shape not in self._compiled:
            self._compiled.add(shape)
            seconds += session.preparing_s
            self.compilations += (Compilation(batch_size, seconds, self._is_warm),)
            # At once: a process may end without closing anything.
            self._content = keep_runtime_cache(self._cache, self._path, self._content)
        return session

    def close(self) -> None:
        """Frees cache and configurations; contexts must be gone before."""
        self._configs.clear()
        self._cache = self._engine = None

    def _make(self, *, cuda_graph: bool) -> Any:  # noqa: ANN401
        """An ``IExecutionContext``; None, as TensorRT has it, where the library makes none."""
        trt, config = self._trt, self._new_config()
        specialization = trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = specialization.EAGER
        graphs = trt.CudaGraphStrategy
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graph else graphs.DISABLED
        if not config.set_runtime_cache(self._cache):
            _LOG.warning("TensorRT for RTX takes no runtime cache: every start compiles anew.")
        return self._engine.create_execution_context(config)

    def _new_config(self) -> Any:  # noqa: ANN401
        config = self._engine.create_runtime_config()
        if config is None:
            raise InferenceError(
                f"TensorRT for RTX makes no configuration to run '{self._name}' with.",
                "Look for its reason in the log: --verbose.",
            )
        self._configs.append(config)
        return config
