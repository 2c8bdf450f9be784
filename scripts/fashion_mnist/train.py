r"""Trains five architectures on Fashion-MNIST, quantizes them, and counts all on all test images.

    python -m scripts.fashion_mnist.prepare runs/fashion
    python -m scripts.fashion_mnist.train --data runs/fashion --output runs/fashion-out \
        --seeds 0,1,2 --summary scripts/results/fashion-mnist.json

Stages, in the order in which each model goes through them:

    fp32        trained in floating point; EfficientNet-Lite0 begins with ImageNet's weights
    ptq-METHOD  FP32 with ranges chosen by a method, on 512 plain training images
    control     FP32 trained on, for every seed
    qat         ptq-auto trained on in the same way, for every seed
    ptq-target  as ptq-auto, with what must stay float so that held-out images lose little
    onnx-…      the graph of qat (first seed) and of ptq-auto, on ONNX Runtime
    engine-…    their engines, on the GPU; left out, and said, where there is no TensorRT

What is there already is not run again (``stages.py``), so a run that was ended goes on where it
was. Several may run at once with different --models. With --report nothing is run. The table goes
to standard output, the progress to standard error.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from scripts.fashion_mnist.comparing import compare, table
from scripts.fashion_mnist.engines import ENGINE_PTQ, ENGINE_QAT, GRAPH_PTQ, GRAPH_QAT
from scripts.fashion_mnist.models import COMPARED, MODELS
from scripts.fashion_mnist.prepare import WEIGHTS
from scripts.fashion_mnist.quantizing import PTQ, TARGET
from scripts.fashion_mnist.stages import Choices, Record, Stage, Work, read_record, run_stage
from scripts.fashion_mnist.summary import write_summary
from scripts.fashion_mnist.training import CONTROL, FP32, QAT
from scripts.fitting import Images
from scripts.training_options import chosen_device, first_images, positive
from trtqat.data.idx import read_split
from trtqat.errors import DataError, TrtqatError

STAGES = (FP32, *PTQ, CONTROL, QAT, TARGET, GRAPH_QAT, GRAPH_PTQ, ENGINE_QAT, ENGINE_PTQ)


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs all stages; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given)
    try:
        device = chosen_device(options.device)
        train = first_images(read_split(options.data, "train"), options.limit, device)
        test = first_images(read_split(options.data, "test"), options.limit, device)
        records = run(options, train, test)
        rows = compare(records, test.labels.tolist())
        if options.summary is not None:
            write_summary(options.summary, rows, given, options.commit)
    except TrtqatError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows))
    return 0


def run(options: argparse.Namespace, train: Images, test: Images) -> list[Record]:
    """Runs every stage of every model that is not done yet.

    Args:
        options: As the command line gives them.
        train: Training images on the device.
        test: Test images on the device.

    Returns:
        The records of all, model by model.

    Raises:
        DataError: The weights or a record are missing or damaged.
        UsageError: A stage was done with other settings, lacks one before it, or nothing can be
            written.
        TrtqatError: A training diverged, or a graph or an engine cannot be made.
    """
    choices = _choices(options)
    needs_weights = "efficientnet_lite0" in options.models and not options.report
    if needs_weights and not choices.weights.is_file():
        raise DataError(
            f"efficientnet_lite0 begins with the weights of '{choices.weights}', which is not "
            "there.",
            "Get it by python -m scripts.fashion_mnist.prepare, or name --models without it.",
        )
    records = []
    stages = [stage for stage in STAGES if stage.name in options.stages]
    if not options.report:
        stages = _runnable(stages)
    for model in options.models:
        for stage in stages:
            for seed in options.seeds if stage.is_seeded else options.seeds[:1]:
                work = Work(model, seed, train, test, options.output / model, choices)
                if not options.report:
                    records.append(run_stage(stage, work))
                    continue
                record = read_record(work.folder / f"{stage.label(seed)}.json", alone=True)
                records += [] if record is None else [record]
    return records


def _runnable(stages: list[Stage]) -> list[Stage]:
    """Those that this host can run; the others are said."""
    found = []
    for stage in stages:
        lacks = stage.lacks()
        if lacks:
            print(f"{stage.name} is left out: here is no {lacks}.", file=sys.stderr)
        else:
            found.append(stage)
    return found


def _choices(options: argparse.Namespace) -> Choices:
    return Choices(
        data=options.data,
        weights=options.weights or options.data / WEIGHTS,
        epochs=options.epochs,
        tuning_epochs=options.tuning_epochs,
        batch_size=options.batch_size,
        calibration_images=options.calibration_images,
        max_drop=options.max_accuracy_drop,
        tactic_sources=options.tactic_sources,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train and quantize five architectures, and count them on all test images"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files")
    parser.add_argument("--output", type=Path, required=True, help="folder for records and weights")
    parser.add_argument(
        "--models", type=_models, default=tuple(COMPARED), help=f"some of {','.join(MODELS)}"
    )
    names = tuple(stage.name for stage in STAGES)
    parser.add_argument("--stages", type=_stages, default=names, help=f"some of {','.join(names)}")
    parser.add_argument(
        "--epochs", type=positive, help="of FP32; if not given, what each architecture needs"
    )
    parser.add_argument("--tuning-epochs", type=positive, default=5, help="of QAT and control")
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument("--calibration-images", type=positive, default=512)
    parser.add_argument(
        "--max-accuracy-drop", type=_points, default=0.2, help="target of ptq-target, in points"
    )
    parser.add_argument(
        "--tactic-sources", default="", help="for TensorRT, as =-cublas,-cublas-lt,-cudnn"
    )
    parser.add_argument("--limit", type=positive, help="use so many images of each split")
    parser.add_argument("--weights", type=Path, help=f"ImageNet weights, if not DATA/{WEIGHTS}")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--seeds", type=_seeds, default=(0,), help="QAT and control take all: 0,1,2"
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing: show the records that are there"
    )
    parser.add_argument("--summary", type=Path, help="JSON file for all rows of the table")
    parser.add_argument("--commit", default="", help="for the summary, where git is not there")
    return parser


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be percentage points from 0 to 100")
    return value


def _stages(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    known = [stage.name for stage in STAGES]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no stage is called {unknown[0]}; use {', '.join(known)}")
    return names


def _models(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no model is called {unknown[0]}; use {', '.join(MODELS)}"
        )
    return names


def _seeds(text: str) -> tuple[int, ...]:
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds) or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError("must be different whole numbers, such as 0,1,2")
    return tuple(int(seed) for seed in seeds)


if __name__ == "__main__":
    sys.exit(main())
