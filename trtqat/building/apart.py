"""Building in a process of its own, where this process is to measure afterwards."""

from __future__ import annotations

from pathlib import Path

from trtqat.apart import ChildError, call_apart
from trtqat.building.builder import build_plan
from trtqat.building.options import BuildOptions
from trtqat.errors import BuildError


def build_plan_apart(graph: Path, plan: Path, options: BuildOptions) -> None:
    """Writes plan and manifest as ``builder.build_plan`` does, and leaves this process as it was.

    TensorRT's builder runs the kernels that it chooses from, and keeps what it made for them. What
    a process has made may slow its launches (``runtime/README.md``). TensorRT for RTX builds
    without a GPU, so it builds here.

    Args:
        graph: The ONNX file.
        plan: What to write.
        options: How to build.

    Raises:
        BuildError: As ``build_plan``, or the builder crashed.
        TrtqatError: As ``build_plan``; the class says why.
    """
    if options.for_ == "rtx":
        build_plan(graph, plan, options)
        return
    try:
        call_apart(build_plan, graph, plan, options)
    except ChildError as error:
        raise BuildError(
            f"'{plan}' was not built: {error}", "Build it by trtqat build to see why: --verbose."
        ) from error
