"""The stages of ``scripts.fashion_mnist`` that quantize, and how they are compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import trtqat
from scripts.fashion_mnist import engines, train
from scripts.fashion_mnist.comparing import Row, compare
from scripts.fashion_mnist.models import MODELS
from scripts.fashion_mnist.stages import Record, read_record
from tests.support.fashion_mnist import TEST, TRAIN, arguments, shallow_vit, work, write_data
from trtqat.data.idx import read_split
from trtqat.exporting.checkpoint import load_state
from trtqat.quant.recipe import recipe_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def shallow() -> Iterator[None]:
    with shallow_vit():
        yield


@pytest.fixture(scope="module")
def quantized(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages of the ViT that this host can run, with two seeds."""
    folder = tmp_path_factory.mktemp("quantized") / "new"
    command = [*arguments(data, folder), "--models", "vit", "--seeds", "0,1"]
    stages = "fp32,ptq-auto,ptq-target,control,qat,onnx-qat"
    with shallow_vit():
        assert train.main([*command, "--stages", stages]) == 0
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
