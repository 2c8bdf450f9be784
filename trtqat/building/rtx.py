"""What is special about the builder of TensorRT for RTX.

It needs no GPU and no driver, and one plan is for several kinds of GPUs. The GPU's kernels are
compiled from the plan where it is loaded. So nothing is timed here, and no plan is loaded here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trtqat.checks import check_kind
from trtqat.errors import BuildError, UsageError
from trtqat.plan.targets import DEFAULT_TARGETS, TURING

if TYPE_CHECKING:
    from trtqat.building.options import BuildOptions

_LOG = logging.getLogger(__name__)

_NOT_TARGETS = ("NONE", "CURRENT")


def is_rtx(trt: ModuleType) -> bool:
    """Whether a module is TensorRT for RTX: only there a build names compute capabilities."""
    return hasattr(trt, "ComputeCapability")


def parse_targets(targets: str | Sequence[str] | None) -> tuple[str, ...]:
    """Reads ``sm86,sm89``, or the same in a list, as ``("8.6", "8.9")``; sorted, each once.

    Nothing of nothing.

    Whether TensorRT for RTX builds for them is its own word (``set_targets``).

    Raises:
        UsageError: One has another form.
    """
    if targets is None:
        return ()
    check_kind("The targets", targets, (str, list, tuple), "'sm86,sm89'")
    names = targets.split(",") if isinstance(targets, str) else targets
    found = set()
    for name in filter(None, (str(each).strip() for each in names)):
        match = re.fullmatch(r"(?:sm_?)?(\d{1,2}?)\.?(\d)", name, re.IGNORECASE)
        if match is None:
            raise UsageError(f"'{name}' is no compute capability.", "Write sm89 for 8.9.")
        found.add((int(match[1]), int(match[2])))
    return tuple(f"{major}.{minor}" for major, minor in sorted(found))


def check_options(trt: ModuleType, options: BuildOptions) -> None:
    """Refuses what an option asks for and this library does not do.

    Args:
        trt: The imported module.
        options: How to build.

    Raises:
        UsageError: An option is for the other library.
    """
    if not is_rtx(trt):
        if options.targets:
            raise UsageError(
                "--targets is for TensorRT for RTX; this is TensorRT.",
                "Add --for rtx, or let other GPUs run the plan by --hardware-compatibility.",
            )
        return
    for option, is_given, why in (
        ("--timing-cache", options.timing_cache is not None, "it times no kernels"),
        ("--tactic-sources", bool(options.tactic_sources), "it chooses no kernels"),
        ("--version-compatible", options.version_compatible, "a plan is for its release alone"),
        ("--exclude-lean-runtime", options.exclude_lean_runtime, "its plans carry none"),
        (
            "--hardware-compatibility",
            options.hardware_compatibility != "none",
            "--targets says for which GPUs a plan is",
        ),
        # Seen without a driver, with 1.7.1.116: its compiler stops at both STRIP_PLAN and REFIT.
        ("--strip-weights", options.strip_weights, "without a GPU it fails at that"),
        (
            "--no-fp16",
            options.precision == "int8" and not options.fp16,
            "the types of the graph decide (--fp16 takes it back where --options has it)",
        ),
        ("--triton-repository", options.triton is not None, "Triton has no backend for its plans"),
    ):
        if is_given:
            raise UsageError(f"{option} is not for TensorRT for RTX: {why}.", "Leave it out.")
    if TURING in options.targets:
        shared = len(options.targets) > 1
        _LOG.warning(
            "For sm75 (Turing) TensorRT for RTX has no INT8 convolution%s: %sbuild with TensorRT "
            "on that card.",
            ", for the other GPUs of this plan neither" if shared else "",
            "give it a plan of its own, or " if shared else "",
        )


def check_scales(name: str, computed: Sequence[str]) -> None:
    """Refuses a graph at which the parser of 1.7.1.116 ends the process by a segmentation fault.

    Args:
        name: Of the graph's file.
        computed: The nodes whose scale is computed from an input.

    Raises:
        BuildError: There is such a node.
    """
    if computed:
        raise BuildError(
            f"TensorRT for RTX cannot read '{name}': node '{computed[0]}': its scale is computed "
            "while the graph runs.",
            "Calibrate the quantizer and keep its range fixed.",
        )


def targets_of_plan(trt: ModuleType, targets: Sequence[str]) -> tuple[str, ...]:
    """What a plan is for: the targets, or the library's own; none where the GPU decides."""
    if not is_rtx(trt):
        return ()
    return tuple(targets) or DEFAULT_TARGETS


def set_targets(trt: ModuleType, config: Any, targets: Sequence[str]) -> None:  # noqa: ANN401
    """Names the GPUs that a plan is for.

    Args:
        trt: The imported module.
        config: The builder's configuration.
        targets: Compute capabilities, as ``"8.9"``; none leaves it to the library.

    Raises:
        UsageError: This library does not build for one of them.
    """
    if not targets:
        return
    capabilities = trt.ComputeCapability
    known = [name for name in capabilities.__members__ if name not in _NOT_TARGETS]
    for target in targets:
        if _member(target) not in known:
            raise UsageError(
                f"TensorRT for RTX {trt.__version__} does not build for compute capability "
                f"{target}.",
                f"It builds for {', '.join(known).lower()}.",
            )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(capabilities, _member(target)), index)


def forget_failure(trt: ModuleType, logger: Any) -> None:  # noqa: ANN401
    """Makes the build after a failed one like any other.

    Seen with 1.7.1.116: what a process builds next after its compiler has failed, it builds in
    another way. A convolution whose scale is a sum of constants read floats there, and INT8 in
    every other build. So that is a copy of one number, which nobody keeps.

    Args:
        trt: The imported module.
        logger: Of the failed build.
    """
    if not is_rtx(trt):
        return
    builder = trt.Builder(logger)
    definition = builder.create_network(0)
    number = definition.add_input("number", trt.DataType.FLOAT, (1,))
    layer = definition.add_identity(number)
    definition.mark_output(layer.get_output(0))
    builder.build_serialized_network(definition, builder.create_builder_config())


def _member(target: str) -> str:
    return "SM" + target.replace(".", "")
