"""How close an INT8 PyTorch model's outputs are to the FP32 model's, and what is said of it."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtqat
from tests.support.quantize_command import quantize, run, target
from tests.support.uneven import Files, write_files
from trtqat.numerics import difference
from trtqat.search.agreement import Agreements, compare_models, notes_on_outputs
from trtqat.search.samples import SpreadSamples, open_training
from trtqat.tensors import TensorSpec

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = TensorSpec("images", (-1, 3, 6, 6))
FAR_OFF = "answers may differ from the float model's."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


def samples(data: str, count: int, size: int, spec: TensorSpec = IMAGES) -> SpreadSamples:
    return SpreadSamples(open_training(data, [spec], 0), [spec.name], count, size, 0)


def test_the_command_tells_it_on_samples_that_no_range_was_chosen_on(
    files: Files, tmp_path: Path
) -> None:
    done = quantize(files, tmp_path / "m.pt", "--images", 32)
    assert done.exit_code == 0, done.output
    assert "the outputs against the float model's, on 8 samples held out" in done.stdout
    quantize(files, tmp_path / "m.pt", "--images", 32, "--json", tmp_path / "m.json")
    result = json.loads((tmp_path / "m.json").read_text())
    (output,) = result["outputs"]
    assert (output["name"], output["samples"], result["are_held_out"]) == ("output", 8, True)
    chosen = samples(files.data, 32, 32)
    assert not set(chosen.indices) & set(chosen.others().indices)
    (held,) = chosen.others()[0]
    exact = runpy.run_path(str(files.folder / "model.py"))["fp32"]().eval()
    rounded = trtqat.load_quantized(files.source, tmp_path / "m.pt").eval()
    with torch.no_grad():
        found = difference(exact(held).numpy(), rounded(held).numpy())
    assert output["sqnr_db"] == pytest.approx(found.sqnr_db, abs=0.01)
    assert output["worst"] == pytest.approx(found.worst, rel=1e-3)
    assert output["worst_db"] < output["sqnr_db"] < 20


def test_outputs_that_are_far_off_have_a_way_out(files: Files, tmp_path: Path) -> None:
    done = quantize(files, tmp_path / "m.pt", "--images", 32)
    assert "note: Output 'output' has an SQNR of " in done.stderr
    assert f"{FAR_OFF} See which layers cost most with --sensitivity" in done.stderr
    # Where the way out was taken, nothing is left to say.
    keep = [each for name in ("even", "hard", "harder", "fc") for each in ("--keep", name)]
    kept = quantize(files, tmp_path / "m.pt", *keep)
    assert kept.exit_code == 0, kept.output
    assert FAR_OFF not in kept.stderr
    counted = quantize(files, tmp_path / "m.pt", "--images", 32, *target(files, 100))
    assert counted.exit_code == 0, counted.output
    assert FAR_OFF not in counted.stderr
    assert FAR_OFF not in quantize(files, tmp_path / "m.pt", "--data", "random:64").stderr


def test_data_without_others_is_measured_on_as_it_is(files: Files, tmp_path: Path) -> None:
    """The ranges are chosen on all of it, as before."""
    done = quantize(files, tmp_path / "m.pt")
    assert "ranges by auto on 96 images" in done.stdout
    assert "the float model's, on 12 of the samples of the ranges" in done.stdout
    assert "on the very samples that ranges were chosen on, as the data has too few" in done.stderr


@pytest.mark.parametrize(
    ("count", "size", "expected", "are_others"),
    [(32, 32, 8, True), (1, 32, 8, True), (80, 4, 8, True), (80, 32, 10, True), (94, 8, 8, False)],
)
def test_samples_to_measure_on_make_whole_batches(
    files: Files, count: int, size: int, expected: int, *, are_others: bool
) -> None:
    """A model may take one size alone."""
    chosen = samples(files.data, count, size)
    held = chosen.others()
    assert len(set(held.indices)) == expected
    assert {len(batch[0]) for batch in held} == {min(size, count, expected)}
    assert bool(set(held.indices) & set(chosen.indices)) is not are_others


LOOKUP = """
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 3))
"""


def test_a_sample_that_was_not_chosen_does_not_cost_the_model(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LOOKUP)
    spec, data = TensorSpec("input", (-1, 3), "int64"), tmp_path / "train.npz"
    tokens = np.full((20, 3), 10)
    np.savez(data, input=tokens)
    tokens[samples(f"npz:{data}", 8, 4, spec).indices] = 1
    np.savez(data, input=tokens)
    given = (f"{tmp_path}/net.py:net", "--data", f"npz:{data}", "-o", tmp_path / "m.pt")
    done = run("quantize", *given, "--images", 8, "--batch-size", 4)
    assert done.exit_code == 0, done.output
    assert "Outputs on samples held out are not compared: IndexError: index out" in done.stderr
    assert (tmp_path / "m.pt").is_file()


def test_a_chosen_sample_that_the_model_does_not_take_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LOOKUP)
    tokens = np.full((20, 3), 1)
    tokens[9] = 10
    np.savez(tmp_path / "train.npz", input=tokens)
    given = (f"{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/train.npz")
    done = run("quantize", *given, "-o", tmp_path / "m.pt", "--batch-size", 4)
    assert done.exit_code == 2, done.output
    assert "raised IndexError on batch 3 of the calibration: index out of range" in done.stderr
    assert "Leave out samples" in done.stderr


def test_a_fixed_batch_gets_batches_of_its_size(files: Files, tmp_path: Path) -> None:
    model = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(108, 4)

    def forward(self, images):
        return self.layer(images.reshape(1, 108))


def net():
    torch.manual_seed(0)
    return Net()
"""
    (tmp_path / "net.py").write_text(model)
    given = (f"{tmp_path}/net.py:net", "--data", files.data, "--images", 1)
    done = run("quantize", *given, "-o", tmp_path / "m.pt")
    assert done.exit_code == 0, done.output
    assert "are not compared" not in done.stderr
    assert "on 8 samples held out" in done.stdout


