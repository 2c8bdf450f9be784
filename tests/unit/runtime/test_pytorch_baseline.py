"""PyTorch as a baseline, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trtqat.errors import ForwardError, InferenceError, MissingError
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.runtime.pytorch_arithmetic import Arithmetic
from trtqat.tensors import TensorSpec


class Twice(nn.Module):
    """Refuses what is not float32, as a layer with float32 weights does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((7,), 2.0))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if x.dtype != torch.float32:
            raise ValueError(f"{x.dtype} given")
        return {"twice": x * self.weight, "rows": torch.tensor(len(x))}


def baseline(dtype: str = "float32") -> PyTorchModel:
    return PyTorchModel(Twice(), [TensorSpec("x", (-1, 7), dtype)], device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_inputs_are_converted_to_what_the_model_computes_in(dtype: str) -> None:
    x = np.arange(21, dtype=dtype).reshape(3, 7)
    session = baseline(dtype).session(3)
    for factor in (1, 3):
        found = session.run({"x": x * np.asarray(factor, dtype)})
        np.testing.assert_array_equal(found["twice"], 2.0 * factor * x)
        assert found["twice"].dtype == np.float32
        assert found["rows"] == 3


def test_times_without_a_gpu() -> None:
    session = baseline().session(2)
    session.load({"x": np.ones((2, 7), np.float32)})
    assert len(session.compute_times_ms(5)) == 5
    assert session.enqueue_times_ms == []
    assert session.transfer_times_ms(5) == ([], [])
    assert session.mode == "PyTorch eager, CPU, wall clock"
    session.close()


def test_size_is_that_of_the_parameters() -> None:
    assert baseline().size_bytes == 28
    assert baseline().name == "PyTorch FP32"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_other_arithmetic_needs_a_gpu(precision: str) -> None:
    with pytest.raises(MissingError, match=f"{precision.upper()} baseline needs a GPU"):
        PyTorchModel(Twice(), [], device="cpu", precision=precision)  # type: ignore[arg-type]


def test_a_model_that_raises() -> None:
    class Raises(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("not like this\nsecond line")

    session = PyTorchModel(Raises(), [TensorSpec("x", (-1, 7))], device="cpu").session(1)
    with pytest.raises(
        ForwardError, match=r"'PyTorch FP32' raised ValueError: not like this\. Check"
    ):
        session.run({"x": np.zeros((1, 7), np.float32)})


def test_a_device_that_fails_is_no_fault_of_the_model() -> None:
    class Raises(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    session = PyTorchModel(Raises(), [TensorSpec("x", (-1, 7))], device="cpu").session(1)
    with pytest.raises(InferenceError, match=r"illegal memory access was encountered\. Run nvidia"):
        session.run({"x": np.zeros((1, 7), np.float32)})


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_went_wrong_in_torchscript_stands_last() -> None:
    script = torch.jit.script(nn.Linear(3, 2).eval())
    session = PyTorchModel(script, [TensorSpec("x", (-1, 7))], device="cpu").session(1)
    with pytest.raises(ForwardError, match=r"raised RuntimeError: mat1 and mat2 shapes"):
        session.run({"x": np.zeros((1, 7), np.float32)})


def test_open_dimensions_take_what_comes() -> None:
    model = PyTorchModel(nn.Identity(), [TensorSpec("x", (-1, 3, -1, -1))], device="cpu")
    session = model.session(2)
    for side in (4, 6):
        x = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)
        np.testing.assert_array_equal(session.run({"x": x})["output"], x)


def test_switches_are_set_while_a_model_launches_and_put_back() -> None:
    seen = []

    class Looks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark))
            return x

    before = (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
    session = PyTorchModel(Looks(), [TensorSpec("x", (-1,))], device="cpu").session(1)
    session.run({"x": np.zeros(1, np.float32)})
    assert seen == [(False, True)]
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
    with Arithmetic(tf32=True), Arithmetic(tf32=False):
        assert not torch.backends.cudnn.allow_tf32
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
