from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trtqat.data.cifar10 import normalize, read_split
from trtqat.quant.toolkits.pytorch_quantization import is_quantizer
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint
from trtqat.quant.toolkits.silence import quiet_toolkit

ROOT = Path(__file__).parents[2]

# Not multiples of the batch size, nor of each other.
TRAIN, TEST, BATCH = 157, 75, 32


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the script returns, by its own ``main`` in this process."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = load(script).main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_alone(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"scripts.vgg16_cifar10.{script}", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def load(name: str) -> ModuleType:
    return importlib.import_module(f"scripts.vgg16_cifar10.{name}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "digits"
    done = run("prepare_data", str(directory), "--train", str(TRAIN), "--test", str(TEST))
    assert done.returncode == 0, done.stderr
    assert f"{TRAIN} training and {TEST} test images" in done.stdout
    return directory


@pytest.fixture(scope="module")
def fitting() -> ModuleType:
    return importlib.import_module("scripts.fitting")


@pytest.fixture(scope="module")
def trained(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    output = tmp_path_factory.mktemp("trained") / "new"
    done = run_alone(
        *("train", "--data", str(data), "--output", str(output), "--device", "cpu"),
        *("--width", "0.125", "--classifier", "32", "--batch-size", str(BATCH)),
        *("--epochs", "1", "--qat-epochs", "1"),
    )
    assert done.returncode == 0, done.stderr
    return output, done


def checkpoint(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def quantized_model(output: Path) -> torch.nn.Module:
    saved = checkpoint(output / "qat.pt")
    model: torch.nn.Module = load("vgg16").qat(saved["width"], saved["classifier"])
    fit_to_checkpoint(model, saved["model_state_dict"])
    with quiet_toolkit():
        model.load_state_dict(saved["model_state_dict"])
    return model.eval()


class TestData:
    def test_counts_and_classes(self, data: Path) -> None:
        sizes = {file.name: file.stat().st_size for file in data.glob("*.bin")}
        assert sizes.pop("test_batch.bin") == TEST * 3073
        assert sorted(sizes) == [f"data_batch_{number}.bin" for number in range(1, 6)]
        assert sum(sizes.values()) == TRAIN * 3073
        _, labels = read_split(data, "train")
        assert set(labels.tolist()) == set(range(10))

    def test_no_test_digit_is_seen_in_training(self, data: Path) -> None:
        source = json.loads((data / "source.json").read_text())
        train, test = set(source["train_digits"]), set(source["test_digits"])
        assert not train & test
        assert train | test == set(range(1797))
        assert "not CIFAR-10" in source["data"]

    def test_each_split_is_drawn_from_its_own_digits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Without augmentation an image shows which digit it was made from.
        def enlarge(digits: NDArray[np.float64], _: np.random.Generator) -> NDArray[np.uint8]:
            tiled = np.tile(digits * 16, (1, 4, 4)).astype(np.uint8)
            return np.stack([tiled] * 3, axis=1)

        module = load("prepare_data")
        monkeypatch.setattr(module, "render", enlarge)
        module.prepare(tmp_path, 2000, 1000, seed=3)
        train, test = (
            {image.tobytes() for image in read_split(tmp_path, split)[0]}
            for split in ("train", "test")
        )
        assert len(train) > 1300
        assert len(test) > 440
        assert not train & test

    def test_images_are_augmented(self, data: Path) -> None:
        images, _ = read_split(data, "train")
        channels = images.astype(float).mean(axis=(0, 2, 3))
        assert len({image.tobytes() for image in images}) == TRAIN
        assert (np.abs(images[:, 0].astype(int) - images[:, 1]).mean(axis=(1, 2)) > 1).all()
        assert ((channels > 40) & (channels < 215)).all()

    def test_the_seed_decides(self, data: Path, tmp_path: Path) -> None:
        arguments = ("--train", str(TRAIN), "--test", str(TEST))
        for seed, same in (("0", True), ("1", False)):
            assert run("prepare_data", str(tmp_path), *arguments, "--seed", seed).returncode == 0
            written = (tmp_path / "test_batch.bin").read_bytes()
            assert (written == (data / "test_batch.bin").read_bytes()) is same


class TestTraining:
    def test_files(self, trained: tuple[Path, object]) -> None:
        assert sorted(file.name for file in trained[0].iterdir()) == [
            "fp32.pt",
            "fp32_control.pt",
            "qat.pt",
            "training.json",
            "vgg16_qat.jit.pt",
        ]

    def test_record_has_exact_counts(self, trained: tuple[Path, object]) -> None:
        record = json.loads((trained[0] / "training.json").read_text())
        assert (record["train_images"], record["test_images"]) == (TRAIN, TEST)
        stages = record["stages"]
        assert list(stages) == ["FP32", "FP32 control", "PTQ", "QAT"]
        for stage in stages.values():
            assert stage["count"] == TEST
            assert isinstance(stage["correct"], int)
            assert 0 <= stage["correct"] <= TEST
        for title in ("FP32", "FP32 control", "QAT"):
            assert stages[title]["weight_change"] > 1e-4
            assert stages[title]["seconds"] > 0
        assert stages["QAT"]["epochs"] == stages["FP32 control"]["epochs"] == 1
        assert stages["QAT"]["lr"] == stages["FP32 control"]["lr"]

    def test_checkpoints_say_what_they_reached(
        self, trained: tuple[Path, object], data: Path
    ) -> None:
        output = trained[0]
        record = json.loads((output / "training.json").read_text())["stages"]
        for file, title in (("fp32", "FP32"), ("fp32_control", "FP32 control"), ("qat", "QAT")):
            saved = checkpoint(output / f"{file}.pt")
            assert (saved["width"], saved["classifier"]) == (0.125, 32)
            expected = {"correct": record[title]["correct"], "count": TEST}
            assert saved["accuracy"] == expected
        images, labels = read_split(data, "test")
        with torch.inference_mode():
            answers = quantized_model(output)(torch.from_numpy(normalize(images))).argmax(1)
        correct = int((answers.numpy() == labels).sum())
        # One batch here, three there: a value on the edge of a code may fall to the other side.
        assert abs(correct - record["QAT"]["correct"]) <= 1

    def test_control_and_qat_went_on_from_the_float_model(
        self, trained: tuple[Path, object]
    ) -> None:
        name = "classifier.0.weight"
        weights = {
            file: checkpoint(trained[0] / f"{file}.pt")["model_state_dict"][name]
            for file in ("fp32", "fp32_control", "qat")
        }
        distance = float((weights["qat"] - weights["fp32"]).norm() / weights["fp32"].norm())
        assert 0 < distance < 0.2
        assert not torch.equal(weights["qat"], weights["fp32_control"])

    def test_qat_has_33_calibrated_quantizers(self, trained: tuple[Path, object]) -> None:
        model = quantized_model(trained[0])
        assert sum(is_quantizer(module) for module in model.modules()) == 33
        quantizers = read_quantizers(model)
        assert len(quantizers) == 33
        for name, quantizer in quantizers.items():
            assert quantizer is not None
            assert (quantizer.axis is not None) == name.endswith("_weight_quantizer")
            assert (quantizer.low, quantizer.high) == (-128.0, 127.0)

    def test_traced_file(self, trained: tuple[Path, object], data: Path) -> None:
        with quiet_toolkit(), pytest.warns(DeprecationWarning, match=r"torch\.jit\.load"):
            traced = torch.jit.load(str(trained[0] / "vgg16_qat.jit.pt"))  # type: ignore[no-untyped-call]
        kinds = [node.kind() for node in traced.inlined_graph.nodes()]
        assert kinds.count("aten::fake_quantize_per_tensor_affine") == 17
        assert kinds.count("aten::fake_quantize_per_channel_affine") == 16
        images = torch.from_numpy(normalize(read_split(data, "test")[0]))
        with torch.inference_mode():
            expected = quantized_model(trained[0])(images)
            # Another batch size than the traced one; dropout must be off.
            torch.testing.assert_close(traced(images), expected, rtol=0.05, atol=0.02)
            torch.testing.assert_close(traced(images), traced(images), rtol=0, atol=0)

    def test_results_on_stdout_progress_on_stderr(
        self, trained: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        done = trained[1]
        rows = done.stdout.splitlines()
        assert [row.split()[0] for row in rows] == ["stage", "FP32", "FP32", "PTQ", "QAT"]
        assert all(f" {TEST} " in row for row in rows[1:])
        assert "QAT: epoch 1 of 1" in done.stderr
        # Neither the toolkit's log nor a warning.
        assert all(line.startswith(("FP32", "QAT")) for line in done.stderr.splitlines())


class TestErrors:
    def test_missing_data(self, tmp_path: Path) -> None:
        done = run("train", "--data", str(tmp_path / "no"), "--output", str(tmp_path / "out"))
        assert done.returncode == 2
        assert "no' does not exist" in done.stderr
        assert "Traceback" not in done.stderr


class TestFitting:
    def test_normalizes_like_the_evaluation(self, data: Path) -> None:
        images = read_split(data, "test")[0]
        ours = load("train").normalize(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(ours, normalize(images), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("flip", [False, True])
    def test_augmentation_crops_and_mirrors(self, fitting: ModuleType, flip: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(1, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
        crops = {
            padded[:, top : top + 32, left : left + 32].numpy().tobytes(): False
            for top in range(9)
            for left in range(9)
        }
        crops |= {
            padded.flip(2)[:, top : top + 32, left : left + 32].numpy().tobytes(): True
            for top in range(9)
            for left in range(9)
        }
        out = fitting.augment(image.repeat(200, 1, 1, 1), generator, flip=flip)
        mirrored = [crops[each.numpy().tobytes()] for each in out]
        assert any(mirrored) is flip
        assert not all(mirrored)
        assert len({each.numpy().tobytes() for each in out}) > 50

    def test_schedule(self, fitting: ModuleType) -> None:
        rates = [fitting.scheduled_lr(0.1, step, 1000) for step in range(1000)]
        peak = int(np.argmax(rates))
        assert 90 <= peak <= 110
        assert 0.09 < rates[peak] <= 0.1
        assert rates[0] < 0.002
        assert rates[-1] < 1e-6
        assert rates[500] == pytest.approx(0.05)
        assert fitting.scheduled_lr(0.1, 0, 1) > 0

    def test_every_image_is_counted_once(self, fitting: ModuleType) -> None:
        class First(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x[:, 0, 0, :10]

        pixels = torch.zeros(75, 3, 32, 32, dtype=torch.uint8)
        labels = torch.arange(75) % 10
        pixels[torch.arange(75), 0, 0, labels] = 255
        labels[[3, 74]] = (labels[[3, 74]] + 1) % 10
        images = fitting.Images(pixels, labels)
        assert fitting.count_correct(First(), images, 32) == fitting.Accuracy(73, 75)

    def test_a_weight_that_does_not_move_is_an_error(self, fitting: ModuleType) -> None:
        class Detached(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = torch.nn.Linear(3072, 10)
                self.linear.weight.requires_grad_(False)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                y: torch.Tensor = self.linear(x.flatten(1))
                return y

        images = fitting.Images(
            torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
        )
        recipe = fitting.Recipe(1, 0.1, 2, flip=False, seed=0)
        with pytest.raises(RuntimeError, match=r"'linear\.weight' did not move"):
            fitting.fit(Detached(), images, recipe, title="test")


def test_full_size() -> None:
    with torch.device("meta"):
        model = load("vgg16").vgg16()
    assert sum(parameter.numel() for parameter in model.parameters()) == 33_646_666
