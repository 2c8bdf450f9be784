"""``quantize`` and ``save_quantized``: what wraps a model, and what is no list of batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import trtqat
from tests.support.checkpoints import Versioned
from trtqat.errors import SourceError, UsageError
from trtqat.quant.quantize import quantize
from trtqat.quant.recipe import recipe_of, save_quantized


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def _compiled(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, backend="eager")  # type: ignore[assignment]
    return compiled


def _compiled_in_ddp(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(_compiled(model))


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.parallel.DistributedDataParallel,
        nn.DataParallel,
        AveragedModel,
        _compiled,
        _compiled_in_ddp,
    ],
)
def test_what_wraps_a_model_is_saved_as_the_model(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fp32 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    model = quantize(fp32, [images], method="max", keep=["2"]).model
    save_quantized(wrap(copy.deepcopy(model)), tmp_path / "int8.pt")
    loaded = trtqat.load_quantized(fp32, tmp_path / "int8.pt")
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert recipe_of(loaded) == recipe_of(model)
    again = quantize(wrap(copy.deepcopy(fp32)), [images], method="max", keep=["2"]).model
    assert type(again) is type(model)
    assert recipe_of(again) == recipe_of(model)


@pytest.mark.parametrize("batches", [torch.ones(4, 3), {"x": torch.ones(4, 3)}, "x", None])
def test_one_batch_is_no_list_of_batches(batches: Any) -> None:
    with pytest.raises(UsageError, match="The batches are a ") as refused:
        quantize(nn.Linear(3, 2), batches)
    assert refused.value.remedy.startswith("Give a ")


@pytest.mark.parametrize(("field", "value"), [(1, "convolution"), (2, 7), (3, "middle"), (2, -1)])
def test_a_recipe_of_calls_that_there_are_not_is_refused(
    field: int, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "int8.pt"
    fp32 = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    save_quantized(quantize(fp32, [torch.ones(4, 3, 8, 8)]).model, path)
    loaded = torch.load(path, weights_only=True)
    place = list(loaded["trtqat_recipe"]["quantizers"][0]["places"][0])
    place[field] = value
    loaded["trtqat_recipe"]["quantizers"][0]["places"][0] = tuple(place)
    torch.save(loaded, path)
    with pytest.raises(SourceError, match="is damaged"):
        trtqat.load_quantized(fp32, path)


@pytest.mark.parametrize("average", [False, True])
def test_versions_of_modules_are_saved(average: bool, tmp_path: Path) -> None:
    features, path = torch.ones(4, 3), tmp_path / "int8.pt"
    fp32 = nn.Sequential(Versioned(3, 2)).eval()
    model = quantize(fp32, [features]).model
    state = {key: value.clone() for key, value in model.state_dict().items()}
    save_quantized(model, path, state=state if average else None)
    with torch.no_grad():
        assert torch.equal(trtqat.load_quantized(fp32, path)(features), model(features))
