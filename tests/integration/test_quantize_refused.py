"""``trtqat quantize`` refuses bad input in two sentences, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.quantize_command import quantize, run
from tests.support.uneven import Files, write_files
from trtqat.exporting.loading import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


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
    yield ("--data", f"npz:{folder / 'bytes.npz'}"), "on the data, uint8 (2, 3, 6, 6)", "floating"
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
