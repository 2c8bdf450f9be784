"""What differs between the builders of TensorRT 8.6, 10.x and 11.x, all of it.

Capability is asked by name: enum values move between majors. What was run is 8.6.0; the
branches for 10 and 11 follow their Python bindings (tests/data/tensorrt_api.json holds the
names and signatures that are relied on, and tests/unit/building/test_recorded_names.py compares).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from trtqat.building.rtx import is_rtx
from trtqat.errors import MissingError, UsageError
from trtqat.pixels import prefix_of_half_nodes, prefix_of_nodes


def network_flags(trt: ModuleType, *, strongly_typed: bool = False) -> int:
    """Flags for ``Builder.create_network``.

    8.6 needs EXPLICIT_BATCH, 10.x ignores it, 11.x has only explicit batches. Weakly typed
    networks, which take the FP32 graph, exist up to 10.x; 11.x is always strongly typed.

    Args:
        trt: The imported module.
        strongly_typed: Whether the graph's own types decide, as an FP16 graph needs.

    Raises:
        MissingError: This TensorRT has no strongly typed networks.
    """
    flags = trt.NetworkDefinitionCreationFlag
    mask = 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0
    if not strongly_typed:
        return mask
    if not hasattr(flags, "STRONGLY_TYPED"):
        raise MissingError(
            f"TensorRT {trt.__version__} cannot build an FP16 graph: it has no strongly typed "
            "networks and misreads FP16 scales.",
            "Export with --precision fp32, or use TensorRT 10.12 or newer.",
        )
    return mask | 1 << int(flags.STRONGLY_TYPED)


def set_precision(
    trt: ModuleType,
    config: Any,  # noqa: ANN401
    precision: str = "int8",
    *,
    fp16: bool = True,
    strongly_typed: bool = False,
) -> tuple[str, ...] | None:
    """Allows INT8 and FP16 kernels where the network is weakly typed.

    Args:
        trt: The imported module.
        config: The builder's configuration.
        precision: ``int8`` allows INT8 and FP16, ``fp16`` FP16 alone, ``fp32`` neither.
        fp16: Whether ``int8`` allows FP16 as well.
        strongly_typed: Whether the network is; then the flags are refused.

    Returns:
        The flags that were set; None where the graph's types decide, as always in TensorRT 11.

    Raises:
        MissingError: An FP16 engine of an FP32 graph, or one without FP16, from a TensorRT where
            the graph's types decide.
    """
    decides = strongly_typed or not hasattr(trt.BuilderFlag, "FP16")
    if precision == "int8" and not fp16 and decides:
        raise MissingError(
            f"{'TensorRT for RTX' if is_rtx(trt) else 'TensorRT'} {trt.__version__} takes the "
            "types of the graph, so it is not for the build to leave out FP16.",
            "Leave out --no-fp16, or give --fp16 where --options says otherwise.",
        )
    if precision == "fp16" and not strongly_typed and not hasattr(trt.BuilderFlag, "FP16"):
        raise MissingError(
            f"{'TensorRT for RTX' if is_rtx(trt) else 'TensorRT'} {trt.__version__} builds no FP16 "
            "engine from an FP32 graph: the types of the graph decide.",
            "Build it on a TensorRT up to 10; for eval, leave fp16 out of --compare.",
        )
    if decides:
        return None
    int8 = ("INT8", "FP16") if fp16 else ("INT8",)
    wanted = {"int8": int8, "fp16": ("FP16",), "fp32": ()}[precision]
    for name in wanted:
        config.set_flag(getattr(trt.BuilderFlag, name))
    return wanted


def keep_codes(
    trt: ModuleType,
    config: Any,  # noqa: ANN401
    definition: Any,  # noqa: ANN401
    inputs: Iterable[str],
) -> None:
    """Holds what is computed of bytes to FP32 or FP16, as its codes need it.

    A graph's codes are those of float32. 8.6.0 took FP16 for a Mul and an Add in some builds and
    not in others, and then 28 of 768 codes were their neighbours. It took FP16 for a Concat of them
    where they were held to FP32, too. What adds whole numbers to find a place in a table is no
    arithmetic of floats, and the table's own floats lie so far from the borders of their codes that
    FP16 leads to the same codes. So it does where whole numbers are computed, and there half as
    much goes through memory.

    Args:
        trt: The imported module.
        config: The builder's configuration, of a weakly typed network that may take FP16.
        definition: The network.
        inputs: Names of those that take bytes.
    """
    names = tuple(inputs)
    prefixes = tuple(map(prefix_of_nodes, names))
    halves = tuple(map(prefix_of_half_nodes, names))
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        if not layer.name.startswith(prefixes) or layer.get_output(0).dtype != trt.DataType.FLOAT:
            continue
        joins = layer.type == trt.LayerType.CONCATENATION
        is_half = layer.name.startswith(halves)
        if joins or (layer.type == trt.LayerType.ELEMENTWISE and not is_half):
            dtype = trt.DataType.HALF if is_half else trt.DataType.FLOAT
            layer.precision = dtype
            layer.set_output_type(0, dtype)
            config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)


def share_profile(trt: ModuleType, config: Any) -> None:  # noqa: ANN401
    """Lets several execution contexts use one shape profile at once.

    8.6 refuses the second one at its first enqueue ("Assertion mOptimizationProfile >= 0
    failed") unless this preview feature is on; from 10.0 it is always on, in 11 it is gone.
    """
    feature = getattr(trt.PreviewFeature, "PROFILE_SHARING_0806", None)
    if feature is not None:
        config.set_preview_feature(feature, True)


def set_version_compatible(trt: ModuleType, config: Any, *, embed: bool = True) -> None:  # noqa: ANN401
    """Lets newer TensorRT versions run the plan.

    Args:
        trt: The imported module.
        config: The builder's configuration.
        embed: Whether the plan carries the lean runtime of its own version.
    """
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if not embed:
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)


def strip_weights(trt: ModuleType, config: Any) -> None:  # noqa: ANN401
    """Leaves the weights out of the plan, to be refitted as they were.

    REFIT_IDENTICAL lets the builder optimize for the very weights that come back, so the engine
    loses no speed; it came with STRIP_PLAN in 10.0.

    Raises:
        MissingError: This TensorRT builds no such plans.
    """
    if not hasattr(trt.BuilderFlag, "STRIP_PLAN"):
        raise MissingError(
            f"TensorRT {trt.__version__} builds no plans without weights.",
            "Leave out --strip-weights, or use TensorRT 10.0 or newer.",
        )
    config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


def set_hardware_compatibility(trt: ModuleType, config: Any, level: str) -> None:  # noqa: ANN401
    """Lets other GPUs run the plan.

    Args:
        trt: The imported module.
        config: The builder's configuration.
        level: ``none``, ``ampere+`` or ``same-cc``, as trtexec spells them.

    Raises:
        UsageError: The level is not one of these.
        MissingError: This TensorRT has no such level (``same-cc`` came with 10.9).
    """
    names = {"none": "NONE", "ampere+": "AMPERE_PLUS", "same-cc": "SAME_COMPUTE_CAPABILITY"}
    if level not in names:
        raise UsageError(
            f"'{level}' is no hardware compatibility level.", f"Use {', '.join(names)}."
        )
    if level == "none":
        return  # TensorRT for RTX warns of being told even that
    levels = trt.HardwareCompatibilityLevel
    if not hasattr(levels, names[level]):
        raise MissingError(
            f"TensorRT {trt.__version__} has no hardware compatibility level '{level}'.",
            "Use ampere+, or a TensorRT of 10.9 or newer.",
        )
    config.hardware_compatibility_level = getattr(levels, names[level])


def tactic_sources(trt: ModuleType, changes: str, current: int) -> int:
    """Adds and removes tactic sources, as trtexec's ``--tacticSources`` does.

    Args:
        trt: The imported module.
        changes: For example ``"-cublas,-cublas-lt,-cudnn"``; ``+`` adds, ``-`` removes.
        current: The bit mask to start from.

    Returns:
        The new bit mask. Removing a source that this version never had is done already.

    Raises:
        UsageError: A change has no sign, or adds a source that this version lacks.
    """
    mask = current
    for change in filter(None, (part.strip() for part in changes.split(","))):
        sign, name = change[0], change[1:].upper().replace("-", "_")
        source = getattr(trt.TacticSource, name, None)
        if sign == "-" and name in _TACTIC_SOURCES:
            mask &= ~(1 << int(source)) if source is not None else -1
        elif sign == "+" and source is not None:
            mask |= 1 << int(source)
        else:
            here = [member for member in _TACTIC_SOURCES if hasattr(trt.TacticSource, member)]
            names = ", ".join(member.lower().replace("_", "-") for member in here)
            raise UsageError(
                f"'{change}' is no change of tactic sources.",
                f"Write +NAME or -NAME, with commas between them; this TensorRT has {names}.",
            )
    return mask


_TACTIC_SOURCES = (
    "CUBLAS",
    "CUBLAS_LT",
    "CUDNN",
    "EDGE_MASK_CONVOLUTIONS",
    "JIT_CONVOLUTIONS",
)


def progress_monitor(trt: ModuleType) -> Any:  # noqa: ANN401
    """The base class of what is told a build's progress; None before 10.0, which tells nothing.

    Args:
        trt: The imported module.
    """
    return trt.IProgressMonitor if hasattr(trt, "IProgressMonitor") else None


def parser_errors(parser: Any, nodes: Sequence[tuple[str, str]]) -> list[str]:  # noqa: ANN401
    """The ONNX parser's errors as sentences that name the node.

    Args:
        parser: An ``OnnxParser`` whose parse returned False.
        nodes: Name and operator of the graph's nodes in order: 8.6 gives only an index.
    """
    sentences = []
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        if hasattr(error, "node_name"):
            name, operator = error.node_name(), error.node_operator()
        else:
            index = error.node()
            name, operator = nodes[index] if 0 <= index < len(nodes) else ("", "")
        at = f"node '{name}' ({operator}): " if name or operator else ""
        sentences.append(f"{at}{error.desc().strip().rstrip('.')}")
    return sentences
