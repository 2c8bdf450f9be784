"""How a graph becomes a session of ONNX Runtime, and the way out where that refuses it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from trtqat.errors import GraphError, MissingError, first_line
from trtqat.runtime.onnx_biases import QUANTIZES_BIASES, keeps_biases
from trtqat.runtime.onnx_half import quantize_in_float, rounds_half

if TYPE_CHECKING:
    from trtqat.graph_file.serialized import Serialized

# By default CPUs without VNNI add products of bytes in 16 bits, which overflow: seen in ONNX
# Runtime 1.32, where of 24 answers of a classifier 14 were others.
_EXACT_SUMS = "session.x64quantprecision"
# What does without integer kernels. With exact sums that version stops at some graphs of ours on
# such a CPU ("AddInitializedOrtValue Attempt to replace the existing tensor").
_NO_INTEGER_KERNELS = "session.disable_quant_qdq"
# Where ONNX Runtime looks for the weights of a graph that is not in a file.
_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"
_LARGE_BYTES = 2**28
# By default CUDA's provider multiplies in TF32 where a GPU has it.
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})
_PROVIDERS: dict[str, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [_CUDA, "CPUExecutionProvider"],
}

_CHECK_FILE = "Check that it is an ONNX file, whole, and of an opset that this version reads."
_NO_OPERATOR = (
    "ONNX Runtime has no such operator. Where TensorRT has it, as a plugin, measure an engine: "
    "trtqat build"
)
# By what ONNX Runtime says; seen with 1.32: "my.ops:Twice(-1) is not a registered function/op",
# "two nodes with same node name (conv)", "No Op registered for NMS_TRT with domain_version of 17",
# "Could not find an implementation for EfficientNMS_TRT(1) node with name 'nms'".
_WAYS_OUT = {
    "is not a registered function/op": "That operator is none of ONNX's. TensorRT alone runs it, "
    "as a plugin: trtqat build --plugins lib.so",
    "No Op registered for": _NO_OPERATOR,
    "Could not find an implementation for": _NO_OPERATOR,
    "two nodes with same node name": "Give each node a name of its own, or none at all.",
}


def open_session(
    runtime: ModuleType,
    graph: Path | Serialized,
    name: str,
    *,
    as_written: bool,
    device: Literal["cpu", "cuda"],
) -> Any:  # noqa: ANN401
    """Loads a graph into ONNX Runtime, so that it computes exactly in integer kernels, too.

    Args:
        runtime: The package.
        graph: A file, or a serialized model.
        name: For messages.
        as_written: Whether ONNX Runtime rewrites nothing, and so has no integer kernels.
        device: Who runs it.

    Returns:
        The ``InferenceSession``.

    Raises:
        GraphError: It is no ONNX file, damaged, or ONNX Runtime does not accept it.
        MissingError: ONNX Runtime has no CUDA provider that works here.
    """
    content, folder = _as_it_runs(graph, rounds=rounds_half(runtime))
    entries = {} if folder is None else {_FOLDER_OF_WEIGHTS: str(folder)}
    ways = [entries]
    if not as_written:
        ways = [{**entries, each: "1"} for each in (_EXACT_SUMS, _NO_INTEGER_KERNELS)]
    left_out = [] if as_written or keeps_biases(content, folder) else [QUANTIZES_BIASES]
    for way in ways:
        options = _options(runtime, content, way, as_written=as_written)
        try:
            session = _session(runtime, content, options, device, left_out)
        except Exception as error:
            if way is not ways[-1]:
                continue
            raise GraphError(
                f"ONNX Runtime does not accept '{name}': {first_line(error)}.",
                next((way for said, way in _WAYS_OUT.items() if said in str(error)), _CHECK_FILE),
            ) from error
        # Where its libraries are missing, ONNX Runtime goes on without a provider.
        if device == "cuda" and _CUDA[0] not in session.get_providers():
            raise MissingError(
                "ONNX Runtime's CUDA provider does not load here.",
                "It needs onnxruntime-gpu, and the CUDA and cuDNN that it was built with.",
            )
        return session
    raise AssertionError("the last way returns or raises")


def _options(
    runtime: ModuleType, content: Path | Serialized, entries: Mapping[str, str], *, as_written: bool
) -> Any:  # noqa: ANN401
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if _is_large(content):
        # Its arena would keep what each weight becomes while it is dequantized.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def _session(
    runtime: ModuleType,
    content: Path | Serialized,
    options: Any,  # noqa: ANN401
    device: Literal["cpu", "cuda"],
    left_out: list[str],
) -> Any:  # noqa: ANN401
    with _argument(content) as argument:
        return runtime.InferenceSession(
            argument,
            options,
            providers=_PROVIDERS[device],
            disabled_optimizers=left_out or None,
            # Else it says on standard output that it tries the same once more.
            enable_fallback=0,
        )


def _as_it_runs(graph: Path | Serialized, *, rounds: bool) -> tuple[Path | Serialized, Path | None]:
    """What ONNX Runtime is given, and the folder of the weights that a changed file leaves.

    Dimensions that are none are declared as they are meant, small tensors are no files beside it,
    and FP16 is rounded where it is quantized.
    """
    # With ONNX Runtime alone there is nothing to read it with.
    if any(importlib.util.find_spec(package) is None for package in ("onnx", "onnx_ir")):
        return graph, None
    if isinstance(graph, Path):
        from trtqat.graph_file.reading import embed_small, read_checked

        proto, is_changed = read_checked(graph)
        is_changed |= embed_small(proto, graph.parent)
        if not rounds:
            is_changed |= quantize_in_float(proto)
        return (proto.SerializeToString(), graph.parent) if is_changed else (graph, None)
    if rounds:
        return graph, None
    from trtqat.graph_file.serialized import derived, parse

    try:
        proto = parse(graph)
    except Exception:
        return graph, None  # ONNX Runtime will say what is wrong with it
    return (derived(graph, proto) if quantize_in_float(proto) else graph), None


@contextlib.contextmanager
def _argument(graph: Path | Serialized) -> Iterator[str | bytes]:
    """A graph as ONNX Runtime takes it, for as long as it reads it."""
    if isinstance(graph, (Path, bytes)):
        yield str(graph) if isinstance(graph, Path) else graph
    else:
        with graph.file() as path:
            yield str(path)


def _is_large(graph: Path | Serialized) -> bool:
    if isinstance(graph, Path):
        return False
    return not isinstance(graph, bytes) or len(graph) > _LARGE_BYTES
