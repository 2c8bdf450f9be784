"""A host with an RTX card, as far as an engine asks: nothing of TensorRT or CUDA is claimed.

Its library compiles when it makes a context, and for a shape at its first query. What was compiled
goes into the runtime cache, as one line a shape. Time is simulated.
"""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.clock import Clock
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.tensorrt_log import Messages
from trtqat.runtime import deserialized, engine, event_timer, rtx, session

CONTEXT_S, SHAPE_S, QUERY_S = 3.0, 2.0, 0.001
_MAGIC = b"kernels of this card\n"
# The process keeps the streams of a device by its number, and each card has a clock of its own.
_NUMBERS = itertools.count(1000)


class Cache:
    """Takes what it has written itself, and nothing else."""

    def __init__(self) -> None:
        self.kernels: set[str] = set()

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(_MAGIC):
            return False
        self.kernels |= set(blob.removeprefix(_MAGIC).decode().split())
        return True

    def serialize(self) -> bytes:
        return _MAGIC + "\n".join(sorted(self.kernels)).encode()


class Config:
    """What a context is made with."""

    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = "LAZY"
        self.cuda_graph_strategy = "DISABLED"
        self.cache: Cache | None = None

    def create_runtime_cache(self) -> Cache:
        return Cache()

    def set_runtime_cache(self, cache: Cache) -> bool:
        self.cache = cache
        return True


class Context:
    """Compiles what its cache lacks; doubles its input."""

    def __init__(self, card: Card, config: Config) -> None:
        self.card, self.config = card, config
        self.shape: tuple[int, ...] = ()
        self.profile = 0
        self.calls: list[str] = []
        self.addresses: dict[str, int] = {}
        self.nvtx_verbosity = card.verbosity
        self._compile("context", CONTEXT_S)

    def _compile(self, what: str, seconds: float) -> None:
        assert self.config.cache is not None
        if what not in self.config.cache.kernels:
            self.card.clock.sleep(seconds)
            self.config.cache.kernels.add(what)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream == _Stream.handle
        self.calls.append(f"profile {profile}")
        self.profile = profile
        return self.card.takes_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name == "anchors":
            return shape == self.card.anchors
        self.calls.append(f"shape {shape[0]}")
        self.shape = shape
        low, _, high = self.card.get_tensor_profile_shape(name, self.profile)
        return all(a <= each <= b for a, each, b in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        is_captured = self.config.cuda_graph_strategy == "WHOLE_GRAPH_CAPTURE"
        if is_captured and self.card.refuses_graphs == "enqueue":
            return False
        assert self.config.dynamic_shapes_kernel_specialization_strategy == "EAGER"
        self._compile(f"shape-{'x'.join(map(str, self.shape))}", SHAPE_S)
        self.card.clock.sleep(QUERY_S)
        self.card.queries.append(self.config.cuda_graph_strategy)
        x, y = (
            np.ctypeslib.as_array(
                ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_float)), self.shape
            )
            for name in "xy"
        )
        y[:] = 2 * x
        return True


class _Buffer:
    """Memory of the host in place of a device's."""

    def __init__(self, device: object, stream: object, spec: Any) -> None:
        self.host = np.zeros(spec.shape, spec.dtype)
        self.device = SimpleNamespace(
            handle=self.host.ctypes.data, copy_from=self._copy, copy_to=self._copy
        )
        self.pinned = None

    def _copy(self, other: object, stream: object) -> None:
        """Both are one."""

    def close(self, stream: object) -> None:
        del self.host


class _Event:
    at = 0.0

    def sync(self) -> None:
        """Everything is done at once."""

    def __sub__(self, other: _Event) -> float:
        return 1e3 * (self.at - other.at)


class _Stream:
    handle = 1

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def record(self, event: _Event | None = None) -> _Event:
        event = event or _Event()
        event.at = self._clock.perf_counter()
        return event

    def wait(self, event: _Event) -> None:
        """Everything is done at once."""

    def close(self) -> None:
        """There is nothing to free."""


