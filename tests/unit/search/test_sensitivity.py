"""Sensitivity: one layer quantized at a time, against the FP32 model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtqat
from trtqat.errors import DataError
from trtqat.numerics import difference
from trtqat.search.running import Batch, Cost
from trtqat.search.saved_search import SavedSearch, key_of
from trtqat.search.sensitivity import measure_sensitivity


class TwoHeads(nn.Module):
    """Two outputs by name, of very different magnitude, and one of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.small = nn.Linear(8, 4)
        self.large = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.body(images)).mean((2, 3))
        large = 1000 * self.large(x)
        return {"large": large, "small": self.small(x), "choice": large.argmax(1)}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return TwoHeads().eval()


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(size, 3, 6, 6, generator=generator),) for size in (8, 8, 5)]


def test_is_that_of_a_model_with_one_layer_alone(model: nn.Module, batches: list[Batch]) -> None:
    quantized = trtqat.quantize(model, batches, method="max")
    found = {each.layer: each for each in measure_sensitivity(quantized, batches)}
    assert set(found) == {"body", "small", "large"}
    images = torch.cat([batch[0] for batch in batches])
    with torch.no_grad():
        expected = model(images)
        for name, each in found.items():
            # The mean between the layers is none, and quantized with a head.
            others = [layer for layer in found if layer != name] + ["mean"]
            alone = trtqat.quantize(model, batches, method="max", keep=others).model(images)
            by_output = {
                output: difference(expected[output].numpy(), alone[output].numpy()).sqnr_db
                for output in ("large", "small")
            }
            assert each.output == min(by_output, key=lambda output: by_output[output])
            assert each.sqnr_db == pytest.approx(by_output[each.output], abs=0.01)
    # A head says nothing of the other one; and the magnitude of an output does not count.
    assert (found["small"].output, found["large"].output) == ("small", "large")
    assert abs(found["small"].sqnr_db - found["large"].sqnr_db) < 10
    layers = {layer.name: layer.macs for layer in quantized.layers}
    assert {name: each.macs for name, each in found.items()} == layers
    assert sum(each.share for each in found.values()) == pytest.approx(1)


def test_the_worst_comes_first_and_the_model_is_as_before(
    model: nn.Module, batches: list[Batch]
) -> None:
    quantized = trtqat.quantize(model, batches)
    with torch.no_grad():
        before = quantized.model(batches[0][0])["small"]
        found = measure_sensitivity(quantized, batches)
        assert torch.equal(quantized.model(batches[0][0])["small"], before)
    assert [each.sqnr_db for each in found] == sorted(each.sqnr_db for each in found)
    assert all(math.isfinite(each.sqnr_db) and each.noise > 0 for each in found)


def test_layers_that_are_kept_are_left_out(model: nn.Module, batches: list[Batch]) -> None:
    quantized = trtqat.quantize(model, batches, keep=["large"])
    assert {each.layer for each in measure_sensitivity(quantized, batches)} == {"body", "small"}


def test_says_what_it_takes_and_how_far_it_is(model: nn.Module, batches: list[Batch]) -> None:
    quantized = trtqat.quantize(model, batches)
    costs: list[Cost] = []
    progress: list[tuple[str, int, int]] = []
    measure_sensitivity(
        quantized,
        batches,
        announce=costs.append,
        progress=lambda *each: progress.append(each),
    )
    (cost,) = costs
    assert (cost.task, cost.runs, cost.images, cost.forwards) == ("sensitivity", 4, 21, 84)
    assert cost.seconds > 0
    assert [done for _, done, _ in progress] == [16, 24, 32, 48, 56, 64, 74, 79, 84]
    assert {total for _, _, total in progress} == {84}


def test_no_sample(model: nn.Module, batches: list[Batch]) -> None:
    with pytest.raises(DataError, match="no sample"):
        measure_sensitivity(trtqat.quantize(model, batches), [])


@pytest.mark.parametrize("after", range(1, 10, 2))
def test_goes_on_where_it_was_interrupted(
    model: nn.Module, batches: list[Batch], tmp_path: Path, after: int
) -> None:
    quantized = trtqat.quantize(model, batches)
    whole = measure_sensitivity(quantized, batches)
    path = tmp_path / "state.json"
    steps: list[int] = []

    def interrupt(_: str, done: int, total: int) -> None:
        steps.append(done)
        assert total == 84
        if len(steps) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(quantized, batches, progress=interrupt, saved=SavedSearch(path, "this"))
    assert not [each for each in tmp_path.iterdir() if each != path]
    again: list[int] = []
    resumed = measure_sensitivity(
        quantized,
        batches,
        progress=lambda _, done, __: again.append(done),
        saved=SavedSearch(path, "this"),
    )
    assert resumed == whole
    assert len(steps) + len(again) == 9
    assert again[-1:] in ([84], [])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "this"}', '{"key": "o", "parts": 3}'])
def test_a_damaged_state_is_none(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with caplog.at_level("WARNING", "trtqat"):
        assert SavedSearch(path, "this").part("sensitivity") == {}
    assert "is no state of a search" in caplog.text


def test_a_state_of_another_search_is_none(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    SavedSearch(path, "this").write("sensitivity", {"batch": 2})
    assert SavedSearch(path, "this").part("sensitivity") == {"batch": 2}
    assert SavedSearch(path, "other").part("sensitivity") == {}
    assert json.loads(path.read_text())["key"] == "this"
    SavedSearch(path, "this").remove()
    assert not path.exists()


def test_the_key_is_that_of_weights_ranges_and_options(
    model: nn.Module, batches: list[Batch]
) -> None:
    quantized = trtqat.quantize(model, batches, method="max").model
    same = trtqat.quantize(model, batches, method="max").model
    keys = {key_of(quantized, 1), key_of(same, 1)}
    assert len(keys) == 1
    keys |= {key_of(quantized, 2)}
    keys |= {key_of(trtqat.quantize(model, batches[2:], method="max").model, 1)}
    with torch.no_grad():
        same.get_parameter("body.weight")[0, 0, 0, 0] += np.float32(1e-6)
    assert len(keys | {key_of(same, 1)}) == 4
