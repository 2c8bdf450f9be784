"""``trtqat quantize``: from an FP32 checkpoint to a graph and its evaluation, and bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner, Result

import trtqat
from tests.support.uneven import Files, write_files
from trtqat.cli.app import app
from trtqat.errors import GateError, SourceError
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def quantize(files: Files, output: Path, *arguments: object, checkpoint: bool = True) -> Result:
    weights = ["--checkpoint", files.checkpoint] if checkpoint else []
    data = [] if "--data" in arguments else ["--data", files.data]
    return run("quantize", files.source, *weights, *data, "-o", output, *arguments)


def target(files: Files, points: float) -> tuple[object, ...]:
    return ("--eval-data", files.eval_data, "--max-accuracy-drop", points)


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


def test_a_target_out_of_reach_asks_for_training(files: Files, tmp_path: Path) -> None:
    keep = [each for name in ("stem", "even", "fc", "harder") for each in ("--keep", name)]
    done = quantize(files, tmp_path / "m.pt", *keep, *target(files, 0))
    assert done.exit_code == 3
    assert "error: The accuracy drops by " in done.stderr
    assert "trtqat.fine_tune(model, batches, epochs=10, teacher=fp32)" in done.stderr
    assert "| no |" in done.stdout.replace("    no |", "| no |")
    # All layers in INT8, to train from.
    trained = trtqat.load_quantized(files.source, tmp_path / "m.pt")
    assert trained.get_submodule("hard.int8")
    assert [each.name for each in tmp_path.iterdir()] == ["m.pt"]


def test_python_returns_what_the_command_prints(files: Files, tmp_path: Path) -> None:
    result = trtqat.quantize_source(
        files.source,
        tmp_path / "m.pt",
        checkpoint=files.checkpoint,
        data=files.data,
        eval_data=files.eval_data,
        max_accuracy_drop=0,
        keep=["stem", "even", "fc", "harder"],
    )
    assert result.ladder is not None
    assert result.ladder.chosen is None
    with pytest.raises(GateError):
        result.check_target()


FACTORY = """
import numpy as np
from pathlib import Path

HERE = Path(__file__).parent


class Samples:
    def __init__(self):
        found = np.load(HERE / "val.npz")
        self.images, self.labels = found["images"], found["labels"]
        self.given = 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        limit = HERE / "limit"
        self.given += 1
        if limit.exists() and self.given > int(limit.read_text()):
            raise RuntimeError("the disk is gone")
        return {"images": self.images[index]}, int(self.labels[index])
