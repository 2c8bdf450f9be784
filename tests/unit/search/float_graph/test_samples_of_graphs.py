"""Samples for a graph that leaves sizes open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.image_files import drawn, write_image
from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError
from trtqat.search.float_graph.samples import GraphSamples
from trtqat.tensors import TensorSpec


def test_samples_of_several_sizes_are_no_batch(tmp_path: Path) -> None:
    for name, height in (("a", 24), ("b", 24), ("c", 20)):
        write_image(tmp_path / f"{name}.png", drawn(0, height))
    dataset = open_dataset(f"images:{tmp_path}", [TensorSpec("x", (-1, 3, -1, -1))])
    samples = GraphSamples(dataset, ("x",), (0, 1, 2))
    message = r"'x' \(3, 24, 32\) at sample 0 and \(3, 20, 32\) at sample 2; a batch has one size"
    with pytest.raises(DataError, match=message) as raised:
        list(samples.batches(3))
    assert "resize=480x640" in raised.value.remedy
    assert [each["x"].shape[2] for each in samples.batches(1)] == [24, 24, 20]
