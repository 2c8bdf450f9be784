"""Steps that several recipes have. Each is the whole command, as it is typed."""

from __future__ import annotations

from dataclasses import replace

from trtqat.host.recipes.recipe import BY_TEST, Step

PARSED = "as far as a CPU goes: the command line was parsed"
_BY_8_6 = (
    "on an H100 and an H200 with TensorRT 8.6.0 and models of ours, with --tactic-sources besides"
)


def elsewhere(step: Step) -> Step:
    """A step that was run, in a recipe for hosts on which it was not."""
    if step.mark != "run":
        return step
    return replace(step, mark="checked", how=f"on another host: it was run {step.how}")


QUANTIZE = Step(
    "Quantize the model; one that was trained with quantizers goes to export as it is.",
    "trtqat quantize model.py:fp32 --checkpoint fp32.pt --data npz:train.npz -o int8.pt",
    "run",
    BY_TEST,
)
EXPORT = Step(
    "Export it. The FP32 graph of opset 17 is for TensorRT 8.6 and 10.",
    "trtqat export model.py:fp32 --checkpoint int8.pt --input images:1x3x224x224 -o model.onnx",
    "run",
    BY_TEST,
)
EXPORT_HALF = Step(
    "Export an FP16 graph: TensorRT 11 takes every type from the graph, so what is not INT8 would "
    "be FP32 otherwise.",
    "trtqat export model.py:fp32 --checkpoint int8.pt --input images:1x3x224x224 "
    "--precision fp16 --opset 19 -o model.onnx",
    "run",
    BY_TEST,
)
LINT_11 = Step(
    "Ask what TensorRT 11 refuses of the graph, and how to export it again.",
    "trtqat lint model.onnx --for 11 --strict",
    "run",
    BY_TEST,
)
BUILD = Step(
    "Build on the GPU that will run it. It fails unless every quantized layer is INT8.",
    "trtqat build model.onnx -o model.engine --batch 1:32:128 --timing-cache timing.cache "
    "--require-int8",
    "run",
    f"{_BY_8_6} (scripts/results/test-gpu.txt)",
)
EVALUATE = Step(
    "Measure it beside PyTorch.",
    "trtqat eval model.engine --data npz:test.npz --baseline model.py:fp32 --checkpoint fp32.pt "
    "--html report.html",
    "run",
    f"{_BY_8_6} (scripts/results/test-gpu.txt, eval-resnet50.json)",
)
DOCTOR = Step("See what this host has.", "trtqat doctor", "run", BY_TEST)
SHIP = Step(
    "On the host that gets the plan and its .json: ask whether it runs there.",
    "trtqat doctor model.engine",
    "run",
    "on H100s, an H200 and hosts without a GPU (scripts/results/shipping.json)",
)
