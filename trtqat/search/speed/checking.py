"""What a search refuses before anything is built, and what makes two searches the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.building.library import load_builder
from trtqat.building.rtx import is_rtx
from trtqat.building.source_graph import SourceGraph, read_source_graph
from trtqat.building.tuned_options import options_path, plan_path, read_tuned
from trtqat.data.dataset import files_of, is_random, open_dataset
from trtqat.data.labels import class_numbers
from trtqat.errors import MissingError, UsageError
from trtqat.files import check_not_overwritten, check_writable, is_file, sha256_of
from trtqat.graph.lenses.regions import Region
from trtqat.graph.passes.take_codes import recorded_scales
from trtqat.graph_file.reading import external_files
from trtqat.host.gpu import describe_gpu
from trtqat.host.tensorrt_library import open_device
from trtqat.pixels import with_pixels
from trtqat.plan.manifest import manifest_path
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.search.asked_metric import parts_of_key
from trtqat.search.speed.engines import no_labels
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.points import Point, at_point, points_for
from trtqat.tensors import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class TuneHost:
    """What times are of: the names of GPU and driver, and the version of TensorRT."""

    gpu: str
    driver: str
    tensorrt: str


def check_files(graph: Path, output: Path, data: str, cache: Path) -> SourceGraph:
    """Refuses a graph that cannot be tuned, and outputs that cannot be written.

    Args:
        graph: What is to be tuned.
        output: The graph to write; its plan and its options go beside it.
        data: Its specification.
        cache: The timing cache, which is written as well.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: It is an FP16 graph, an output is what is read or cannot be written, or another
            file stands where the options go.
    """
    source = read_source_graph(graph)
    if source.has_half_scales:
        raise UsageError(
            f"'{graph}' is an FP16 graph; tuning is of the FP32 graph, whose rest runs in FP16.",
            "Give what trtqat export --precision fp32 writes.",
        )
    if output.resolve() == graph.resolve():
        raise UsageError(f"'{output}' is the graph itself.", "Give another name with -o.")
    check_writable(output)
    if output.exists() and not is_file(output):
        raise UsageError(f"'{output}' is no file.", "Give the name of a file with -o.")
    read = [graph, *external_files(graph), *filter(is_file, files_of(data))]
    plan = plan_path(output)
    for each in (output, plan, manifest_path(plan), options_path(output), cache):
        check_not_overwritten(each, read)
    _check_beside(output)
    return source


def _check_beside(output: Path) -> None:
    """Refuses a name for which nothing can go beside, and to write over other files than ours."""
    plan, path = plan_path(output), options_path(output)
    for each, goes in ((plan, "plan goes"), (path, "build options go")):
        if each == output:
            raise UsageError(
                f"'{output}' is where the {goes}.", "Give the graph a name that ends in .onnx."
            )
        check_writable(each)
    if is_file(path):
        try:
            read_tuned(path)
        except UsageError as error:
            raise UsageError(
                f"'{path}' is where the build options go, and holds something else.",
                "Move it away, or give another name with -o.",
            ) from error


def check_data(options: TuneOptions, inputs: Sequence[TensorSpec], points: Sequence[Point]) -> None:
    """Refuses data that does not fit, or has no labels where accuracy is to be counted.

    Args:
        options: With the data.
        inputs: Of the graph.
        points: Where engines are measured.

    Raises:
        UsageError: The kind of data is unknown.
        DataError: It is missing or damaged, does not fit, is of a size at which nothing is
            measured, or has no labels.
    """
    if is_random(options.data):
        open_dataset(options.data, at_point(inputs, points[-1])).batch(0, 1)
        return
    dataset = open_dataset(options.data, inputs)
    points_for(dataset, inputs, points)
    labels = dataset.batch(0, 1).labels
    if options.max_drop_points is None:
        return
    if labels is None:
        raise no_labels(options.data)
    if options.metric is None:
        class_numbers(f"The labels of '{dataset.name}'", labels)


def check_regions(regions: Sequence[Region], graph: Path) -> None:
    """Refuses a graph in which nothing is to be chosen.

    Args:
        regions: Of the graph.
        graph: For the message.

    Raises:
        UsageError: No layer of it is INT8.
    """
    if not any(region.layers for region in regions):
        raise UsageError(
            f"No layer of '{graph}' is INT8, so there is nothing to tune.",
            "See what its pairs do not reach: trtqat lint",
        )


def check_host() -> None:
    """Refuses a host that cannot build and measure both ends.

    Raises:
        MissingError: There is no TensorRT or no GPU, or this TensorRT takes its types from the
            graph.
    """
    trt = load_builder(None)
    if is_rtx(trt):
        raise MissingError(
            "Here is TensorRT for RTX alone, whose plans are not run where they are built.",
            "Tune where TensorRT and the GPU are that will run the engine.",
        )
    if not hasattr(trt.BuilderFlag, "FP16"):
        raise MissingError(
            f"TensorRT {trt.__version__} builds no FP16 engine from an FP32 graph, so there is "
            "nothing to compare INT8 with.",
            "Tune with a TensorRT up to 10.",
        )
    open_device("Tuning")


def describe_host() -> TuneHost:
    """What figures of this host are of."""
    gpu = describe_gpu()
    return TuneHost(gpu.name, gpu.driver, load_builder(None).__version__)


def key_of(
    source: SourceGraph,
    options: TuneOptions,
    graphs: Sequence[Sequence[Region]],
    host: TuneHost,
) -> str:
    """What is the same if and only if the log's figures are of this search.

    Args:
        source: The graph.
        options: How to search; what they ask of the answer alone is no part of it.
        graphs: The regions of each that may be searched. The log names them by their places, and
            another version may cut or repair otherwise.
        host: That builds and measures.
    """
    places = [[(region.name, region.nodes) for region in regions] for regions in graphs]
    data = [sha256_of(file) for file in files_of(options.data) if is_file(file)]
    words = [
        source.sha256,
        *astuple(host),
        places,
        options.build,
        options.data,
        data,
        options.latency,
        *parts_of_key(options.metric),
    ]
    return hashlib.sha256(repr(words).encode()).hexdigest()


def inputs_of(model: ir.Model) -> list[TensorSpec]:
    """The inputs of a graph as its engine takes them.

    Args:
        model: The graph.
    """
    specs, recorded = [], recorded_scales(model)
    for value in model.graph.inputs:
        dims = tuple(dim if isinstance(dim, int) else DYNAMIC for dim in value.shape or ())
        # What arrives as codes is given as floats.
        has_type = value.dtype is not None and value.name not in recorded
        dtype = value.dtype.numpy().name if has_type and value.dtype else "float32"
        specs.append(TensorSpec(str(value.name), dims, dtype))
    record = read_provenance(model.metadata_props.get(METADATA_KEY, "{}"))
    return list(with_pixels(specs, record.pixels))
