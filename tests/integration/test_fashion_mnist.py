"""The stages of ``scripts.fashion_mnist``: what each leaves, and what is not run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.fashion_mnist import train, training
from scripts.fashion_mnist.models import MODELS
from scripts.fashion_mnist.stages import Outcome, Stage, Work, read_record, run_stage
from scripts.fitting import predict
from tests.support.fashion_mnist import BATCH, TEST, TRAIN, arguments, shallow_vit, work, write_data
from trtqat.data.idx import read_split, scale
from trtqat.errors import UsageError

FLOAT = ("--stages", "fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


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