def test_an_output_without_elements_is_as_it_was() -> None:
    found = Agreements()
    found.add({"boxes": np.zeros((0, 4), np.float32)}, {"boxes": np.zeros((0, 4), np.float32)})
    outputs = found.result(3)
    assert outputs[0].sqnr_db == math.inf
    assert notes_on_outputs(outputs, are_held_out=True, way_out="Mend it.") == []


class Counting(nn.Module):
    """Counts its calls in eval mode, too."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images


ORDERED = """
import torch


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores, self.boxes = torch.nn.Conv1d(4, 1, 1), torch.nn.Conv1d(4, 4, 1)

    def forward(self, x):
        scores, index = self.scores(x)[:, 0].topk(20)
        boxes = self.boxes(x).transpose(1, 2).gather(1, index[..., None].expand(-1, -1, 4))
        return {"boxes": boxes, "scores": scores}


def net():
    torch.manual_seed(0)
    return Detector()
"""


def test_what_is_ordered_by_scores_asks_for_a_metric(tmp_path: Path) -> None:
    """A detector as good as its float model may have 5 dB: two boxes that change places do that."""
    (tmp_path / "net.py").write_text(ORDERED)
    xs = np.random.default_rng(0).standard_normal((24, 4, 200), np.float32)
    np.savez(tmp_path / "train.npz", x=xs)
    given = (f"{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/train.npz")
    done = run("quantize", *given, "-o", tmp_path / "m.pt")
    assert done.exit_code == 0, done.output
    assert "Output 'boxes' has an SQNR of" in done.stderr
    assert "Forward orders by scores ('topk')" in done.stderr
    assert "--keep" not in done.stderr


SHUFFLED = """
import torch


class Shuffled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.register_buffer("order", torch.tensor([2.0, 0.0, 3.0, 1.0]))

    def forward(self, x):
        y = self.layer(x)[:, self.order.argsort()]
        return {"y": torch.sin(1e4 * y), "ids": x.long().sort(1)[0]}


def net():
    torch.manual_seed(0)
    return Shuffled()
"""


def test_what_is_no_score_is_not_taken_for_one(tmp_path: Path) -> None:
    """A shuffle that is always the same, and numbers that no rounding reaches."""
    (tmp_path / "net.py").write_text(SHUFFLED)
    np.savez(tmp_path / "train.npz", x=np.random.default_rng(0).standard_normal((24, 4), "f"))
    given = (f"{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/train.npz")
    done = run("quantize", *given, "-o", tmp_path / "m.pt")
    assert done.exit_code == 0, done.output
    assert "Output 'y' has an SQNR of" in done.stderr
    assert "orders by scores" not in done.stderr
    assert "--sensitivity" in done.stderr


def test_models_stay_as_they_were(files: Files) -> None:
    one, other = Counting(), Counting()
    told: list[tuple[str, int, int]] = []
    held = samples(files.data, 32, 16)
    (found,) = compare_models(one, other, held, lambda *each: told.append(each))
    assert found.sqnr_db == math.inf
    assert int(one.calls) == int(other.calls) == 0
    assert told == [("agreement", 16, 32), ("agreement", 32, 32)]


def test_a_search_leaves_no_trace_in_what_forward_counts(files: Files, tmp_path: Path) -> None:
    model = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        self.calls += 1
        return self.layer(images)


def net():
    torch.manual_seed(0)
    return Net()
"""
    (tmp_path / "net.py").write_text(model)
    given = (f"{tmp_path}/net.py:net", "--data", files.data, "--images", 8)
    for name, more in (("plain", ()), ("searched", ("--sensitivity",))):
        done = run("quantize", *given, "-o", tmp_path / f"{name}.pt", *more)
        assert done.exit_code == 0, done.output
    plain, searched = (
        trtqat.load_quantized(given[0], tmp_path / f"{name}.pt").state_dict()["calls"]
        for name in ("plain", "searched")
    )
    assert int(searched) == int(plain)


def test_what_is_no_real_number_has_no_note_of_its_distance() -> None:
    one = np.array([[1.0, 2.0]], np.float32)
    other = np.full((1, 2), np.nan, np.float32)
    compared = Agreements()
    compared.add(
        {"a": one, "class": np.array([0]), "boxes": one, "more": one, "wave": one + 0j},
        {"a": other, "class": np.array([7]), "boxes": one[:, :1]},
    )
    outputs = {each.name: each for each in compared.result(1)}
    assert list(outputs) == ["a", "class", "boxes", "more"]
    assert [each.has_other_shapes for each in outputs.values()] == [False, False, True, True]
    notes = notes_on_outputs(list(outputs.values()), are_held_out=True, way_out="Train it.")
    assert [each.partition("has ")[0] for each in notes] == [
        "Output 'boxes' ",
        "Output 'more' ",
        "Output 'a' ",
    ]
    assert notes[-1] == f"Output 'a' has values that are no numbers: {FAR_OFF} Train it."
