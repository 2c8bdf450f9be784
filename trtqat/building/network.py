"""TensorRT's network of a graph, and the configuration to build it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trtqat.building import versions
from trtqat.building.failed_build import advice_on_reading
from trtqat.building.options import BuildOptions
from trtqat.building.rtx import check_scales, is_rtx, set_targets
from trtqat.building.source_graph import SourceGraph
from trtqat.errors import BuildError, GraphError, UsageError
from trtqat.host.plugins import PluginFile, load_plugins
from trtqat.host.tensorrt_library import numpy_type
from trtqat.host.tensorrt_log import Messages, make_logger
from trtqat.io_names import in_order
from trtqat.plan.header import LIBRARY_NAMES, Library
from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import TensorSpec


@dataclass(frozen=True)
class Network:
    """A graph as TensorRT has read it, and what TensorRT needs to build it.

    Attributes:
        trt: The imported module.
        logger: Of this build alone.
        messages: What it has logged.
        builder: The ``Builder``.
        parser: The ``OnnxParser``, which owns the weights, and so must not be gone before them.
        definition: The ``INetworkDefinition``.
        source: The graph.
        inputs: In the order of the graph, dynamic dimensions as -1.
        outputs: In the order of the graph, dynamic dimensions as -1.
    """

    trt: ModuleType
    logger: Any
    messages: Messages
    builder: Any
    parser: Any
    definition: Any
    source: SourceGraph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def library(self) -> Library:
        """Which library has read it."""
        return library_of_module(self.trt)

    @property
    def builder_name(self) -> str:
        """The library and its version, as ``"TensorRT 8.6.0"``."""
        return f"{LIBRARY_NAMES[self.library]} {self.trt.__version__}"


def library_of_module(trt: ModuleType) -> Library:
    """Which library a module is.

    Args:
        trt: The imported module.
    """
    return "rtx" if is_rtx(trt) else "tensorrt"


def parse_network(
    trt: ModuleType, source: SourceGraph, plugins: Sequence[PluginFile] = ()
) -> Network:
    """Lets TensorRT read a graph.

    Args:
        trt: The imported module.
        source: The graph.
        plugins: Libraries to load before.

    Raises:
        UsageError: A library of plugins cannot be loaded.
        GraphError: NumPy lacks the type of an input or output.
        BuildError: TensorRT cannot read it; the message names the node.
        MissingError: It is an FP16 graph, and this TensorRT builds none.
    """
    library = library_of_module(trt)
    if library == "rtx":
        check_scales(source.path.name, source.computed_scales)
    logger, messages = make_logger(trt)
    builder = trt.Builder(logger)
    if plugins or source.foreign_operators:
        load_plugins(trt, builder.get_plugin_registry(), logger, plugins)
    flags = versions.network_flags(trt, strongly_typed=source.has_half_scales)
    definition = builder.create_network(flags)
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse_from_file(str(source.path)):
        reasons = versions.parser_errors(parser, source.nodes)
        raise BuildError(
            f"{LIBRARY_NAMES[library]} {trt.__version__} cannot read '{source.path.name}': "
            f"{'; '.join(reasons) or messages.reason()}.",
            advice_on_reading(reasons, source.foreign_operators, plugins),
        )
    inputs = _specs(trt, [definition.get_input(i) for i in range(definition.num_inputs)])
    outputs = _specs(trt, [definition.get_output(i) for i in range(definition.num_outputs)])
    return Network(
        trt,
        logger,
        messages,
        builder,
        parser,
        definition,
        source,
        # The labels of Triton's config belong to the first one of the model, not of the network.
        in_order(inputs, source.io.inputs),
        in_order(outputs, source.io.outputs),
    )


def configure(
    network: Network, profiles: Sequence[Mapping[str, ProfileShapes]], options: BuildOptions
) -> tuple[Any, bool | None]:
    """An ``IBuilderConfig`` with every option but the timing cache, and whether it allows FP16.

    Args:
        network: What is to be built.
        profiles: Shapes by input name, of each profile.
        options: How.

    Returns:
        The second is None where the graph's types decide.

    Raises:
        UsageError: An option is not one of this TensorRT's, or fits no other one.
        BuildError: TensorRT refuses the shapes.
        MissingError: This TensorRT lacks an option.
    """
    trt, builder = network.trt, network.builder
    config = builder.create_builder_config()
    # Layer names, precisions and tactics for the inspector; costs nothing at run time.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    allowed = versions.set_precision(
        trt,
        config,
        options.precision,
        fp16=options.fp16,
        strongly_typed=network.source.has_half_scales,
    )
    fp16 = None if allowed is None else "FP16" in allowed
    if fp16 and (pixels := network.source.provenance.pixels):
        versions.keep_codes(trt, config, network.definition, pixels)
    versions.share_profile(trt, config)
    set_targets(trt, config, options.targets)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.tactic_sources:
        current = config.get_tactic_sources()
        config.set_tactic_sources(versions.tactic_sources(trt, options.tactic_sources, current))
    if options.version_compatible:
        versions.set_version_compatible(trt, config, embed=not options.exclude_lean_runtime)
    elif options.exclude_lean_runtime:
        raise UsageError(
            "Only a version-compatible plan carries a lean runtime.",
            "Add --version-compatible, or leave out --exclude-lean-runtime.",
        )
    if options.strip_weights:
        versions.strip_weights(trt, config)
    versions.set_hardware_compatibility(trt, config, options.hardware_compatibility)
    for profile in profiles:
        _add_profile(builder, config, profile)
    return config, fp16


def _add_profile(builder: Any, config: Any, profile: Mapping[str, ProfileShapes]) -> None:  # noqa: ANN401
    shapes = builder.create_optimization_profile()
    for name, shape in profile.items():
        shapes.set_shape(name, shape.min, shape.opt, shape.max)
    if config.add_optimization_profile(shapes) < 0:
        raise BuildError(
            "TensorRT refuses the shape profile: "
            + ", ".join(f"{name} {s.min} {s.opt} {s.max}" for name, s in profile.items())
            + ".",
            "Check --batch or the shapes against the graph.",
        )


def _specs(trt: ModuleType, tensors: list[Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for tensor in tensors:
        dtype = numpy_type(trt, tensor.dtype)
        if dtype is None:
            what = "Input" if tensor.is_network_input else "Output"
            raise GraphError(
                f"{what} '{tensor.name}' has a type that NumPy lacks ({tensor.dtype.name}).",
                "Make it float32, and put a Cast beside it in the graph.",
            )
        specs.append(TensorSpec(tensor.name, tuple(tensor.shape), dtype))
    return tuple(specs)
