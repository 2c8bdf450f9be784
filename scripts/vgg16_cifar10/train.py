r"""Trains VGG-16 on CIFAR-10's binary files, then fine-tunes it with fake quantization.

    python -m scripts.vgg16_cifar10.train --data cifar-10-batches-bin --output out --flip

or, in about a minute without a GPU, a small one on the digits of prepare_data.py:

    python -m scripts.vgg16_cifar10.train --data digits --output out --width 0.25 \
        --classifier 256 --batch-size 32 --epochs 4 --qat-epochs 1

Four stages, each counted on the whole test split:

    FP32          trained from scratch
    FP32 control  FP32, trained on for as many epochs as QAT: what QAT is to be compared with
    PTQ           FP32 with calibrated quantizers, not trained further
    QAT           PTQ, fine-tuned by trtqat.fine_tune, as the control is

Into --output go fp32.pt, fp32_control.pt and qat.pt (state dicts with their counts, loadable
with weights_only=True), vgg16_qat.jit.pt (the QAT model traced to TorchScript, with PyTorch's own
fake-quantize operators) and training.json.

The range is one, [-128, 127] with scale amax / 127, in training, in the traced file and in the
exported Q/DQ pairs. Calibration takes the largest weight of a channel for its amax, so at first no
weight has the code -128. Fine-tuning moves weights while amax stays: one that
grows beyond amax saturates at 127 or -128 and gets no more gradient from the loss.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.jit._trace import TracerWarning

from scripts.fitting import Accuracy, Fit, Images, Recipe, count_correct, fit, tune
from scripts.training_options import chosen_device, first_images, positive
from scripts.vgg16_cifar10.vgg16 import QUANTIZERS, vgg16
from trtqat.data.cifar10 import MEAN, STD, read_split
from trtqat.errors import TrtqatError
from trtqat.files import check_writable, write_atomically
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers

CALIBRATION_IMAGES = 512
TRACED_BATCH = 64


@dataclass(frozen=True)
class Stage:
    """One row of the result."""

    title: str
    epochs: int
    lr: float
    accuracy: Accuracy
    fit: Fit | None = None

    def as_dict(self) -> dict[str, Any]:
        """For training.json."""
        fit_fields = asdict(self.fit) if self.fit is not None else {}
        return {"epochs": self.epochs, "lr": self.lr, **asdict(self.accuracy), **fit_fields}


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs all stages; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        run(options)
    except TrtqatError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(options: argparse.Namespace) -> None:
    """Trains, counts and writes everything.

    Args:
        options: As the command line gives them.

    Raises:
        DataError: The data is missing or damaged.
        MissingError: CUDA was asked for and is not here.
        TrtqatError: A training diverged.
        RuntimeError: A stage trained nothing, or the traced model answers differently.
    """
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "training.json")
    device = chosen_device(options.device)
    train = first_images(read_split(options.data, "train"), options.limit, device, normalize)
    test = first_images(read_split(options.data, "test"), options.limit, device, normalize)
    torch.manual_seed(options.seed)

    model = vgg16(options.width, options.classifier).to(device)
    recipe = Recipe(
        options.epochs, options.lr, options.batch_size, flip=options.flip, seed=options.seed
    )
    fp32 = _counted("FP32", fit(model, train, recipe, title="FP32"), model, test, recipe)
    _save(output / "fp32.pt", model, options, fp32.accuracy)

    # The same seed for both, so that they see the same images in the same order.
    more = Recipe(
        options.qat_epochs,
        options.qat_lr,
        options.batch_size,
        flip=options.flip,
        seed=options.seed + 1,
    )
    control_model = copy.deepcopy(model)
    done = tune(control_model, train, more, title="FP32 control", ranges=None)
    control = _counted("FP32 control", done, control_model, test, more)
    _save(output / "fp32_control.pt", control_model, options, control.accuracy)

    quantized = insert_quantizers(model)
    calibrate(model, _calibration_batches(train, options))
    ptq = Stage("PTQ", 0, 0.0, count_correct(model, test, options.batch_size))
    # The quantizers are the toolkit's, whose ranges stay: it alone can trace itself to PyTorch's
    # operators, which vgg16_qat.jit.pt is here to show.
    done = tune(model, train, more, title="QAT", ranges="fixed")
    qat = _counted("QAT", done, model, test, more)
    _save(output / "qat.pt", model, options, qat.accuracy)

    traced = _trace_and_save(output / "vgg16_qat.jit.pt", model, test)
    stages = (fp32, control, ptq, qat)
    record = {
        "width": options.width,
        "classifier": options.classifier,
        "train_images": len(train),
        "test_images": len(test),
        "calibration_images": min(CALIBRATION_IMAGES, len(train)),
        "quantized_layers": len(quantized),
        "batch_size": options.batch_size,
        "flip": options.flip,
        "seed": options.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "stages": {stage.title: stage.as_dict() for stage in stages},
        "traced_same_answers": asdict(traced),
    }
    write_atomically(output / "training.json", json.dumps(record, indent=2).encode())
    print(_table(stages))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train VGG-16 on CIFAR-10's binary files and fine-tune it for INT8"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the .bin files")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels")
    parser.add_argument("--classifier", type=positive, default=4096, help="hidden linear width")
    parser.add_argument("--epochs", type=positive, default=100, help="of the FP32 model")
    parser.add_argument("--qat-epochs", type=positive, default=10, help="of QAT and the control")
    parser.add_argument("--batch-size", type=positive, default=64)
    # At full width, 0.02 leaves the model at chance; a quarter of the width takes either.
    parser.add_argument("--lr", type=float, default=0.01, help="of the FP32 model")
    parser.add_argument("--qat-lr", type=float, default=0.002, help="of QAT and the control")
    parser.add_argument("--flip", action="store_true", help="mirror at random; not for digits")
    parser.add_argument("--limit", type=positive, help="use so many images of each split")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """The same as ``trtqat.data.cifar10.normalize``, on the device."""
    mean = torch.tensor(MEAN, device=pixels.device).reshape(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).reshape(3, 1, 1)
    return (pixels.float() / 255.0 - mean) / std


def _counted(
    title: str, result: Fit, model: torch.nn.Module, test: Images, recipe: Recipe
) -> Stage:
    accuracy = count_correct(model, test, recipe.batch_size)
    print(f"{title}: {accuracy.correct} of {accuracy.count} right", file=sys.stderr)
    return Stage(title, recipe.epochs, recipe.lr, accuracy, result)


def _calibration_batches(train: Images, options: argparse.Namespace) -> Iterator[torch.Tensor]:
    """Plain training images, drawn at random because files may be sorted by class."""
    generator = torch.Generator().manual_seed(options.seed)
    chosen = torch.randperm(len(train), generator=generator)[:CALIBRATION_IMAGES]
    for part in torch.split(chosen, options.batch_size):
        yield normalize(train.pixels[part.to(train.pixels.device)])


def _save(
    path: Path, model: torch.nn.Module, options: argparse.Namespace, accuracy: Accuracy
) -> None:
    checkpoint = {
        "model_state_dict": {name: value.cpu() for name, value in model.state_dict().items()},
        "width": options.width,
        "classifier": options.classifier,
        "accuracy": asdict(accuracy),
    }
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_atomically(path, buffer.getvalue())


def _trace_and_save(path: Path, model: torch.nn.Module, test: Images) -> Accuracy:
    """Traces the model on the CPU; returns how many answers stay the same."""
    model = copy.deepcopy(model).cpu().eval()
    examples = normalize(test.pixels[:TRACED_BATCH].cpu())
    quantizer = load_toolkit().nn.TensorQuantizer
    native = quantizer.use_fb_fake_quant
    # PyTorch's operators instead of the toolkit's autograd function, which TorchScript cannot hold.
    quantizer.use_fb_fake_quant = True
    try:
        with quiet_toolkit(), torch.inference_mode(), warnings.catch_warnings():
            # amax becomes a constant, as it should; and TorchScript is deprecated, but a format
            # that others still read.
            warnings.simplefilter("ignore", TracerWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(model, examples[:2])  # type: ignore[no-untyped-call]
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer)
            answers = traced(examples).argmax(dim=1)
    finally:
        quantizer.use_fb_fake_quant = native
    nodes = [node.kind() for node in traced.inlined_graph.nodes()]
    found = sum(kind.startswith("aten::fake_quantize") for kind in nodes)
    with torch.inference_mode():
        same = int((answers == model(examples).argmax(dim=1)).sum())
    # The two round x / scale and x * (1 / scale), so a value on an edge may differ, and at
    # most an image on the edge between two classes with it.
    if found != QUANTIZERS or same < 0.9 * len(examples):
        raise RuntimeError(
            f"the traced model has {found} of {QUANTIZERS} quantizers and gives {same} of "
            f"{len(examples)} answers of the model it was traced from"
        )
    write_atomically(path, buffer.getvalue())
    return Accuracy(same, len(examples))


def _table(stages: tuple[Stage, ...]) -> str:
    rows = [f"{'stage':<14}{'epochs':>7}{'correct':>9}{'count':>8}{'top-1':>9}"]
    rows += [
        f"{stage.title:<14}{stage.epochs:>7}{stage.accuracy.correct:>9}{stage.accuracy.count:>8}"
        f"{stage.accuracy.percent:>8.2f}%"
        for stage in stages
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
