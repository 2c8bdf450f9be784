"""``trtqat quantize``: from an FP32 checkpoint to a graph and its evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import Result

import trtqat
from tests.support.quantize_command import quantize, run, target
from tests.support.uneven import Files, write_files
from trtqat.errors import SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


@pytest.fixture(scope="module")
def searched(files: Files) -> tuple[Result, dict[str, Any], Path]:
    output, found = files.folder / "int8.pt", files.folder / "found.json"
    done = quantize(files, output, *target(files, 2), "--sensitivity", "--json", found)
    assert done.exit_code == 0, done.output
    return done, json.loads(found.read_text()), output


def test_prints_what_was_done(searched: tuple[Result, dict[str, Any], Path]) -> None:
    done, found, output = searched
    lines = done.stdout
    assert f"{output}: Net with " in lines
    assert "of 5 layers in INT8" in lines
    assert "in floating point, for the accuracy target, " in lines
    assert "what the quantizers saw, the worst " in lines
    assert "the outputs with one layer quantized, the worst 5 of 5" in lines
    assert "the ladder to a drop of 2 points; FP32 has 100.00 % (200/200) right" in lines
    assert "| taken |" in lines
    kept = [each["name"] for each in found["layers"] if each["kept"]]
    assert f"2 are allowed: back in floating point: {', '.join(kept)}" in lines
    assert f"--checkpoint {output} --input images:1x3x6x6 -o {output.with_suffix('.onnx')}" in lines
    assert "one layer quantized at a time, and none: 6 runs over 64 images, 384 f" in done.stderr
    assert "counting right answers, at most: 7 runs over 200 images, 1,400 f" in done.stderr
    assert "'train.npz' has" not in done.stderr.replace(str(output.parent), "")
    assert found["images"] == 96
    assert "has 96 samples, fewer than the 512" in done.stderr


def test_the_json_has_all_of_it(searched: tuple[Result, dict[str, Any], Path]) -> None:
    _, found, _ = searched
    ladder = found["ladder"]
    taken = ladder["rungs"][ladder["best"]]
    kept = [each["name"] for each in found["layers"] if each["kept"]]
    assert taken["kept"] == kept != []
    assert taken["holds"]
    assert not ladder["rungs"][0]["holds"]
    assert found["int8_share"] == taken["int8_share"] < 1
    assert [each["layer"] for each in found["sensitivity"]][:2] == ["harder", "hard"]
    # A layer that was kept takes its quantizers with it.
    places = [place for each in found["ranges"] for place in each["places"]]
    assert places
    assert not [place for place in places if place.partition(".")[0] in kept]
    assert found["inputs"] == ["images:1x3x6x6:float32"]
    assert found["command"].startswith("trtqat")


def test_the_file_is_the_model_that_was_counted(
    files: Files, searched: tuple[Result, dict[str, Any], Path]
) -> None:
    _, found, output = searched
    loaded = torch.load(output, weights_only=True)
    assert set(loaded) == {"trtqat_recipe", "state_dict"}
    data = np.load(files.folder / "val.npz")
    images = torch.from_numpy(data["images"])
    fp32 = load_model(ModelSource(files.source, files.checkpoint))
    taken = found["ladder"]["rungs"][found["ladder"]["best"]]
    for model in (fp32, files.source):
        int8 = trtqat.load_quantized(model, output)
        with torch.no_grad():
            assert (int8(images).argmax(1).numpy() == data["labels"]).sum() == taken["right"]
    # A copy: the FP32 model is as it was.
    with torch.no_grad():
        assert (fp32(images).argmax(1).numpy() == data["labels"]).all()
    assert not files.folder.joinpath("int8.pt.search.json").exists()


def test_export_and_eval_take_the_fp32_factory_and_the_file(
    files: Files, searched: tuple[Result, dict[str, Any], Path]
) -> None:
    _, found, output = searched
    graph, report = files.folder / "int8.onnx", files.folder / "report.json"
    exported = run(
        *("export", files.source, "--checkpoint", output, "--input", "images:1x3x6x6"),
        *("-o", graph, "--exporter", "torchscript", "--strict"),
    )
    assert exported.exit_code == 0, exported.output
    pairs = [node for node in onnx.load(str(graph)).graph.node if node.op_type == "QuantizeLinear"]
    activations = sum(not each["is_weight"] for each in found["ranges"])
    assert len(pairs) == activations > 0
    evaluated = run(
        *("eval", graph, "--data", files.eval_data, "--duration", 0, "--json", report),
        *("--baseline", files.source, "--checkpoint", files.checkpoint),
        *("--fake-quantized", files.source, "--fake-quantized-checkpoint", output),
    )
    assert evaluated.exit_code == 0, evaluated.output
    taken = found["ladder"]["rungs"][found["ladder"]["best"]]
    measured = json.loads(report.read_text())
    by_role = {each["role"]: each["accuracy"]["top1"] for each in _measured(measured)}
    assert by_role["baseline"] == 200
    assert by_role["step"] == taken["right"]
    assert abs(by_role["subject"] - taken["right"]) <= 1


def _measured(report: object) -> Iterator[dict[str, Any]]:
    """Every contender, wherever it stands in the report."""
    if isinstance(report, dict):
        if isinstance(report.get("accuracy"), dict) and "role" in report:
            yield report
        for each in report.values():
            yield from _measured(each)
    elif isinstance(report, list):
        for each in report:
            yield from _measured(each)


def test_the_same_seed_gives_the_same_file(files: Files, tmp_path: Path) -> None:
    written = []
    for name, seed in (("a.pt", 3), ("b.pt", 3), ("c.pt", 4)):
        done = quantize(files, tmp_path / name, "--images", 40, "--seed", seed, "-q")
        assert done.exit_code == 0, done.output
        written.append(torch.load(tmp_path / name, weights_only=True)["state_dict"])
    first, same, other = written
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_options_reach_the_recipe(files: Files, tmp_path: Path) -> None:
    done = quantize(
        files,
        tmp_path / "m.pt",
        *("--method", "max", "--keep", "st*", "--keep", "fc", "--for", "rtx", "--images", 32, "-v"),
    )
    assert done.exit_code == 0, done.output
    recipe = torch.load(tmp_path / "m.pt", weights_only=True)["trtqat_recipe"]
    assert (recipe["keep"], recipe["for_"], recipe["images"]) == (["st*", "fc"], "rtx", 32)
    assert {each["method"] for each in recipe["quantizers"]} == {"max"}
    assert "as asked, 12 % of the MACs: stem, fc" in done.stdout
    assert "the worst 6 of 6" in done.stdout


def test_json_alone_on_standard_output(files: Files, tmp_path: Path) -> None:
    done = quantize(files, tmp_path / "m.pt", "--images", 32, "--json", "-")
    found = json.loads(done.stdout)
    assert (found["sensitivity"], found["ladder"]) == ([], None)


def test_what_is_quantized_already(
    files: Files, searched: tuple[Result, dict[str, Any], Path], tmp_path: Path
) -> None:
    output = searched[2]
    done = quantize(files, tmp_path / "m.pt", "--checkpoint", output, checkpoint=False)
    assert done.exit_code == 2
    assert f"Checkpoint '{output}' is quantized already." in done.stderr
    assert "Give the checkpoint of the FP32 model" in done.stderr


def test_load_quantized_wants_a_recipe_of_this_model(
    files: Files, searched: tuple[Result, dict[str, Any], Path]
) -> None:
    with pytest.raises(SourceError, match="has no recipe"):
        trtqat.load_quantized(files.source, files.checkpoint)
    with pytest.raises(SourceError, match="of another model"):
        trtqat.load_quantized(torch.nn.Linear(2, 2), searched[2])
    source = ModelSource(files.source, factory_args={"classes": 7})
    with pytest.raises(SourceError, match="does not fit the model"):
        trtqat.load_quantized(source, searched[2])
