"""``trtqat quantize`` with a target: one out of reach, and a search that was ended."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import trtqat
from tests.support.quantize_command import quantize, target
from tests.support.uneven import Files, write_files
from trtqat.errors import GateError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


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


def test_a_search_of_another_forward_begins_anew(files: Files, tmp_path: Path) -> None:
    """Its weights and ranges are the same, and what was counted with the old one is not."""
    shutil.copy(files.folder / "val.npz", tmp_path)
    (tmp_path / "samples.py").write_text(FACTORY)
    wanted = ("--eval-data", f"{tmp_path / 'samples.py'}:Samples", "--max-accuracy-drop", 2)
    (tmp_path / "limit").write_text("505")
    assert quantize(files, tmp_path / "int8.pt", *wanted).exit_code == 2
    assert (tmp_path / "int8.pt.search.json").is_file()
    (tmp_path / "limit").unlink()
    text = (files.folder / "model.py").read_text()
    changed = text.replace("return self.fc(x.mean((2, 3)))", "return 2 * self.fc(x.mean((2, 3)))")
    assert changed != text
    (tmp_path / "changed.py").write_text(changed)
    other = replace(files, source=f"{tmp_path / 'changed.py'}:fp32")
    done = quantize(other, tmp_path / "int8.pt", *wanted)
    assert done.exit_code == 0, done.output
    assert "of a search with another model, data or options" in done.stderr


def test_another_search_begins_anew(files: Files, tmp_path: Path) -> None:
    state = tmp_path / "m.pt.search.json"
    state.write_text(json.dumps({"key": "of another", "parts": {"sensitivity": {"batch": 9}}}))
    done = quantize(files, tmp_path / "m.pt", "--images", 32, "--sensitivity")
    assert done.exit_code == 0, done.output
    assert "of a search with another model, data or options" in done.stderr
    assert "one layer quantized at a time" in done.stderr
    assert not state.exists()
