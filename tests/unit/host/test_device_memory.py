from __future__ import annotations

import pytest
import torch

from trtqat.errors import InferenceError, UsageError
from trtqat.host.device_memory import needs_device_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable to"),
    ],
)
def test_want_of_memory_is_named(error: Exception) -> None:
    with pytest.raises(InferenceError, match="A session does not fit") as raised:  # noqa: SIM117
        with needs_device_memory("A session"):
            raise error
    assert "--batch-size" in raised.value.remedy


@pytest.mark.parametrize("error", [ValueError("no"), UsageError("out of memory", "")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:  # noqa: SIM117
        with needs_device_memory("A session"):
            raise error
    assert raised.value is error
