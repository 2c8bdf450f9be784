"""A plan deserialized by TensorRT: what it takes, what it returns, and sessions on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from trtqat.checks import closed
from trtqat.errors import InferenceError
from trtqat.host.device_memory import needs_device_memory
from trtqat.host.flavours import Flavour
from trtqat.host.preflight import preflight
from trtqat.host.tensorrt_library import device_memory_bytes
from trtqat.host.tensorrt_log import Reasons
from trtqat.io_names import in_order
from trtqat.pixels import with_pixels
from trtqat.provenance import Provenance
from trtqat.runtime.deserialized import Deserialized, deserialize
from trtqat.runtime.engine_graph import graph_of_plan
from trtqat.runtime.engine_io import read_profiles, read_tensors
from trtqat.runtime.engine_names import names_of_engine
from trtqat.runtime.engine_profiles import Chosen, make_profiles
from trtqat.runtime.held import Held
from trtqat.runtime.host_quantizer import HostQuantizer, open_quantizer
from trtqat.runtime.input_codes import input_scales, with_float_inputs
from trtqat.runtime.layer_reports import ask_inspector, make_profiler, tell_names_alone
from trtqat.runtime.rtx import Compilation, RtxContexts, open_contexts
from trtqat.runtime.session import EngineSession
from trtqat.tensors import DYNAMIC, TensorSpec, io_in_words


class Engine(Held):
    """A TensorRT engine on the first GPU, by whichever TensorRT runs it.

    All engines of a process run their kernels on one stream, one query behind the other.

    Attributes:
        name: For reports.
        path: The plan file.
        device: ``"cuda"``.
        runs_concurrently: Always: while one query is copied, another one computes.
        inputs: Inputs, dynamic dimensions as ``-1``; those that arrive as INT8 codes as the
            floats that a session quantizes, and bytes of images as a ``PixelSpec``.
        input_scales: Of those, by name.
        outputs: Outputs, dynamic dimensions as ``-1``. Like the inputs they are in the order of the
            exported model, not in TensorRT's.
        io: Their names, and whether their order is known.
        profiles: Its shape profiles, as TensorRT tells them.
        manifest: The manifest beside the plan, or None.
        tensorrt: The TensorRT that runs it.
        plugins: The libraries of plugins that it was opened with.
        size_bytes: Of the plan.
        quantizers: Dotted names of the PyTorch quantizers of its Q/DQ pairs, as far as recorded.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    runs_concurrently = True

    def __init__(
        self,
        path: Path | str,
        *,
        cuda_graph: bool = True,
        allow_engine_code: bool = False,
        trust: Path | str | None = None,
        flavour: Flavour | None = None,
        weights: Path | str | None = None,
        graph: Path | str | None = None,
        runtime_cache: Path | str | None = None,
        plugins: Sequence[Path | str] = (),
    ) -> None:
        """Checks and deserializes a plan.

        Args:
            path: The plan file; its manifest is checked if it lies beside it.
            cuda_graph: Whether sessions capture a CUDA graph where that works.
            allow_engine_code: Whether a version-compatible plan may bring a library of its own,
                which TensorRT loads and runs.
            trust: File of a public Ed25519 key: the manifest must be signed with it, and such a
                plan may bring code.
            flavour: Which TensorRT runs it; None takes the first of full, lean and dispatch that
                is installed and may.
            weights: The ONNX file of a plan that was built without its weights.
            graph: The ONNX file that it was built from, for the order of its outputs where its
                manifest does not tell it.
            runtime_cache: The file that keeps the kernels that TensorRT for RTX compiles, or
                ``"none"``. None takes the one beside the plan, which nobody signs: none with
                ``trust``.
            plugins: Libraries of the plugins that it needs. They are loaded, and run: those that
                its manifest records must be the very ones.

        Raises:
            PlanError: It is not a plan, is damaged, is for another TensorRT, platform or GPU,
                brings code that was not allowed, or lacks its weights.
            UsageError: ``trust`` is no such key, ``runtime_cache`` no such file or for a plan
                of another library, or a library of plugins cannot be read or loaded.
            MissingError: There is no TensorRT that runs it, or no GPU here.
        """
        path = Path(path)
        weights = None if weights is None else Path(weights)
        self._opened: partial[Engine] = partial(
            Engine,
            path,
            cuda_graph=cuda_graph,
            allow_engine_code=allow_engine_code,
            trust=trust,
            flavour=flavour,
            weights=weights,
            graph=graph,
            runtime_cache=runtime_cache,
            plugins=plugins,
        )
        found = preflight(
            path, trust=trust, allow_engine_code=allow_engine_code, flavour=flavour, plugins=plugins
        )
        found.require(path)
        assert found.flavour is not None
        self.path = path
        self.name = path.name
        self.size_bytes = len(found.plan)
        self.manifest = found.manifest
        self.tensorrt = found.flavour
        self.plugins = tuple(each.path for each in found.plugins)
        self._cuda_graph = cuda_graph
        self._engine: Any = None
        self._loaded: Deserialized | None = None
        self._contexts: RtxContexts | None = None
        self._quantizers: dict[str, HostQuantizer] = {}
        try:
            self._loaded = deserialize(found, path, weights)
            self._trt, self._device = self._loaded.trt, self._loaded.device
            self._engine = self._loaded.engine
            self._contexts = open_contexts(
                self._loaded, path, runtime_cache, signed_only=trust is not None
            )
            self._describe(graph or weights)
        except BaseException:
            self.close()
            raise

    def _describe(self, graph: Path | str | None) -> None:
        """Reads what it takes and returns."""
        bindings, outputs = read_tensors(self._trt, self._engine)
        self.io = names_of_engine(
            self.path,
            self.manifest,
            [spec.name for spec in bindings],
            [spec.name for spec in outputs],
            graph=graph,
        )
        self.outputs = in_order(outputs, self.io.outputs)
        provenance = self.manifest.provenance if self.manifest else Provenance()
        ordered = in_order(bindings, self.io.inputs)
        self._bindings = tuple(with_pixels(ordered, provenance.pixels))
        self.input_scales = input_scales(self._bindings, provenance)
        self.quantizers = provenance.quantizers or ()
        self._quantizers = {
            each: open_quantizer(scale) for each, scale in self.input_scales.items()
        }
        self.inputs = tuple(with_float_inputs(self._bindings, self.input_scales))
        self.profiles = make_profiles(read_profiles(self._engine, self.inputs), self.inputs)

    def __repr__(self) -> str:
        io = io_in_words(self.inputs, self.outputs)
        return f"Engine({self.name!r}, {io}, {self.profiles.in_words})"

    @property
    def batch_range(self) -> tuple[int, int]:
        """Smallest and largest batch of its sizes; of several profiles, some may be in none."""
        return self.profiles.batch_range

    def session(
        self,
        batch_size: int,
        *,
        cuda_graph: bool | None = None,
        sizes: Mapping[str, Sequence[int]] | None = None,
        profile: int | None = None,
        own_stream: bool = False,
    ) -> EngineSession:
        """Binds the engine to one batch size: buffers and, if it captures, a CUDA graph.

        Args:
            batch_size: One that a profile holds.
            sizes: Shape of one sample by input, as ``{"images": (3, 48, 160)}``, of what is open.
                None takes those of ``choose_sizes``, or else what the engine is tuned for.
            cuda_graph: Whether to capture one; None as the engine was opened.
            profile: The index of the profile; None takes the narrowest one that holds batch and
                sizes, of equally narrow ones that whose optimum is nearest.
            own_stream: Whether its kernels run beside those of other sessions instead of behind
                them, which gains where they do not fill the GPU.

        Raises:
            UsageError: No profile holds the batch size and the sizes, or this one does not.
            InferenceError: TensorRT makes no execution context, its enqueue fails, or device
                memory is short.
        """
        if self._engine is None or self._loaded is None:
            raise closed(self.name, "engine")
        profiles = self.profiles if sizes is None else self.profiles.at_sizes(sizes, self.name)
        chosen = profiles.choose(batch_size, self.name, profile)
        wanted = self._cuda_graph if cuda_graph is None else cuda_graph
        bind = partial(self._bind, batch_size, chosen, own_stream=own_stream)
        if self._contexts is None:
            reasons = Reasons(self._loaded.messages)
            return bind(self._engine.create_execution_context(), reasons, graph=wanted)
        return self._contexts.session(
            batch_size,
            lambda context, reasons, graph: bind(context, reasons, library_graph=graph),
            cuda_graph=wanted,
            sizes=chosen.sizes,
        )

    def session_on_own_stream(self, batch_size: int) -> EngineSession:
        """A session whose kernels run beside those of other sessions, instead of behind them.

        Raises:
            UsageError: No profile holds the batch size.
            InferenceError: As ``session`` has it.
        """
        return self.session(batch_size, own_stream=True)

    def _bind(
        self,
        batch_size: int,
        chosen: Chosen,
        context: Any,  # noqa: ANN401
        reasons: Reasons,
        *,
        graph: bool = False,
        library_graph: bool = False,
        own_stream: bool,
    ) -> EngineSession:
        """A session of an execution context."""
        if context is None:
            raise InferenceError(
                f"TensorRT made no execution context for '{self.name}': {reasons.reason()}.",
                "Free device memory, or build with a smaller --workspace.",
            )
        tell_names_alone(self._trt, context)
        shapes = {
            spec.name: (batch_size, *spec.shape[1:]) if spec.shape[:1] == (DYNAMIC,) else spec.shape
            for spec in self.profiles.inputs(self.inputs, chosen)
        }
        with needs_device_memory(f"A session of '{self.name}' at batch {batch_size}"):
            return EngineSession(
                name=self.name,
                context=context,
                device=self._device,
                profile=chosen.profile if len(self.profiles.ranges) > 1 else None,
                # With the types that the engine reads: codes where ``inputs`` says floats.
                inputs=[replace(spec, shape=shapes[spec.name]) for spec in self._bindings],
                outputs=list(self.outputs),
                reasons=reasons,
                quantizers=self._quantizers,
                cuda_graph=graph,
                library_graph=library_graph,
                own_stream=own_stream,
            )

    @property
    def engine(self) -> Engine:
        """The engine itself."""
        return self

    @property
    def reopen(self) -> Callable[[], Engine]:
        """Opens it once more, for the same sizes; in another process, too: it can be pickled."""
        return partial(_reopen, self._opened, self.profiles.sizes)

    @property
    def session_inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs whose open dimensions, but the first, are those that its sessions are made for."""
        return self.profiles.inputs(self.inputs, self.profiles.session_sizes)

    def choose_sizes(self, sizes: Mapping[str, Sequence[int]]) -> None:
        """Makes sessions from now on for other sizes than those that the engine was tuned for.

        Args:
            sizes: Shape of one sample by input, as ``{"images": (3, 480, 640)}``.

        Raises:
            UsageError: No profile holds the sizes.
        """
        self.profiles = self.profiles.at_sizes(sizes, self.name)

    def source_graph(self, given: Path | None = None) -> Path:
        """The ONNX file that the engine was built from.

        Args:
            given: What the user says that it is; else it must lie beside the plan, unchanged.

        Raises:
            UsageError: It is not there, or what was given is another one.
        """
        return graph_of_plan(self.path, self.manifest, given)

    @property
    def has_inspector(self) -> bool:
        """Whether its TensorRT tells what its layers are: lean and dispatch do not."""
        return self.tensorrt.has_inspector

    @property
    def compilations(self) -> tuple[Compilation, ...]:
        """How long its kernels took to compile here, by batch size; none where the build did it."""
        return () if self._contexts is None else self._contexts.compilations

    @property
    def optimal_batch(self) -> int:
        """The batch size that the engine was tuned for; of several profiles the largest such."""
        return self.profiles.optimal_batch

    def layer_information(self, session: EngineSession) -> str:
        """What TensorRT's inspector says of every layer, as JSON.

        Args:
            session: A session on this engine; its shapes decide formats and types.
        """
        return ask_inspector(self._trt, self._engine, session.context)

    def profiler(self, report: Callable[[str, float], None]) -> Any:  # noqa: ANN401
        """TensorRT's ``IProfiler`` for ``EngineSession.attach_profiler``.

        Args:
            report: Called with the name and the time in ms of every layer of every enqueue.
        """
        return make_profiler(self._trt, report)

    @property
    def device_memory_bytes(self) -> int:
        """Scratch memory of one execution context on the GPU, without weights and tensors."""
        return device_memory_bytes(self._engine)

    def close(self) -> None:
        """Frees the engine; sessions made from it must be closed before."""
        self._quantizers = {}
        if self._contexts is not None:
            self._contexts.close()
        self._engine = self._loaded = None


def _reopen(opened: Callable[[], Engine], sizes: Mapping[str, Sequence[int]]) -> Engine:
    again = opened()
    again.choose_sizes(sizes)
    return again
