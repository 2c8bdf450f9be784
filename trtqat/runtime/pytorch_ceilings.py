"""Measures what the GPU reaches at most, with PyTorch's matrix products and copies."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from trtqat.host.ceilings import Ceilings

# Squares whose product takes from a tenth of a millisecond to ten on the fastest GPUs, far above
# the cost of a launch; which comes closest to the limit depends on the GPU and on cuBLAS.
_SIDES = (4096, 8192, 16384)
_COPIED_BYTES = 2**30
_WARM_UP = 5
_REPEATS = 30


def measure_ceilings() -> Ceilings:
    """Measures on PyTorch's current GPU, in about a second; takes 2.5 GB of its memory.

    The products run on random numbers: zeros draw less power, and so run at a higher clock.
    """
    found = Ceilings(
        gpu=torch.cuda.get_device_name(),
        int8_ops_per_s=max(map(_int8_ops_per_s, _SIDES)),
        fp16_ops_per_s=max(map(_fp16_ops_per_s, _SIDES)),
        bytes_per_s=_bytes_per_s(),
        measured_with=f"PyTorch {torch.__version__}",
    )
    torch.cuda.empty_cache()
    return found


def _int8_ops_per_s(side: int) -> float:
    left, right = _random_codes(side), _random_codes(side)
    # cuBLAS multiplies INT8 only where the right factor lies by columns.
    return 2 * side**3 / _seconds(lambda: torch._int_mm(left, right.t()))


def _fp16_ops_per_s(side: int) -> float:
    left, right = _random_codes(side).half(), _random_codes(side).half()
    return 2 * side**3 / _seconds(lambda: left @ right.t())


def _bytes_per_s() -> float:
    source = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / _seconds(lambda: target.copy_(source))


def _random_codes(side: int) -> torch.Tensor:
    return torch.randint(-128, 128, (side, side), dtype=torch.int8, device="cuda")


def _seconds(work: Callable[[], object]) -> float:
    """Median time of some work on the GPU."""
    for _ in range(_WARM_UP):
        work()
    times: list[float] = []
    for _ in range(_REPEATS):
        begin, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(begin.elapsed_time(end)) / 1e3)
    return statistics.median(times)
