"""Stages: what is done with a model, each done once, kept in two files and taken up again.

A stage of a model leaves a record, ``OUT/MODEL/STAGE.json``, and where it has trained one a
checkpoint beside it, ``STAGE.pt``; with ``-seed1`` behind the stage where each seed has its own. A
stage whose record is there is not run again. If its settings were others it is refused: two
halves of a table that were made differently are no table.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.fashion_mnist.models import MODELS
from scripts.fitting import Images, predict
from trtqat.errors import DataError, UsageError
from trtqat.exporting.checkpoint import load_state
from trtqat.files import read_input, write_together
from trtqat.quant.recipe import save_quantized
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.typed_json import as_fields, json_text, parse_json, read_as


@dataclass(frozen=True)
class Record:
    """What a stage of a model reached.

    Attributes:
        model: Name of the model.
        stage: Name of the stage.
        seed: What it was run with.
        correct: Right answers.
        count: Test images, each counted once.
        answers: The class that each test image was given, a digit per image, in their order:
            what a paired comparison of two records needs.
        settings: What decides the result: with others it is another stage.
        figures: What else was measured.
        seconds: Wall-clock time of the stage.
        device: Name of the GPU, or ``"cpu"``.
        torch: Version of PyTorch.
        checkpoint: Name of the file of weights beside it, if it left any.
    """

    model: str
    stage: str
    seed: int
    correct: int
    count: int
    answers: str
    settings: dict[str, Any]
    figures: dict[str, Any]
    seconds: float
    device: str
    torch: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What the function of a stage returns.

    Attributes:
        answers: The class that each test image was given; int64, shape ``(N,)``.
        figures: For the record; what JSON can hold.
        model: To keep as a checkpoint; None if nothing has changed a weight.
    """

    answers: torch.Tensor
    figures: dict[str, Any] = field(default_factory=dict)
    model: nn.Module | None = None


@dataclass(frozen=True)
class Choices:
    """What the command line chooses for all models.

    Attributes:
        data: Folder with the IDX files.
        weights: File of ImageNet weights, for the model that begins with them.
        epochs: Of the FP32 models; None for what each architecture needs.
        tuning_epochs: Of QAT and of its FP32 control.
        batch_size: Largest number of images at once.
        calibration_images: Plain training images that ranges are chosen on.
        held_out: Last training images, which choose no range: the accuracy target is judged on
            them. A quarter of the training images at most.
        max_drop: That target: what the accuracy may drop there, in percentage points.
        tactic_sources: For TensorRT's builder, as trtexec spells them.
    """

    data: Path
    weights: Path
    epochs: int | None = None
    tuning_epochs: int = 5
    batch_size: int = 512
    calibration_images: int = 512
    held_out: int = 5000
    max_drop: float = 0.2
    tactic_sources: str = ""


@dataclass(frozen=True)
class Work:
    """What a stage works on.

    Attributes:
        model: Name of the model.
        seed: Decides all that is random.
        train: Training images on the device.
        test: Test images on the device.
        folder: Where the files of all stages of this model are.
        choices: What the command line chose.
    """

    model: str
    seed: int
    train: Images
    test: Images
    folder: Path
    choices: Choices

    @property
    def device(self) -> torch.device:
        """Where the images are, and where a model belongs."""
        return self.train.labels.device

    def new_model(self) -> nn.Module:
        """The model with fresh weights, on the device."""
        model = MODELS[self.model]().to(self.device)
        # The faster layout of convolutions on a GPU in bfloat16.
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def trained(self, name: str) -> nn.Module:
        """The model that an earlier stage left, on the device and in eval mode.

        Args:
            name: The name of its files, such as ``"fp32"`` or ``"control-seed1"``.

        Raises:
            UsageError: That stage has left none.
        """
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            raise UsageError(f"There is no '{path}'.", f"Run the stage that makes {name} first.")
        model = self.new_model()
        load_state(model, path)
        return model.to(self.device).eval()

    def record(self, name: str) -> Record:
        """What an earlier stage reached.

        Args:
            name: The name of its files.

        Raises:
            UsageError: That stage was not run.
            DataError: Its record is damaged.
        """
        path = self.folder / f"{name}.json"
        record = read_record(path)
        if record is None:
            raise UsageError(f"There is no '{path}'.", f"Run the stage that makes {name} first.")
        return record

    def answers(self, model: nn.Module) -> torch.Tensor:
        """The class that a model gives each test image, computed in float32 throughout.

        Args:
            model: On the device; left in eval mode.
        """
        with products(tf32=False):
            return predict(model, self.test, self.choices.batch_size)