class Card:
    """The host: what an ``Engine`` on it finds, and what it did.

    Attributes:
        contexts: Those that were made.
        queries: The CUDA graph strategy of each query.
        refuses_graphs: Where a CUDA graph fails, if it does: ``context`` or ``enqueue``.
        verbosity: With which a plan was built: ``details``, ``names`` or ``none``.
        profiles: Smallest, best and largest batch of each shape profile.
        takes_profiles: Whether a context may be given one.
        widths: Smallest, best and largest of a dimension that is open besides the batch; of each
            profile where they are a list.
        anchors: The shape of a second input, which no output needs; empty if there is none.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.device_id = next(_NUMBERS)
        self.contexts: list[Context] = []
        self.queries: list[str] = []
        self.refuses_graphs = ""
        self.verbosity = "details"
        self.profiles = [(1, 4, 8)]
        self.takes_profiles = True
        self.widths: tuple[int, int, int] | list[tuple[int, int, int]] = (3, 3, 3)
        self.anchors: tuple[int, ...] = ()
        strategies = {"WHOLE_GRAPH_CAPTURE": "WHOLE_GRAPH_CAPTURE", "DISABLED": "DISABLED"}
        self.trt = SimpleNamespace(
            IRuntimeCache=Cache,
            CudaGraphStrategy=SimpleNamespace(**strategies),
            DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="EAGER"),
            ProfilingVerbosity=SimpleNamespace(LAYER_NAMES_ONLY="names", DETAILED="details"),
            Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: self),
            TensorIOMode=SimpleNamespace(INPUT="input"),
            nptype=lambda kind: kind,
        )
        flavour = TensorRTFlavour("rtx", "tensorrt_rtx_bindings", "1.7.1.116", "")
        found = SimpleNamespace(
            require=lambda path: None,
            plan=b"plan",
            manifest=None,
            flavour=flavour,
            header=SimpleNamespace(is_version_compatible=False),
            code_allowed=False,
            plugins=(),
            needs_plugins=False,
        )
        monkeypatch.setattr(TensorRTFlavour, "load", lambda _: self.trt)
        monkeypatch.setattr(engine, "preflight", lambda path, **_: found)
        monkeypatch.setattr(deserialized, "open_device", lambda purpose: self)
        monkeypatch.setattr(deserialized, "make_logger", lambda trt: (None, Messages()))
        monkeypatch.setattr(session, "Buffer", _Buffer)
        monkeypatch.setattr(event_timer.EventTimer, "_event", lambda _: _Event())
        for module in (rtx, session, event_timer):
            monkeypatch.setattr(module, "time", self.clock)

    # The device.
    def create_stream(self) -> _Stream:
        return _Stream(self.clock)

    def create_event(self) -> _Event:
        return _Event()

    def set_current(self) -> None:
        """There is one."""

    # The engine, of a graph ``x → y``.
    def create_runtime_config(self) -> Config:
        return Config()

    def create_execution_context(self, config: Config) -> Context | None:
        if config.cuda_graph_strategy != "DISABLED" and self.refuses_graphs == "context":
            return None
        self.contexts.append(Context(self, config))
        return self.contexts[-1]

    @property
    def num_io_tensors(self) -> int:
        return 3 if self.anchors else 2

    def get_tensor_name(self, index: int) -> str:
        return ("x", "y", "anchors")[index]

    def get_tensor_dtype(self, name: str) -> type:
        return np.float32

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == "anchors":
            return self.anchors
        return (-1, 3) if self.widths == (3, 3, 3) else (-1, -1)

    def get_tensor_mode(self, name: str) -> str:
        return "output" if name == "y" else "input"

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        if name == "anchors":
            return [self.anchors] * 3
        widths = self.widths[profile] if isinstance(self.widths, list) else self.widths
        return list(zip(self.profiles[profile], widths, strict=True))


def damage(path: Path) -> None:
    """Changes a byte."""
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
