"""The ladder to a target that a metric sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trtqat
from tests.support.uneven import Files, write_files
from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.metrics.named import as_metrics
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource
from trtqat.quant.quantize import Quantized, keeping
from trtqat.report.quantize_words import closing_lines, describe_cost, tables
from trtqat.search.accuracy_target import Ladder, find_within_target
from trtqat.search.counting import LabelledSamples
from trtqat.search.running import Batch, Cost
from trtqat.search.saved_search import SavedSearch
from trtqat.search.sensitivity import LayerSensitivity, measure_sensitivity
from trtqat.tensors import Array, TensorSpec

SPEC = TensorSpec("images", (-1, 3, 6, 6))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = write_files(tmp_path_factory.mktemp("uneven"))
    images = np.load(files.folder / "val.npz")["images"]
    with torch.no_grad():
        logits = load_model(ModelSource(files.source, files.checkpoint))(torch.from_numpy(images))
    np.savez(files.folder / "logits.npz", images=images, labels=logits.numpy())
    return files


@pytest.fixture(scope="module")
def quantized(files: Files) -> Quantized:
    images = torch.from_numpy(np.load(files.folder / "train.npz")["images"])
    batches: list[Batch] = [(images[:32],), (images[32:64],)]
    return trtqat.quantize(load_model(ModelSource(files.source, files.checkpoint)), batches)


@pytest.fixture(scope="module")
def ranking(files: Files, quantized: Quantized) -> tuple[LayerSensitivity, ...]:
    images = torch.from_numpy(np.load(files.folder / "train.npz")["images"])
    return measure_sensitivity(quantized, [(images[:64],)])


def find(
    quantized: Quantized,
    ranking: tuple[LayerSensitivity, ...],
    data: str,
    points: float,
    metric: Any,
    **options: Any,
) -> tuple[Quantized | None, Ladder]:
    (asked,) = as_metrics([metric]) if metric else (None,)
    samples = LabelledSamples(
        open_dataset(data, [SPEC]), ["images"], 64, are_classes=metric is None
    )
    return find_within_target(quantized, samples, points, lambda: ranking, metric=asked, **options)


@pytest.mark.parametrize("points", [0.5, 2.0, 79.0])
def test_top1_as_a_metric_climbs_as_counts_do(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...], points: float
) -> None:
    _, counted = find(quantized, ranking, files.eval_data, points, None)
    _, measured = find(quantized, ranking, files.eval_data, points, "top1")
    assert [each.kept for each in measured.rungs] == [each.kept for each in counted.rungs]
    assert measured.best == counted.best
    for one, other in zip(measured.rungs, counted.rungs, strict=True):
        assert one.drop_points == pytest.approx(other.drop_points)
        assert one.holds == other.holds
        assert one.value == pytest.approx(100 - one.drop_points)
        assert (one.right, one.lost, one.p_value) == (None, None, None)
        assert one.interval_points.low <= one.drop_points <= one.interval_points.high
    assert (measured.metric, measured.unit, measured.fp32_value) == ("top1", "%", 100)
    assert measured.fp32_right is None


def worst(outputs: dict[str, Array], labels: Array) -> Array:
    """The largest difference to FP32's logits."""
    (logits,) = outputs.values()
    return np.asarray(abs(logits - labels).max(axis=1))


worst.higher_is_better = False  # type: ignore[attr-defined]


