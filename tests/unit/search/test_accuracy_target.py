"""The ladder to an accuracy target: exact counts, few of them, and most MACs in INT8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import trtqat
from tests.support.uneven import Files, write_files
from trtqat.data.batches import Batch as DataBatch
from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError, GateError
from trtqat.evaluation.intervals import Interval, paired_interval, paired_p_value
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource
from trtqat.quant.quantize import Quantized, keeping
from trtqat.search import counting
from trtqat.search.accuracy_target import Ladder, Rung, by_noise_per_mac, find_within_target
from trtqat.search.counting import LabelledSamples
from trtqat.search.running import Batch, Cost
from trtqat.search.saved_search import SavedSearch
from trtqat.search.sensitivity import LayerSensitivity, measure_sensitivity
from trtqat.tensors import TensorSpec

SPEC = TensorSpec("images", (-1, 3, 6, 6))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uneven"))


@pytest.fixture(scope="module")
def batches(files: Files) -> list[Batch]:
    images = np.load(files.folder / "train.npz")["images"]
    return [(torch.from_numpy(images[start : start + 32]),) for start in (0, 32)]


@pytest.fixture(scope="module")
def quantized(files: Files, batches: list[Batch]) -> Quantized:
    return trtqat.quantize(load_model(ModelSource(files.source, files.checkpoint)), batches)


@pytest.fixture(scope="module")
def ranking(quantized: Quantized, batches: list[Batch]) -> tuple[LayerSensitivity, ...]:
    return measure_sensitivity(quantized, batches)


def labelled(files: Files) -> LabelledSamples:
    return LabelledSamples(open_dataset(files.eval_data, [SPEC]), ["images"], 64)


def find(
    files: Files,
    quantized: Quantized,
    ranking: tuple[LayerSensitivity, ...],
    points: float,
    **options: object,
) -> tuple[Quantized | None, Ladder]:
    return find_within_target(
        quantized,
        labelled(files),
        points,
        lambda: ranking,
        **options,  # type: ignore[arg-type]
    )


def test_counts_are_exact(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    found, ladder = find(files, quantized, ranking, 2.0)
    data = np.load(files.folder / "val.npz")
    images, labels = torch.from_numpy(data["images"]), data["labels"]
    # The labels are what FP32 says.
    assert (ladder.fp32_right, ladder.count) == (200, 200)
    assert ladder.rungs[0].kept == ()
    for rung in ladder.rungs:
        again = keeping(quantized, rung.kept) if rung.kept else quantized
        with torch.no_grad():
            right = again.model(images).argmax(1).numpy() == labels
        assert rung.right is not None
        assert rung.lost is not None
        assert rung.right == right.sum()
        assert (rung.lost, rung.gained) == (200 - rung.right, 0)
        assert rung.drop_points == (200 - rung.right) / 2
        assert rung.holds == (rung.drop_points <= 2.0)
        assert rung.p_value == paired_p_value(rung.lost, 0)
        assert rung.interval_points.low < rung.drop_points < rung.interval_points.high
        assert rung.int8_share == again.int8_share
    assert found is not None
    assert ladder.chosen is not None
    assert not ladder.rungs[0].holds
    with torch.no_grad():
        right = found.model(images).argmax(1).numpy() == labels
    assert ladder.chosen.right is not None
    assert right.sum() == ladder.chosen.right >= 196
    assert [each.name for each in found.layers if each.kept] == list(ladder.chosen.kept)


def test_takes_the_rung_with_most_macs_in_int8(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    _, ladder = find(files, quantized, ranking, 2.0)
    assert ladder.chosen is not None
    assert ladder.chosen.int8_share == max(r.int8_share for r in ladder.rungs if r.holds)
    # No layer of those that are kept can be given back.
    for name in ladder.chosen.kept:
        fewer = [each for each in ladder.chosen.kept if each != name]
        with torch.no_grad():
            predicted = labelled(files).predictions(keeping(quantized, fewer).model)
        right = (np.load(files.folder / "val.npz")["labels"] == np.array(predicted)).sum()
        assert right < 196, name


def test_counts_no_more_than_there_are_layers(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    for points in (0.5, 1.0, 2.0, 10.0, 45.0, 70.0):
        costs: list[Cost] = []
        _, ladder = find(files, quantized, ranking, points, announce=costs.append)
        # All in INT8, and as many as layers.
        assert len(ladder.rungs) <= 1 + len(quantized.layers)
        assert len({rung.kept for rung in ladder.rungs}) == len(ladder.rungs)
        (cost,) = costs
        assert (cost.task, cost.runs, cost.images) == ("accuracy", 2 + len(quantized.layers), 200)


def test_a_target_that_int8_holds_needs_no_ranking(files: Files, quantized: Quantized) -> None:
    def never() -> tuple[LayerSensitivity, ...]:
        raise AssertionError

    found, ladder = find_within_target(quantized, labelled(files), 79.0, never)
    assert found is quantized
    (rung,) = ladder.rungs
    assert (rung.kept, rung.int8_share, ladder.best) == ((), 1.0, 0)


def test_a_target_out_of_reach(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    only_hard = keeping(quantized, ["stem", "even"])
    some = tuple(each for each in ranking if each.layer in ("hard", "harder", "fc"))
    found, ladder = find(files, only_hard, some, 0.0)
    assert found is None
    assert (ladder.best, ladder.chosen) == (None, None)
    # All but one of the layers were tried.
    assert max(len(rung.kept) for rung in ladder.rungs) == 2
    with pytest.raises(GateError, match=r"drops by .* points at least, .* 0 are allowed") as raised:
        ladder.check_reached("Train it.")
    assert (raised.value.exit_code, raised.value.remedy) == (3, "Train it.")


@pytest.mark.parametrize(
    ("metric", "unit", "drop", "words"),
    [
        (None, "%", 0.5, "drops by 0.50 points"),
        (None, "%", 1.004, "drops by 1.004 points"),
        (None, "%", 1.0, "drops by 1.00 points"),
        (None, "%", 0.996, "drops by 0.996 points"),
        ("mse", "", 1.00004, "gets worse by 1.00004"),
        (None, "%", 0.002, "drops by 0.002 points"),
        (None, "%", 0.0, "drops by 0.00 points"),
        (None, "%", -1.4, "rises by 1.40 points"),
        (None, "%", -0.002, "rises by 0.002 points"),
        ("miou", "%", -0.25, "gets better by 0.25 points"),
        ("mse", "", 0.0123, "gets worse by 0.0123"),
        ("psnr", "dB", -2.0, "gets better by 2 dB"),
    ],
)
def test_a_gain_is_no_drop(metric: str | None, unit: str, drop: float, words: str) -> None:
    ladder = Ladder(1.0, None, 100, (), None, metric, unit)
    assert ladder.drop_in_words(drop) == words


@pytest.mark.parametrize(
    ("drops", "words"),
    [
        ((math.nan, 2.0), "The mse gets worse by 2 at least, with 50.0% of"),
        ((math.nan, math.nan), "The mse is no number, however many MACs are in INT8."),
    ],
)
def test_what_is_no_number_is_not_the_least_drop(drops: Sequence[float], words: str) -> None:
    rungs = tuple(
        Rung((), 0.5, None, 10, None, None, each, Interval(each, each), None, False, each)
        for each in drops
    )
    with pytest.raises(GateError) as raised:
        Ladder(1.0, None, 10, rungs, None, "mse", "").check_reached("Train it.")
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize("after", [1, 6, 9, 14])
def test_goes_on_where_it_was_interrupted(
    files: Files,
    quantized: Quantized,
    ranking: tuple[LayerSensitivity, ...],
    tmp_path: Path,
    after: int,
) -> None:
    _, whole = find(files, quantized, ranking, 2.0)
    path = tmp_path / "state.json"
    steps: list[int] = []

    def interrupt(_: str, done: int, __: int) -> None:
        steps.append(done)
        if len(steps) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(files, quantized, ranking, 2.0, progress=interrupt, saved=SavedSearch(path, "this"))
    again: list[int] = []
    _, resumed = find(
        files,
        quantized,
        ranking,
        2.0,
        progress=lambda _, done, __: again.append(done),
        saved=SavedSearch(path, "this"),
    )
    assert resumed == whole
    # What was counted in whole is not counted again: four batches a run, FP32's among them.
    assert len(again) == 4 * (1 + len(whole.rungs)) - after // 4 * 4
    assert (again[0], again[-1]) == (after // 4 * 200 + 64, 200 * (1 + len(whole.rungs)))


def test_what_reading_takes_is_announced(
    files: Files,
    quantized: Quantized,
    ranking: tuple[LayerSensitivity, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(counting, "time", clock)
    samples = labelled(files)
    read = samples._dataset.batch

    def slowly(start: int, stop: int) -> DataBatch:
        clock.now += 0.5 * (stop - start)
        return read(start, stop)

    monkeypatch.setattr(samples._dataset, "batch", slowly)
    costs: list[Cost] = []
    find_within_target(quantized, samples, 100.0, lambda: ranking, announce=costs.append)
    assert [cost.seconds for cost in costs] == [0.5 * costs[0].forwards]


def test_noise_is_weighed_by_the_macs_that_it_costs() -> None:
    layers = [
        LayerSensitivity("large", 1000.0, 0.9, 10.0, "y"),
        LayerSensitivity("small", 10.0, 0.05, 20.0, "y"),
        LayerSensitivity("silent", 1.0, 0.01, float("inf"), "y"),
        LayerSensitivity("broken", 50.0, 0.04, float("nan"), "y"),
    ]
    ordered = [each.layer for each in by_noise_per_mac(layers)]
    assert ordered == ["broken", "small", "large", "silent"]


def test_data_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((2, 3, 6, 6), np.float32))
    with pytest.raises(DataError, match="has no labels"):
        LabelledSamples(open_dataset(f"npz:{tmp_path / 'bare.npz'}", [SPEC]), ["images"], 8)


def test_the_paired_interval_holds_the_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    lost, gained, count = 0.04, 0.01, 500
    drawn = random.multinomial(count, [lost, gained, 1 - lost - gained], 4000)
    found = [paired_interval(int(b), int(c), count) for b, c, _ in drawn]
    held = np.mean([each.low <= lost - gained <= each.high for each in found])
    assert 0.94 < held < 0.975
    nothing = paired_interval(0, 0, 100)
    assert nothing.low == -nothing.high
    assert 0 < nothing.high < 0.03


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(images))
        y: torch.Tensor = self.last(torch.relu(self.conv(x) + x))
        return y.mean((2, 3))


def test_a_layer_that_is_kept_moves_no_quantizer(batches: list[Batch]) -> None:
    torch.manual_seed(0)
    quantized = trtqat.quantize(Residual().eval(), batches)
    places = {place for each in quantized.ranges for place in each.places}
    fewer = keeping(quantized, ["conv"])
    assert [layer.name for layer in fewer.layers if layer.kept] == ["conv"]
    left = {place for each in fewer.ranges for place in each.places}
    # The sum's operand beside the convolution stays the quantized one.
    assert places - left == {"conv.conv2d.input", "conv.conv2d.weight"}
    assert "add.right" in left
