"""Several processes that fine-tune one model together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.bars import plain
from tests.support.hanging import HUNG_S
from trtqat.apart import call_apart
from trtqat.quant.tuning.fine_tune import fine_tune

pytestmark = pytest.mark.usefixtures("one_thread")


def _train_together(rank: int, processes: int, folder: Path, model: nn.Module) -> None:
    """One of several processes: each sees another half of every batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=HUNG_S),
    )
    try:
        data = [(images[rank::processes], labels[rank::processes]) for images, labels in plain()]
        wrapped = nn.parallel.DistributedDataParallel(model)
        done = fine_tune(wrapped, data, epochs=2, freeze_batch_norm=0, checkpoint=folder / "c")
        torch.save([model.state_dict(), done.epochs[-1].loss], folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_processes_train_as_one_would(quantized: nn.Module, tmp_path: Path) -> None:
    quantized.get_submodule("dropout").p = 0.0  # type: ignore[assignment]
    # New ones: in a fork of this process, locks that its threads held are held for ever.
    with ThreadPoolExecutor(2) as pool:
        together = [
            pool.submit(call_apart, _train_together, rank, 2, tmp_path, quantized)
            for rank in range(2)
        ]
    assert [each.result() for each in together] == [None, None]
    (first, first_loss), (second, second_loss) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert first_loss != second_loss
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone = fine_tune(quantized, plain(), epochs=2, freeze_batch_norm=0)
    assert alone.epochs[-1].loss == pytest.approx((first_loss + second_loss) / 2, rel=1e-3)
    for name, value in quantized.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4)
    # One of them has written for both, under the names of the model itself.
    state = torch.load(tmp_path / "c", weights_only=True)["state"]
    assert len(state["random"]) == 2
    assert list(state["model"]) == list(first)