def test_a_metric_of_the_users_that_falls(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    data = f"npz:{files.folder / 'logits.npz'}"
    costs: list[Cost] = []
    found, ladder = find(quantized, ranking, data, 0.1, worst, announce=costs.append)
    assert found is not None
    assert ladder.chosen is not None
    assert ladder.chosen.kept
    assert not ladder.rungs[0].holds
    # FP32's own is 0, so what it gets worse by is its value.
    assert ladder.fp32_value == pytest.approx(0, abs=1e-6)
    arrays = np.load(files.folder / "logits.npz")
    for rung in ladder.rungs:
        again = keeping(quantized, rung.kept) if rung.kept else quantized
        with torch.no_grad():
            logits = again.model(torch.from_numpy(arrays["images"])).numpy()
        expected = float(abs(logits - arrays["labels"]).max(axis=1).mean())
        assert rung.value == pytest.approx(expected, rel=1e-4)
        assert rung.drop_points == pytest.approx(expected, rel=1e-4)
        assert rung.holds == (rung.drop_points <= 0.1)
    (cost,) = costs
    assert (cost.task, cost.images) == ("metric", 200)
    assert describe_cost(cost).startswith("measuring the metric, at most: 7 runs over 200 images")


@pytest.mark.parametrize("after", [2, 6, 11])
def test_goes_on_where_it_was_interrupted(
    files: Files,
    quantized: Quantized,
    ranking: tuple[LayerSensitivity, ...],
    tmp_path: Path,
    after: int,
) -> None:
    _, whole = find(quantized, ranking, files.eval_data, 2.0, "top1")
    path = tmp_path / "state.json"
    steps: list[int] = []

    def interrupt(_: str, done: int, __: int) -> None:
        steps.append(done)
        if len(steps) == after:
            raise KeyboardInterrupt

    saved = SavedSearch(path, "this")
    with pytest.raises(KeyboardInterrupt):
        find(quantized, ranking, files.eval_data, 2.0, "top1", progress=interrupt, saved=saved)
    again: list[int] = []
    _, resumed = find(
        quantized,
        ranking,
        files.eval_data,
        2.0,
        "top1",
        progress=lambda _, done, __: again.append(done),
        saved=SavedSearch(path, "this"),
    )
    assert resumed == whole
    assert len(again) == 4 * (1 + len(whole.rungs)) - after // 4 * 4


def test_a_target_out_of_reach(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    only_hard = keeping(quantized, ["stem", "even"])
    some = tuple(each for each in ranking if each.layer in ("hard", "harder", "fc"))
    data = f"npz:{files.folder / 'logits.npz'}"
    found, ladder = find(only_hard, some, data, 0.0, "mse")
    assert found is None
    with pytest.raises(GateError, match=r"The mse gets worse by .* at least, .* 0 are allowed"):
        ladder.check_reached("Train it.")


def test_fp32_without_a_value(
    files: Files, quantized: Quantized, ranking: tuple[LayerSensitivity, ...]
) -> None:
    own = files.folder / "nothing.py"
    own.write_text("def none(outputs, labels):\n    return [float('nan')] * len(labels)\n")
    with pytest.raises(DataError, match="The none of the FP32 model is nan, so there is no drop"):
        find(quantized, ranking, f"npz:{files.folder / 'logits.npz'}", 1.0, f"{own}:none")


def test_from_source_to_file_and_words(files: Files, tmp_path: Path) -> None:
    result = trtqat.quantize_source(
        files.source,
        tmp_path / "int8.pt",
        checkpoint=files.checkpoint,
        data=files.data,
        images=64,
        eval_data=f"npz:{files.folder / 'logits.npz'}",
        metric="mse",
        max_accuracy_drop=0.05,
        sensitivity_images=32,
    )
    ladder = result.ladder
    assert ladder is not None
    assert ladder.chosen is not None
    title, columns, rows = list(tables(result, in_full=False))[-1]
    assert title.startswith("the ladder to a drop of 0.05; mse of FP32 is ")
    assert columns == ("kept", "MACs in INT8", "mse", "drop", "95 % interval", "holds")
    assert [row[-1] for row in rows].count("taken") == 1
    first, *_ = closing_lines(result, files.source)
    assert first.startswith("the mse gets worse by ")
    for changed, begin in (
        (replace(ladder, metric="miou", unit="%"), "the miou gets worse by"),
        (replace(ladder, metric="psnr", unit="dB"), "the psnr gets worse by"),
    ):
        line, *_ = closing_lines(replace(result, ladder=changed), files.source)
        assert line.startswith(begin)
        assert f"{'points' if changed.unit == '%' else 'dB'} (" in line


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"metric": "mse"}, UsageError, "A metric belongs to an accuracy target"),
        ({"metric": "nonsense", "max_accuracy_drop": 1}, UsageError, "no metric 'nonsense'"),
        ({"metric": 5, "max_accuracy_drop": 1}, UsageError, "metric is 5"),
        ({"metric": "miou", "max_accuracy_drop": 1}, DataError, "miou reads masks"),
        ({"max_accuracy_drop": 1}, DataError, "must be one integer per sample, but are float32"),
    ],
)
def test_wrong_usage(
    files: Files,
    tmp_path: Path,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        trtqat.quantize_source(
            files.source,
            tmp_path / "int8.pt",
            checkpoint=files.checkpoint,
            data=files.data,
            images=64,
            eval_data=f"npz:{files.folder / 'logits.npz'}",
            **options,
        )
