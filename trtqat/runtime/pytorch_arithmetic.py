"""PyTorch's switches for matrix products, which are of the whole process."""

from __future__ import annotations

import contextlib
import threading
from typing import ClassVar

import torch

from trtqat.quant.module_by_module import module_by_module


class Arithmetic:
    """PyTorch's process-wide switches for matrix products, as a model wants them while it launches.

    Models of several precisions may launch from several threads, so one launches at a time.
    """

    _lock = threading.RLock()
    _saved: ClassVar[list[tuple[bool, bool, bool]]] = []
    _scopes: ClassVar[list[contextlib.ExitStack]] = []

    def __init__(self, *, tf32: bool, quantized: bool = False, compiled: bool = False) -> None:
        """Keeps the choices.

        Args:
            tf32: Whether it may multiply in TF32.
            quantized: Whether the model has quantizers, each of which must be called.
            compiled: Whether ``torch.compile`` runs it.
        """
        self._tf32 = tf32
        self._quantized = quantized
        self._compiled = compiled

    def __enter__(self) -> None:
        self._lock.acquire()
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        self._saved.append((matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark))
        matmul.allow_tf32 = cudnn.allow_tf32 = self._tf32
        cudnn.benchmark = True
        self._scopes.append(contextlib.ExitStack())
        if self._quantized:
            self._scopes[-1].enter_context(module_by_module(compiled=self._compiled))

    def __exit__(self, *_: object) -> None:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        self._scopes.pop().close()
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = self._saved.pop()
        self._lock.release()