"""


def test_goes_on_where_it_was_ended(files: Files, tmp_path: Path) -> None:
    for name in ("model.py", "fp32.pt", "train.npz", "val.npz"):
        shutil.copy(files.folder / name, tmp_path / name)
    (tmp_path / "samples.py").write_text(FACTORY)
    samples = f"{tmp_path / 'samples.py'}:Samples"
    arguments = ("--eval-data", samples, "--max-accuracy-drop", 2, "--sensitivity", "--json")
    whole = quantize(files, tmp_path / "whole.pt", *arguments, tmp_path / "whole.json")
    assert whole.exit_code == 0, whole.output
    # Two counts and a half: FP32, and the first rung.
    (tmp_path / "limit").write_text("505")
    ended = quantize(files, tmp_path / "int8.pt", *arguments, tmp_path / "int8.json")
    assert ended.exit_code == 2
    assert "the disk is gone" in ended.stderr
    assert "int8.pt.search.json' has what was done; the same search again" in ended.stderr
    assert not (tmp_path / "int8.pt").exists()
    state = tmp_path / "int8.pt.search.json"
    assert state.is_file()
    (tmp_path / "limit").unlink()
    resumed = quantize(files, tmp_path / "int8.pt", *arguments, tmp_path / "int8.json")
    assert resumed.exit_code == 0, resumed.output
    assert f"The search goes on from '{state}'." in resumed.stderr
    assert "one layer quantized at a time" not in resumed.stderr
    assert not state.exists()
    one, other = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("whole", "int8"))
    for key in ("ladder", "sensitivity", "ranges", "layers"):
        assert one[key] == other[key], key


def test_another_search_begins_anew(files: Files, tmp_path: Path) -> None:
    state = tmp_path / "m.pt.search.json"
    state.write_text(json.dumps({"key": "of another", "parts": {"sensitivity": {"batch": 9}}}))
    done = quantize(files, tmp_path / "m.pt", "--images", 32, "--sensitivity")
    assert done.exit_code == 0, done.output
    assert "of a search with another model, data or options" in done.stderr
    assert "one layer quantized at a time" in done.stderr
    assert not state.exists()


def bad(files: Files) -> Iterator[tuple[tuple[object, ...], str, str]]:
    """Arguments, and what the two sentences say."""
    folder = files.folder
    images = np.load(folder / "train.npz")["images"]
    np.savez(folder / "other.npz", pictures=images)
    np.savez(folder / "one.npz", images=np.float32(1))
    np.savez(folder / "bare.npz", images=images)
    np.savez(folder / "bytes.npz", images=images.astype(np.uint8))
    np.savez(folder / "small.npz", images=images[:, :2])
    broken = images.copy()
    broken[3, 0, 0, 0] = np.nan
    np.savez(folder / "nan.npz", images=broken)
    drop = ("--max-accuracy-drop", 1)
    yield ("--data", f"npz:{folder / 'other.npz'}"), "no array for input 'images'", "Name its arr"
    yield ("--data", f"npz:{folder / 'one.npz'}"), "is a single number", "an array of samples"
    yield ("--data", f"npz:{folder / 'none.npz'}"), "cannot be read", "Check the path"
    yield ("--data", "pictures:x"), "names no kind of data", "npz:FILE"
    yield ("--data", "random:64"), "shape of the model's input is not known", "--input images:"
    yield ("--data", f"npz:{folder / 'bytes.npz'}"), "on the data, int64 (2, 3, 6, 6)", "floating"
    yield ("--data", f"npz:{folder / 'small.npz'}"), "float32 (2, 2, 6, 6)", "Give data as"
    yield ("--data", f"npz:{folder / 'nan.npz'}"), "holds nan in sample 3", "mend it"
    yield ("--input", "pixels:1x3x6x6"), "no input 'pixels'", "--input images:"
    yield ("--input", "images:1x3x7x7"), "samples of shape (3, 6, 6)", "trained for"
    bare = f"npz:{folder / 'bare.npz'}"
    yield (*drop, "--eval-data", bare), "has no labels", "an array 'labels'"
    yield drop, "needs labelled data", "Give --eval-data"
    yield ("--eval-data", files.eval_data), "belongs to an accuracy target", "--max-accuracy-drop"
    yield (*drop, "--eval-data", files.data), "training data that ranges are chosen on", "not seen"
    yield ("--keep", "conv*"), "'conv*' matches no layer", "stem, even, hard, harder, mean, fc"
    yield ("--keep", "*"), "no layer that would be quantized", "fewer of them"
    yield ("--json", folder / "fp32.pt"), "would overwrite an input", "Choose another name"


BAD = 17


@pytest.mark.parametrize("number", range(BAD))
def test_bad_input_is_two_sentences(files: Files, number: int, tmp_path: Path) -> None:
    cases = list(bad(files))
    assert len(cases) == BAD
    arguments, problem, remedy = cases[number]
    done = quantize(files, tmp_path / "m.pt", *arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    _, said = done.stderr.split("error: ")
    first, second = said.rstrip().split("\n       ")
    assert problem in first
    assert remedy in second
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_source_that_no_quantizers_can_be_put_into(files: Files, tmp_path: Path) -> None:
    model = files.folder / "model.py"
    traced = files.folder / "traced.pt"
    torch.jit.save(torch.jit.script(load_model(files.source)), str(traced))
    for source, said in (
        ("model.onnx", "is an ONNX graph"),
        (traced, "is no factory of a PyTorch model"),
        (model, "is no factory of a PyTorch model"),
        (f"{model}:scripted", "returned a TorchScript module"),
        (f"{model}:broken", "The model raised RuntimeError on the data"),
    ):
        done = run("quantize", source, "--data", files.data, "-o", tmp_path / "m.pt")
        assert done.exit_code == 2, done.output
        assert said in done.stderr
    assert not list(tmp_path.iterdir())


ODD = """
import torch
from torch import nn


class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(torch.sqrt(self.first(x)))