@contextmanager
def products(*, tf32: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of products to TensorFloat-32, with 10 bits.

    A code of 8 bits times its scale has more of them.
    """
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    convolutions.allow_tf32 = matrices.allow_tf32 = tf32
    try:
        yield
    finally:
        convolutions.allow_tf32, matrices.allow_tf32 = before


@dataclass(frozen=True)
class Stage:
    """Something that is done with a model.

    Attributes:
        name: Of its files, and in the table.
        run: Does it.
        settings: What decides its result, as JSON holds it; the number of images is added.
        is_seeded: Whether it is done for every seed; otherwise for the first alone.
        lacks: What it needs and this host has not, in words; empty where it can be run.
    """

    name: str
    run: Callable[[Work], Outcome]
    settings: Callable[[Work], dict[str, Any]]
    is_seeded: bool = True
    lacks: Callable[[], str] = lambda: ""

    def label(self, seed: int) -> str:
        """The name of its files without their suffixes."""
        return f"{self.name}-seed{seed}" if self.is_seeded else self.name


def run_stage(stage: Stage, work: Work) -> Record:
    """Does a stage, or reads what it did.

    Args:
        stage: What to do.
        work: With what.

    Raises:
        UsageError: It was done with other settings, or its files cannot be written.
        DataError: Its record is damaged.
    """
    label = stage.label(work.seed)
    path = work.folder / f"{label}.json"
    settings = {
        **stage.settings(work),
        "train_images": len(work.train),
        "test_images": len(work.test),
    }
    done = read_record(path)
    if done is not None:
        if done.settings != settings:
            raise UsageError(
                f"'{path}' was made with other settings: {_difference(done.settings, settings)}.",
                "Give the same options, remove that file, or choose another --output.",
            )
        return done
    work.folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    outcome = stage.run(work)
    record = Record(
        model=work.model,
        stage=stage.name,
        seed=work.seed,
        correct=int((outcome.answers == work.test.labels).sum()),
        count=len(work.test),
        answers="".join(map(str, outcome.answers.tolist())),
        settings=settings,
        figures=outcome.figures,
        seconds=round(time.perf_counter() - begin, 2),
        device=torch.cuda.get_device_name(work.device) if work.device.type == "cuda" else "cpu",
        torch=torch.__version__,
        checkpoint=None if outcome.model is None else f"{label}.pt",
    )
    _write(work.folder, label, record, outcome.model)
    print(
        f"{work.model} {label}: {record.correct} of {record.count} right, {record.seconds:.1f} s",
        file=sys.stderr,
    )
    return record


def read_record(path: Path, *, alone: bool = False) -> Record | None:
    """What a stage left, or None if it has not been run.

    Args:
        path: The record.
        alone: Whether it will do without its checkpoint, as where only records were copied.

    Raises:
        DataError: The file is damaged, or the checkpoint that it names is gone.
    """
    if not path.exists():
        return None
    try:
        record = read_as(Record, parse_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is no record: {error}.", "Remove it to run it again.") from error
    needed = None if alone else record.checkpoint
    if needed is not None and not (path.parent / needed).is_file():
        raise DataError(
            f"'{path}' names {record.checkpoint}, which is not there.",
            "Remove the record to run its stage again.",
        )
    return record


def _write(folder: Path, label: str, record: Record, model: nn.Module | None) -> None:
    """Writes both files, or none."""
    files: dict[Path, bytes] = {}
    if model is not None:
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        files[folder / f"{label}.pt"] = _checkpoint(model, state)
    # The record is renamed last: where it is, all is.
    files[folder / f"{label}.json"] = json_text(as_fields(record)).encode()
    write_together(dict(files))


def _checkpoint(model: nn.Module, state: dict[str, torch.Tensor]) -> bytes:
    """A quantized model's has its recipe as well."""
    if any(True for _ in quantizers_of(model)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.pt"
            save_quantized(model, path, state=state)
            return read_input(path)
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state}, buffer)
    return buffer.getvalue()


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {old.get(name)} instead of {new.get(name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )
