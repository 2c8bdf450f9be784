"""What it costs to calibrate a ResNet-50, and what each method makes of it.

The forward alone, the histograms of all that INT8 layers read, the ranges by each method, and
those of the weights: seconds of the clock each, and seconds of all cores together. Beside a
method stands how far the quantized model's logits are from the float model's, on other images.
The weights are random unless ``--checkpoint`` gives a state dict. With ``--modelopt`` ModelOpt
quantizes the same model on the same images, as a command of another environment.

    python -m scripts.bench.calibration --output calibration.json [--modelopt VENV/bin/python]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from scripts.models import resnet
from trtqat.host.environment import describe_environment
from trtqat.numerics import difference
from trtqat.quant.ranges.activation_ranges import ActivationMethod, Range, activation_range
from trtqat.quant.ranges.histogram import MagnitudeHistogram
from trtqat.quant.ranges.weight_ranges import weight_range

LAYERS = (nn.Conv2d, nn.Linear)


def main() -> None:
    """Measures, prints a table, and writes the file."""
    arguments = _parse()
    model = resnet.fp32()
    if arguments.checkpoint:
        model.load_state_dict(torch.load(arguments.checkpoint, weights_only=True))
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(arguments.images, 3, 224, 224, generator=generator)
    held_out = torch.randn(8, 3, 224, 224, generator=generator)
    batches = list(torch.split(images, arguments.batch_size))
    places = _places(model)
    with torch.no_grad():
        model(batches[0])  # the first pass allocates
        clock = Stages()
        histograms = _observed(model, places, batches, clock)
        ranges = _activation_ranges(histograms, clock)
        weights = _weight_ranges(model, clock)
        closeness = _closeness(model, places, held_out, ranges, weights)
    record = {
        "cpus": os.cpu_count(),
        "load_before": _LOAD,
        "environment": asdict(describe_environment(with_gpu=False)),
        "images": arguments.images,
        "tensors": len(histograms),
        "values": sum(each.count for each in histograms.values()),
        "seconds": clock.seconds,
        "taken_by_auto": _counted(ranges["auto"]),
        "logits_sqnr_db": closeness,
    }
    if arguments.modelopt:
        record["modelopt_s"] = _modelopt(arguments.modelopt, model, images)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{record['tensors']} tensors, {record['values'] / 1e9:.2f}e9 values")
    print("auto took", record["taken_by_auto"])
    for name, value in closeness.items():
        print(f"{name:28} {value:8.2f} dB")
    if arguments.modelopt:
        print(f"{'ModelOpt, as a command':28} {record['modelopt_s']:8.2f} s")


class Stages:
    """What each stage took: seconds of the clock, and of all cores together."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what is inside to a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent = self.seconds.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        spent["wall"] += time.perf_counter() - wall
        spent["cpu"] += time.process_time() - cpu

    def show(self, name: str) -> None:
        """Prints a stage's line."""
        spent = self.seconds[name]
        print(f"{name:28} {spent['wall']:8.2f} s, cores {spent['cpu']:8.2f} s", flush=True)


_LOAD = os.getloadavg()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--modelopt", type=Path, help="a Python that has nvidia-modelopt[onnx]")
    return parser.parse_args()


def _places(model: nn.Module) -> dict[str, nn.Module]:
    """Modules whose input INT8 kernels read: layers, the average pool, and the residuals."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (*LAYERS, nn.AdaptiveAvgPool2d)) or name.endswith("on_residual")
    }


@contextlib.contextmanager
def _before(
    places: dict[str, nn.Module], act: Callable[[str, torch.Tensor], torch.Tensor | None]
) -> Iterator[None]:
    """Calls ``act`` on the input of each place; what it returns takes the input's place."""
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: act(name, inputs[0]))
        for name, module in places.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _observed(
    model: nn.Module, places: dict[str, nn.Module], batches: list[torch.Tensor], clock: Stages
) -> dict[str, MagnitudeHistogram]:
    with clock.stage("forward"):
        for batch in batches:
            model(batch)
    clock.show("forward")
    histograms = {name: MagnitudeHistogram() for name in places}

    def add(name: str, values: torch.Tensor) -> None:
        with clock.stage("histograms"):
            histograms[name].add(values)

    with _before(places, add):
        for batch in batches:
            model(batch)
    clock.show("histograms")
    return histograms


def _activation_ranges(
    histograms: dict[str, MagnitudeHistogram], clock: Stages
) -> dict[str, dict[str, Range]]:
    ranges = {}
    for method in get_args(ActivationMethod):
        stage = f"activations, {method}"
        with clock.stage(stage):
            ranges[method] = {
                name: activation_range(each, method, name=name) for name, each in histograms.items()
            }
        clock.show(stage)
    return ranges


def _weight_ranges(model: nn.Module, clock: Stages) -> dict[str, dict[str, torch.Tensor]]:
    layers = {name: each for name, each in model.named_modules() if isinstance(each, LAYERS)}
    ranges = {}
    for method in ("max", "mse"):
        stage = f"weights, {method}"
        with clock.stage(stage):
            ranges[method] = {
                name: weight_range(layer.weight, 0, method, name=name).amax
                for name, layer in layers.items()
            }
        clock.show(stage)
    return ranges


def _closeness(
    model: nn.Module,
    places: dict[str, nn.Module],
    images: torch.Tensor,
    activations: dict[str, dict[str, Range]],
    weights: dict[str, dict[str, torch.Tensor]],
) -> dict[str, float]:
    """SQNR of the logits in dB, for each method of activations and of weights."""
    expected = model(images).numpy()
    trained = {name: each.clone() for name, each in model.state_dict().items()}
    found = {}
    for weight_method, amaxes in weights.items():
        for name, amax in amaxes.items():
            weight = model.get_submodule(name).get_parameter("weight")
            scale, zero = amax.clamp(min=2.0**-24) / 127, torch.zeros_like(amax).int()
            codes = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -128, 127)
            weight.copy_(codes)
        for method, ranges in activations.items():

            def quantize(
                name: str, values: torch.Tensor, ranges: dict[str, Range] = ranges
            ) -> torch.Tensor:
                return torch.fake_quantize_per_tensor_affine(
                    values, max(ranges[name].amax, 2.0**-24) / 127, 0, -128, 127
                )

            # Weights of both kinds beside the default alone: the others differ by them as much.
            if weight_method == "max" and method != "auto":
                continue
            with _before(places, quantize):
                key = f"{method}, weights {weight_method}"
                found[key] = difference(expected, model(images).numpy()).sqnr_db
        model.load_state_dict(trained)
    return found


def _counted(ranges: dict[str, Range]) -> dict[str, int]:
    methods = [each.method for each in ranges.values()]
    return {method: methods.count(method) for method in sorted(set(methods))}


def _modelopt(python: Path, model: nn.Module, images: torch.Tensor) -> float:
    """Seconds of ModelOpt's command, from the FP32 graph and the images in files."""
    with tempfile.TemporaryDirectory() as folder:
        graph, data = Path(folder, "fp32.onnx"), Path(folder, "images.npy")
        np.save(data, images.numpy())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
            torch.onnx.export(
                model, (images[:1],), graph, opset_version=17, dynamo=False,
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}}, **names,
            )  # fmt: skip
        command = [str(python), "-m", "modelopt.onnx.quantization", "--quantize_mode=int8"]
        command += ["--calibration_method=entropy", "--calibration_eps", "cpu"]
        command += [f"--onnx_path={graph}", f"--calibration_data={data}"]
        command += [f"--output_path={Path(folder, 'int8.onnx')}"]
        environment = {name: each for name, each in os.environ.items() if name != "PYTHONPATH"}
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()
