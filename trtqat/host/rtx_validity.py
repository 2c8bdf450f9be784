"""TensorRT for RTX's own word on a plan: it reads the header, and nothing else of the plan.

Without a driver it answers INVALID and no diagnostics (seen with 1.7.1.116); so it is asked where
there is a GPU. Its API is recorded; no answer for an RTX card was ever seen.
"""

from __future__ import annotations

from typing import Any

from trtqat.errors import first_line
from trtqat.host.check import Check
from trtqat.host.flavours import TensorRTFlavour
from trtqat.host.tensorrt_log import make_logger

# Each diagnostic in words, and its way out.
_DIAGNOSTICS = {
    "VERSION_MISMATCH": (
        "another release built it",
        "Install the release that built it, or build it again here.",
    ),
    "UNSUPPORTED_CC": (
        "it is not for this GPU",
        "Build it again with --for rtx --targets for this GPU.",
    ),
    "OLD_CUDA_DRIVER": ("the driver is too old", "Upgrade the driver."),
    "OLD_CUDA_RUNTIME": (
        "it was built by a library for a newer CUDA",
        "Install the library for that CUDA, or build it again here.",
    ),
    "INSUFFICIENT_GPU_MEMORY": (
        "the GPU's memory is too small for its weights",
        "Free device memory: nvidia-smi lists who has it.",
    ),
    "MALFORMED_ENGINE": ("it is damaged", "Copy it again from the build host."),
    "CUDA_ERROR": (
        "CUDA does not work here",
        "Install the driver and CUDA again; nvidia-smi must list the GPU.",
    ),
}
_NO_REASON = ("it gives no reason", "Upgrade the driver, or build it again here.")


def check_validity(plan: bytes, flavour: TensorRTFlavour) -> Check:
    """Asks the library whether a plan is likely to run on the first GPU here.

    Args:
        plan: The plan, which passed all other checks.
        flavour: The installed TensorRT for RTX.
    """
    trt = flavour.load()
    logger, messages = make_logger(trt)
    try:
        runtime = trt.Runtime(logger)
        header = plan[: runtime.engine_header_size]
        validity, diagnostics = runtime.get_engine_validity(header)
    # pybind11 raises TypeError where the library makes no runtime.
    except (RuntimeError, TypeError) as error:
        return Check("header", "unknown", f"The library does not answer: {first_line(error)}.")
    if validity == trt.EngineValidity.VALID:
        return Check("header", "passed", "The library takes its header as one for this GPU.")
    found = _found(trt, int(diagnostics))
    told, remedies = "; ".join(words for words, _ in found), " ".join(way for _, way in found)
    if validity == trt.EngineValidity.SUBOPTIMAL:
        finding = "The library expects it to run slower here than it could"
        return Check("header", "warning", f"{finding}{f': {told}' if told else ''}.", remedies)
    if not found:
        told, remedies = messages.reason(_NO_REASON[0]), _NO_REASON[1]
    return Check("header", "failed", f"The library refuses its header: {told}.", remedies)


def _found(trt: Any, diagnostics: int) -> list[tuple[str, str]]:  # noqa: ANN401
    """Words and way out of each bit that is set."""
    found = []
    members = trt.EngineInvalidityDiagnostics.__members__
    for name, member in members.items():
        if diagnostics & int(member):
            found.append(_DIAGNOSTICS.get(name, (f"it says {name}", _NO_REASON[1])))
    return found
