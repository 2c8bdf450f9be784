"""What ``trtqat.tune`` is asked for: time, options and batches."""

from __future__ import annotations

from typing import Any

import pytest

from trtqat.building.options import BuildOptions
from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import ProfileOptions
from trtqat.errors import UsageError
from trtqat.search.speed.forms import Batches, Form, batches_for
from trtqat.search.speed.options import TuneOptions, parse_seconds
from trtqat.tensors import TensorSpec


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1.5h", 5400), ("7", 7), (30, 30)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "10 minutes", "m", "1e3", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_seconds(text)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="only on its card"):
        TuneOptions(build=BuildOptions(for_="rtx"))
    with pytest.raises(UsageError, match="most_builds"):
        TuneOptions(most_builds=1)
    with pytest.raises(UsageError, match="budget"):
        TuneOptions(budget_s=float("inf"))
    with pytest.raises(UsageError, match="may not drop"):
        TuneOptions(data="npz:val.npz", max_drop_points=-0.1)
    with pytest.raises(UsageError, match="is no drop of a metric") as caught:
        TuneOptions(data="npz:val.npz", metric="psnr", max_drop_points=-0.1)
    assert "own unit" in caught.value.remedy
    with pytest.raises(UsageError, match="no labels"):
        TuneOptions(max_drop_points=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp16"},
        {"fp16": False},
        {"version_compatible": True},
        {"strip_weights": True},
        {"hardware_compatibility": "ampere+"},
        {"sign": "key.pem"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_is_not_carried_to_the_plan_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"tune does not carry {name}=") as caught:
        TuneOptions(build=BuildOptions(**options))
    assert f"{name}=" in caught.value.remedy


def images(batch: int, *others: int) -> TensorSpec:
    return TensorSpec("x", (batch, *(others or (3, 8, 8))))


def batches(*inputs: TensorSpec, batch: str | None = None) -> Batches:
    return batches_for(inputs, parse_profiles(batch, {}))


def test_of_a_batch_range_the_optimum_is_measured() -> None:
    found = batches(images(-1), batch="1:16:64")
    assert (found.measured, found.asked) == ((16,), ("1:16:64",))
    assert found.searched(None) == Form(("16",))
    assert found.final(Form(("16",))) == (Form(("1:16:64",)), Form(("16", "1:16:64")))
    # As a build takes it that is not told.
    found = batches(images(-1))
    assert (found.measured, found.asked) == ((32,), ("1:32:32",))


def test_of_several_ranges_each_optimum_is_measured() -> None:
    found = batches(images(-1), batch="32,1")
    assert (found.measured, set(found.asked)) == ((1, 32), {"1", "32"})
    assert found.final(found.searched(5)) == ()
    found = batches(images(-1), batch="1:32:128,1,32")
    assert found.measured == (1, 32)
    (form,) = found.final(found.searched(5))
    assert (form.batches, form.optimization_level) == (("1", "32", "1:32:128"), 5)


def test_a_fixed_batch_is_measured_as_it_is() -> None:
    for batch in (None, "8"):
        found = batches(images(8), batch=batch)
        assert found == Batches((8,), ())
        assert found.final(found.searched(None)) == ()
        assert found.searched(None).profile == ProfileOptions()
    for batch in ("16", "1:8:32"):
        with pytest.raises(UsageError, match="fixed batch of 8, not 1"):
            batches(images(8), batch=batch)


def test_other_dynamic_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"besides the batch.*--shapes x:1:32:32x3x640x640 for it"):
        batches(images(-1, 3, -1, -1))
    with pytest.raises(UsageError, match=r"besides the batch.*--shapes x:1:32:32x3x640x640 for it"):
        batches(images(-1, 3, -1, -1), batch="1:8:32")
    with pytest.raises(UsageError, match="fixed batch"):
        batches(images(-1), TensorSpec("mask", (4, 4)))