class Sometimes(Nan):
    def forward(self, x):
        y = self.first(x)
        # The samples that are recorded are two, and those that are observed more.
        return self.second(y) if len(x) == 2 else y


class Helped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.recurs = nn.Linear(4, 8), nn.GRU(8, 8)
        self.aux, self.last = nn.Sequential(nn.Linear(8, 3)), nn.Linear(8, 3)

    def forward(self, x):
        x = self.recurs(self.first(x)[None])[0][0]
        return self.aux(x) if self.training else self.last(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.mix = nn.Linear(8, 3)

    def forward(self, x, tokens, scale=None):
        return self.mix(torch.cat([x, self.embedding(tokens).mean(1)], 1)), x.argmax(1)
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(ODD)
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 4)).astype(np.float32)
    tokens = random.integers(0, 7, (40, 5)).astype(np.int32)
    np.savez(folder / "x.npz", x=x, labels=random.integers(0, 3, 40))
    np.savez(folder / "both.npz", x=x, tokens=tokens, labels=random.integers(0, 3, 40))
    np.savez(folder / "beyond.npz", x=x[:9], tokens=tokens[:9], labels=np.arange(9))
    return folder


def odd_model(odd: Path, name: str, data: str, output: Path, *arguments: object) -> Result:
    source = f"{odd / 'odd.py'}:{name}"
    return run("quantize", source, "--data", f"npz:{odd / data}.npz", "-o", output, *arguments)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("Nan", "x", "'second.int8.input' saw 88 values that are not finite"),
        ("Sometimes", "x", "'second.int8.input' saw no data"),
        ("Pair", "x", "no array for input 'tokens'"),
    ],
)
def test_a_model_that_cannot_be_calibrated(
    odd: Path, tmp_path: Path, name: str, data: str, said: str
) -> None:
    done = odd_model(odd, name, data, tmp_path / "m.pt")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_layers_without_a_quantizer_are_listed(odd: Path, tmp_path: Path) -> None:
    listing = tmp_path / "found.json"
    done = odd_model(odd, "Helped", "x", tmp_path / "m.pt", "--keep", "aux", "--json", listing)
    assert done.exit_code == 0, done.output
    assert "2 of 4 layers in INT8, 13 % of the MACs;" in done.stdout
    assert "TensorRT has no INT8 for what recurs, 87 % of the MACs: recurs\n" in done.stdout
    assert "in floating point, it did not run on the first samples: aux.0\n" in done.stdout
    layers = {each["name"]: each for each in json.loads(listing.read_text())["layers"]}
    assert list(layers) == ["first", "recurs", "last", "aux.0"]
    assert layers["recurs"]["macs"] == 2 * 24 * 8
    assert (layers["aux.0"]["macs"], layers["aux.0"]["call"]) == (0, None)


def test_a_model_with_two_inputs_and_two_outputs(odd: Path, tmp_path: Path) -> None:
    arguments = ("--sensitivity", "--eval-data", f"npz:{odd / 'beyond.npz'}", "--json", "-")
    refused = odd_model(odd, "Pair", "both", tmp_path / "m.pt", *arguments)
    assert "belongs to an accuracy target" in refused.stderr
    beyond = odd_model(
        odd, "Pair", "both", tmp_path / "m.pt", *arguments, "--max-accuracy-drop", 100
    )
    assert beyond.exit_code == 2
    assert "has the label 3, but 'Pair' has 3 classes" in beyond.stderr
    done = odd_model(odd, "Pair", "both", tmp_path / "m.pt", "--sensitivity", "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["inputs"] == ["x:1x4:float32", "tokens:1x5:int64"]
    assert [each["output"] for each in found["sensitivity"]] == ["output_0"]


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


def test_an_output_that_would_be_taken_for_something_else(files: Files) -> None:
    before = Path(files.checkpoint).read_bytes()
    graph = quantize(files, files.folder / "graph.onnx")
    assert graph.exit_code == 2
    assert "is named like an ONNX graph" in graph.stderr
    assert "as int8.pt" in graph.stderr
    assert not (files.folder / "graph.onnx").exists()
    for output in (files.checkpoint, files.folder / "train.npz", files.folder / "model.py"):
        done = quantize(files, Path(output))
        assert done.exit_code == 2
        assert "would overwrite an input" in done.stderr
    assert Path(files.checkpoint).read_bytes() == before
