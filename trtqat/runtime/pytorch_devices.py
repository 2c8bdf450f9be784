"""Whether PyTorch is here and sees a GPU, for rooms that import no torch."""

from __future__ import annotations

from trtqat.errors import MissingError
from trtqat.extras import require


def require_pytorch(purpose: str) -> None:
    """Refuses a host without PyTorch.

    Args:
        purpose: What needs it, as the subject of a sentence ("The PyTorch baseline").

    Raises:
        MissingError: It is not installed.
    """
    require("torch", extra="export", purpose=purpose)


def require_cuda(purpose: str, problem: str, remedy: str) -> None:
    """Refuses a host whose PyTorch sees no GPU.

    Args:
        purpose: What needs it, as the subject of a sentence ("The PyTorch baseline").
        problem: What does not work without a GPU, in one sentence.
        remedy: The way out, in one sentence.

    Raises:
        MissingError: PyTorch is not installed, or sees no GPU.
    """
    torch = require("torch", extra="export", purpose=purpose)
    if not torch.cuda.is_available():
        raise MissingError(problem, remedy)
