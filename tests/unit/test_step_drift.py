"""The tensor at which a graph parts from the fake-quantized model is the one that is named."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from tests import models
from tests.unit.test_locate import Images, exported
from trtqat.evaluation.step_drift import (
    Parting,
    StepDrift,
    TensorDrift,
    compare_steps,
    first_parting,
)
from trtqat.runtime.pytorch import PyTorchModel


def compared(name: str, graph: Path, images: Images, model: torch.nn.Module | None) -> StepDrift:
    example = models.EXAMPLES[name]
    module = example.qat() if model is None else model
    fake_quantized = PyTorchModel(module, example.inputs, device="cpu")
    return compare_steps(graph, images, fake_quantized=fake_quantized)


@pytest.mark.parametrize("name", models.EXAMPLES)
def test_reference_and_model_agree_in_every_tensor(name: str, tmp_path: Path) -> None:
    path, images = exported(name, tmp_path)
    found = compared(name, path, images, None)
    assert found.probe is None
    seen = [each for each in found.tensors if each.reference is not None]
    # A layer that runs twice has one quantizer, and two tensors: it is left out.
    assert len(seen) == len(found.tensors) - 2 * (name == "two_inputs")
    for each in seen:
        assert each.reference is not None
        assert each.reference.sqnr_db > 40, each
        assert each.engine is None
        if each.reference.largest is not None:
            assert each.reference.largest <= 1
    assert first_parting(found.tensors, "reference") is None


def test_a_layer_that_computes_otherwise_is_found(tmp_path: Path) -> None:
    path, images = exported("residual", tmp_path)
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if node.name == "/conv1/Conv")
    producers = {output: each for each in model.graph.node for output in each.output}
    codes = producers[node.input[1]].input[0]
    initializer = next(each for each in model.graph.initializer if each.name == codes)
    array = numpy_helper.to_array(initializer)
    initializer.CopyFrom(numpy_helper.from_array(np.flip(array).copy(), codes))
    onnx.save(model, str(path))
    found = compared("residual", path, images, None)
    first = first_parting(found.tensors, "reference")
    assert first is not None
    assert (first.layer, first.tensor) == ("/conv1/Conv", "/conv2/_input_quantizer/QuantizeLinear")
    worst = max(found.tensors, key=lambda each: each.reference.fall_db if each.reference else 0)
    assert worst == first
    assert worst.reference is not None
    assert worst.reference.differing is not None
    assert worst.reference.differing > 0.2


def test_a_torchscript_model_cannot_be_looked_into(tmp_path: Path) -> None:
    path, images = exported("depthwise", tmp_path)
    example = models.EXAMPLES["depthwise"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(example.qat(), example.batch(2))  # type: ignore[no-untyped-call]
    found = compared("depthwise", path, images, traced)
    # Its outputs can.
    assert [each.tensor for each in found.tensors if each.reference] == ["output"]


def drift(name: str, sqnr_db: float) -> TensorDrift:
    return TensorDrift(name, name, None, Parting(sqnr_db, 0.0, 0.0, 0), ())


@given(st.lists(st.floats(-10, 100) | st.sampled_from([math.nan, math.inf]), max_size=8))
def test_the_first_below_is_named(noise: list[float]) -> None:
    tensors = [drift(str(number), value) for number, value in enumerate(noise)]
    found = first_parting(tensors, "engine", below_db=20)
    low = [number for number, value in enumerate(noise) if math.isnan(value) or value < 20]
    assert (found.tensor if found else None) == (str(low[0]) if low else None)
    assert first_parting([replace(each, engine=None) for each in tensors], "engine") is None
