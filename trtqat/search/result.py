"""What ``trtqat.quantize_source`` made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.quant.placing.placement import Layer
from trtqat.quant.ranges.observing import SeenRange
from trtqat.search.accuracy_target import Ladder
from trtqat.search.agreement import OutputAgreement
from trtqat.search.sensitivity import LayerSensitivity

if TYPE_CHECKING:  # a PyTorch model is quantized without onnx
    from trtqat.graph.lint.finding import Finding


@dataclass(frozen=True)
class QuantizeResult:
    """What ``quantize_source`` made.

    Attributes:
        path: The file: state dict and recipe, or an ONNX graph with Q/DQ.
        model: The model's class, or the name of the float graph's file.
        inputs: As ``--input`` takes them, ``"images:1x3x224x224:float32"``.
        images: Samples that ranges were chosen on.
        method: How they were chosen.
        for_: The TensorRT that it is for; None for any.
        int8_share: Share of the MACs in quantized layers, 0 to 1; None where something in floating
            point multiplies nobody knows how much.
        layers: Every convolution and product, in the order of the run, with why some stay float;
            then those that did not run, without MACs. Of a graph, those of nobody knows how many
            have none either; a note names them.
        ranges: What each quantizer saw, the worst SQNR first.
        sensitivity: The layers, the worst first; empty if it was not measured.
        ladder: The way to the accuracy target; None without one.
        size_bytes: Of the file.
        seconds: That all of it took, without what an interrupted run had done.
        notes: Sentences for the user.
        outputs: How close the outputs are to the float model's on samples held out.
        are_held_out: Whether no range was chosen on these samples; where there are no others, they
            are some of those.
        findings: What lint found in a graph; empty for a PyTorch model.
        plugins: What of a graph ONNX Runtime does not run, ``"'/nms' (EfficientNMS_TRT)"``.
        shapes: Of a graph that leaves more open than the batch, what ``trtqat build --shapes`` is
            to be given, with ``?`` for each size that is to be chosen.
    """

    path: Path
    model: str
    inputs: tuple[str, ...]
    images: int
    method: str
    for_: str | None
    int8_share: float | None
    layers: tuple[Layer, ...]
    ranges: tuple[SeenRange, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    ladder: Ladder | None
    size_bytes: int
    seconds: float
    notes: tuple[str, ...]
    outputs: tuple[OutputAgreement, ...] = ()
    are_held_out: bool = True
    findings: tuple[Finding, ...] = ()
    plugins: tuple[str, ...] = ()
    shapes: str = ""

    def check_target(self) -> None:
        """Raises where an accuracy target was not reached.

        Raises:
            GateError: The accuracy drops by more, however many layers stay in floating point.
        """
        if self.ladder is not None:
            self.ladder.check_reached(
                f"Train it: model = trtqat.load_quantized(fp32, {str(self.path)!r}); "
                "trtqat.fine_tune(model, batches, epochs=10, teacher=fp32). The file has all "
                "layers in INT8, which is where training starts."
            )
