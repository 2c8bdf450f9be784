"""A host whose TensorRT is a stand-in: it has the names that a build uses, and claims nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trtqat.building import builder as module
from trtqat.building import network, plan_files
from trtqat.host.gpu import Gpu
from trtqat.host.tensorrt_log import Messages


class Config:
    """What a build was configured with."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.profiles: list[Any] = []
        self.flags: list[str] = []
        self.cache: Any = None

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_preview_feature(self, feature: str, on: bool) -> None:
        pass

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits.append(size)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: b"kernels", combine=lambda *_, **__: True)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True


class Host:
    """A host whose TensorRT has the names that a build uses, and writes a plan of four bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages = Messages()
        self.configs: list[Config] = []
        self.failures: list[str] = []
        self.parses = self.loads = True
        self.graphs: list[bytes] = []
        tensor = {"x": (-1, 3, 16, 16), "output": (-1, 10)}
        tensors = [SimpleNamespace(name=n, shape=s, dtype="float") for n, s in tensor.items()]
        definition = SimpleNamespace(
            num_inputs=1,
            num_outputs=1,
            get_input=lambda _: tensors[0],
            get_output=lambda _: tensors[1],
        )
        members = {"INT8": "INT8", "FP16": "FP16", "TF32": "TF32"}
        self.module = SimpleNamespace(
            __version__="8.6.0",
            NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
            ProfilingVerbosity=SimpleNamespace(DETAILED=2),
            BuilderFlag=SimpleNamespace(**members),
            PreviewFeature=SimpleNamespace(PROFILE_SHARING_0806=1),
            MemoryPoolType=SimpleNamespace(WORKSPACE=0),
            HardwareCompatibilityLevel=SimpleNamespace(NONE=0),
            nptype=lambda _: "float32",
            Builder=lambda _: SimpleNamespace(
                create_network=lambda _: definition,
                create_builder_config=self.configure,
                create_optimization_profile=Profile,
                build_serialized_network=self.serialize,
            ),
            OnnxParser=lambda *_: SimpleNamespace(parse_from_file=self.parse, num_errors=0),
            Runtime=lambda _: SimpleNamespace(
                deserialize_cuda_engine=lambda _: (
                    SimpleNamespace(device_memory_size=12) if self.loads else None
                )
            ),
        )
        monkeypatch.setattr(module, "load_builder", lambda _: self.module)
        monkeypatch.setattr(module, "open_device", lambda _: None)
        monkeypatch.setattr(network, "make_logger", lambda _: (None, self.listen()))
        monkeypatch.setattr(plan_files, "describe_gpu", lambda: Gpu("A GPU", "9.0", "580", "13.0"))

    def listen(self) -> Messages:
        self.messages = Messages(warnings=["a warning"])
        return self.messages

    def parse(self, path: str) -> bool:
        self.graphs.append(Path(path).read_bytes())
        return self.parses

    def configure(self) -> Config:
        self.configs.append(Config())
        return self.configs[-1]

    def serialize(self, definition: Any, config: Config) -> bytes | None:
        if self.failures:
            self.messages.errors.append(self.failures.pop(0))
            return None
        return b"plan"


class Profile:
    """An optimization profile that says what it was given."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes[name] = shapes
