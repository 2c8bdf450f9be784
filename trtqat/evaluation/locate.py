"""``--locate``: where accuracy goes, layer by layer and from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtqat.data.batches import Dataset
from trtqat.data.dataset import first
from trtqat.evaluation.accuracy import Progress
from trtqat.evaluation.locate_layers import LayerLoss, locate_in_layers
from trtqat.evaluation.locate_steps import LocatedInSteps, locate_in_steps
from trtqat.runtime.protocol import Model, ObservableModel

# ONNX Runtime runs the graph as written, slowly, and decibels are known well enough by then.
_IMAGES = 512


@dataclass(frozen=True)
class LocateOptions:
    """What to look into.

    Attributes:
        graph: The graph with Q/DQ, from which an engine was built.
        fake_quantized: The model that was exported, if it is to be looked into as well.
        timing_cache: File that the second build of an engine reads and updates.
    """

    graph: Path
    fake_quantized: ObservableModel | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Located:
    """What was found.

    Attributes:
        layers: What quantization costs in each layer of the graph.
        steps: Where the steps to the engine part; None if there is only the graph.
        images: On how many images, the first ones of the data.
    """

    layers: tuple[LayerLoss, ...] = ()
    steps: LocatedInSteps | None = None
    images: int = 0


def locate_loss(
    model: Model,
    options: LocateOptions,
    dataset: Dataset,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> Located:
    """Looks into graph, fake-quantized model and engine on the first 512 images.

    Args:
        model: The engine, or the graph itself.
        options: What to look into.
        dataset: Images that fit.
        batch_size: For the graph's layers.
        progress: Called with what is done and its total, of each part anew.

    Raises:
        GraphError: The graph cannot be read, has no layer, or has an INT8 input.
        DataError: The fake-quantized model has other outputs than the graph.
        UsageError: The engine has no manifest.
        BuildError: TensorRT does not build the engine again.
        InferenceError: A runtime failed.
        MissingError: Something that is needed is not installed.
    """
    dataset = first(dataset, _IMAGES)
    engine = model.engine
    steps = None
    # Before the graph's own layers: the engine that it builds may fail.
    if engine is not None or options.fake_quantized is not None:
        steps = locate_in_steps(
            options.graph,
            dataset,
            fake_quantized=options.fake_quantized,
            engine=engine,
            timing_cache=options.timing_cache,
            progress=progress,
        )
    layers = locate_in_layers(options.graph, dataset, batch_size=batch_size, progress=progress)
    return Located(layers, steps, len(dataset))
