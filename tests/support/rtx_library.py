"""A module with what TensorRT for RTX is asked about a plan's header, and a given answer.

Nothing is proven about the library: its names and values are those of 1.7.1.116, and the answers
for a card were never seen.
"""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any


class EngineValidity(enum.IntEnum):
    VALID = 0
    SUBOPTIMAL = 1
    INVALID = 2


class EngineInvalidityDiagnostics(enum.IntFlag):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    OLD_CUDA_RUNTIME = 8
    INSUFFICIENT_GPU_MEMORY = 16
    MALFORMED_ENGINE = 32
    CUDA_ERROR = 64


class Logger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4


class AnsweringLibrary(ModuleType):
    """The module.

    Attributes:
        asked: What it was given.
    """

    def __init__(self, answer: tuple[int, int], error: str = "") -> None:
        super().__init__("answering_tensorrt_rtx")
        self.asked: list[bytes] = []
        library = self

        class Runtime:
            engine_header_size = 64

            def __init__(self, logger: Any) -> None:
                self._logger = logger

            def get_engine_validity(self, header: bytes) -> tuple[EngineValidity, int]:
                library.asked.append(header)
                if error:
                    self._logger.log(Logger.Severity.INTERNAL_ERROR, error)
                return EngineValidity(answer[0]), answer[1]

        self.Runtime = Runtime
        self.ILogger = Logger
        self.EngineValidity = EngineValidity
        self.EngineInvalidityDiagnostics = EngineInvalidityDiagnostics
