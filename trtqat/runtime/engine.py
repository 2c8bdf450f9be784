"""A plan deserialized by TensorRT: what it takes, what it returns, and sessions on it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trtqat.errors import InferenceError, PlanError, UsageError
from trtqat.runtime.compatibility import check_version
from trtqat.runtime.host import describe_host
from trtqat.runtime.manifest import ProfileShapes, check_plan
from trtqat.runtime.plan import read_plan
from trtqat.runtime.preflight import check_manifest
from trtqat.runtime.session import EngineSession
from trtqat.runtime.signature import read_public_key
from trtqat.runtime.tensorrt_library import load_tensorrt, make_logger, open_device
from trtqat.tensors import DYNAMIC, TensorSpec

_LOG = logging.getLogger(__name__)


class Engine:
    """A TensorRT engine on the first GPU.

    Attributes:
        name: For reports.
        device: ``"cuda"``.
        inputs: Inputs, dynamic dimensions as ``-1``.
        outputs: Outputs, likewise.
        profiles: Shapes of the first optimization profile, by input.
        batch_range: Smallest and largest batch.
        manifest: Fields of the manifest beside the plan, or None.
    """

    device: Literal["cpu", "cuda"] = "cuda"

    def __init__(
        self,
        path: Path,
        *,
        cuda_graph: bool = True,
        allow_engine_code: bool = False,
        trust: Path | None = None,
    ) -> None:
        """Checks and deserializes a plan.

        Args:
            path: The plan file; its manifest is checked if it lies beside it.
            cuda_graph: Whether sessions capture a CUDA graph where that works.
            allow_engine_code: Whether a version-compatible plan may bring a library of its own,
                which TensorRT loads and runs.
            trust: File of a public Ed25519 key: the manifest must be signed with it, and such a
                plan may bring code.

        Raises:
            PlanError: It is not a plan, is damaged, is for another TensorRT, platform or GPU, or
                brings code that was not allowed.
            UsageError: ``trust`` is no such key.
            MissingError: There is no TensorRT or no GPU here.
        """
        plan, header = read_plan(path)
        key = None if trust is None else read_public_key(trust)
        if header.is_version_compatible and not allow_engine_code and key is None:
            raise PlanError(
                f"The plan '{path}' is version-compatible: it may carry a library, which TensorRT "
                "would load and run.",
                "If you built it or trust its origin, say so with --allow-engine-code or, if it "
                "is signed, with --trust.",
            )
        self.manifest = check_plan(plan, path, trust=key)
        if self.manifest is None:
            _LOG.warning("'%s' has no manifest beside it: a damaged plan goes unnoticed.", path)
        self.name = path.name
        self._cuda_graph = cuda_graph
        trt = load_tensorrt("Running a plan")
        check_version(header, trt.__version__, str(path))
        self._trt = trt
        self._device = open_device("Running a plan")
        self._logger, self._messages = make_logger(trt)
        for check in check_manifest(self.manifest or {}, describe_host()):
            if check.status == "failed":
                raise PlanError(f"'{path}' does not run here. {check.finding}", check.remedy)
            if check.status == "warning":
                _LOG.warning("%s %s", check.finding, check.remedy)
        runtime = trt.Runtime(self._logger)
        if header.is_version_compatible:
            runtime.engine_host_code_allowed = True
        self._runtime = runtime
        self._engine: Any = runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise PlanError(
                f"TensorRT {trt.__version__} cannot load the plan '{path}': "
                f"{self._messages.reason()}.",
                "Build it on a GPU of this kind, from its ONNX file.",
            )
        self.inputs, self.outputs = _tensors(trt, self._engine)
        self.profiles = _profiles(self._engine, self.inputs)
        self.batch_range = _batch_range(self.profiles)

    def session(self, batch_size: int) -> EngineSession:
        """Binds the engine to one batch size: buffers, a stream and, if it captures, a CUDA graph.

        Dimensions other than the first take the profile's optimum where they are dynamic.

        Raises:
            UsageError: The batch size is outside of the profile.
            InferenceError: TensorRT makes no execution context, or its enqueue fails.
        """
        low, high = self.batch_range
        if not low <= batch_size <= high:
            raise UsageError(
                f"Batch size {batch_size} is outside of {low} to {high}, for which "
                f"'{self.name}' was built.",
                f"Build it again with --batch 1:{batch_size}:{max(batch_size, high)}.",
            )
        context = self._engine.create_execution_context()
        if context is None:
            raise InferenceError(
                f"TensorRT made no execution context for '{self.name}': {self._messages.reason()}.",
                "Free device memory, or build with a smaller --workspace.",
            )
        shapes = {}
        for spec in self.inputs:
            optimum = self.profiles[spec.name].opt
            shape = tuple(
                opt if dim == DYNAMIC else dim for dim, opt in zip(spec.shape, optimum, strict=True)
            )
            batched = bool(spec.shape) and spec.shape[0] == DYNAMIC
            shapes[spec.name] = (batch_size, *shape[1:]) if batched else shape
        return EngineSession(
            name=self.name,
            context=context,
            device=self._device,
            inputs=[TensorSpec(spec.name, shapes[spec.name], spec.dtype) for spec in self.inputs],
            outputs=list(self.outputs),
            messages=self._messages,
            cuda_graph=self._cuda_graph,
        )

    @property
    def optimal_batch(self) -> int:
        """The batch size that the engine was tuned for."""
        shapes = [profile.opt for profile in self.profiles.values() if profile.opt]
        low, high = self.batch_range
        return min(max(shapes[0][0], low), high) if shapes else low

    def layer_information(self, session: EngineSession) -> str:
        """What TensorRT's inspector says of every layer, as JSON.

        Args:
            session: A session on this engine; its shapes decide formats and types.
        """
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = session.context
        text: str = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return text

    def close(self) -> None:
        """Frees the engine; sessions made from it must be closed before."""
        self._engine = None
        self._runtime = None


def _tensors(trt: Any, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:  # noqa: ANN401
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        try:
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        except TypeError as error:
            raise PlanError(
                f"Tensor '{name}' has a type that NumPy lacks ({engine.get_tensor_dtype(name)}).",
                "Build the engine with FP32 or FP16 inputs and outputs.",
            ) from error
        spec = TensorSpec(name, tuple(engine.get_tensor_shape(name)), dtype)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(spec)
    return tuple(inputs), tuple(outputs)


def _profiles(engine: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, ProfileShapes]:  # noqa: ANN401
    return {
        spec.name: ProfileShapes(
            *(tuple(shape) for shape in engine.get_tensor_profile_shape(spec.name, 0))
        )
        for spec in inputs
    }


def _batch_range(profiles: dict[str, ProfileShapes]) -> tuple[int, int]:
    shapes = [profile for profile in profiles.values() if profile.min]
    low = max((profile.min[0] for profile in shapes), default=1)
    high = min((profile.max[0] for profile in shapes), default=1)
    return low, high
