"""Names the want of device memory, which every library tells in an exception of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trtqat.errors import InferenceError, TrtqatError


@contextmanager
def needs_device_memory(what: str) -> Iterator[None]:
    """Turns CUDA's or PyTorch's "out of memory" into a sentence; other exceptions pass.

    Args:
        what: What needs the memory, as the subject of a sentence.

    Raises:
        InferenceError: There is not enough.
    """
    try:
        yield
    except TrtqatError:
        raise
    # torch.OutOfMemoryError, or cuda.core's CUDAError with CUDA_ERROR_OUT_OF_MEMORY.
    except Exception as error:
        if "out of memory" not in str(error).lower().replace("_", " "):
            raise
        raise InferenceError(
            f"{what} does not fit into the GPU's free memory.",
            "Free some (nvidia-smi lists who has it), or choose a smaller --batch-size.",
        ) from error
