"""What a session takes for its inputs: nothing is repeated, wrapped or made infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from tests.support.cuda_streams import Device, open_session
from trtqat.errors import UsageError
from trtqat.runtime.buffers import fill
from trtqat.runtime.host_quantizer import open_quantizer
from trtqat.runtime.pytorch import PyTorchModel
from trtqat.tensors import TensorSpec

NAME = "m.engine"


def filled(dtype: str, given: Any, shape: tuple[int, ...] = (2, 2)) -> Any:
    """What a session reads as its input ``x``."""
    host = np.full(shape, 7, dtype)
    fill({"x": host}, {"x": given}, {}, NAME)
    return host.tolist()


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 2), (2, 1), (3, 2), (2, 2, 1)])
def test_what_numpy_would_repeat_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as raised:
        filled("float32", np.ones(shape, np.float32))
    assert raised.value.problem == (
        f"Input 'x' of 'm.engine' takes the shape (2, 2), and was given {shape}."
    )


def test_a_session_of_an_engine_repeats_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_session(monkeypatch, Device(7101)) as session:
        with pytest.raises(UsageError, match=r"takes the shape \(4,\), and was given \(1,\)"):
            session.run({"x": np.ones(1, np.float32)})
        with pytest.raises(UsageError, match=r"takes the shape \(4,\), and was given \(3,\)"):
            session.load({"x": np.ones(3, np.float32)})
        assert session.run({"x": np.arange(4, dtype=np.float32)})["y"].tolist() == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("dtype", "given", "worst"),
    [
        ("int8", np.array([[0, 127], [128, 255]], np.uint8), "128"),
        ("int8", np.array([[0, -129], [0, 0]], np.int32), "-129"),
        ("int32", np.array([[1, 2], [2**40 + 7, 3]], np.int64), "1099511627783"),
        ("float16", np.array([[1, -70000], [0, 0]], np.float32), "-70000.0"),
        ("float32", np.array([[1, 1e39], [0, 0]]), "1e+39"),
        ("float16", np.array([[1, 2**20], [0, 0]]), "1048576"),
    ],
)
def test_a_number_that_does_not_fit_is_refused(dtype: str, given: Any, worst: str) -> None:
    with pytest.raises(UsageError) as raised:
        filled(dtype, given)
    assert raised.value.problem.startswith(f"Input 'x' of 'm.engine' takes {dtype}, which {worst}")


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("int8", np.array([[0, 127], [1, 2]], np.uint8)),
        ("int32", np.array([[0, -(2**31)], [2**31 - 1, 2]], np.int64)),
        ("float16", np.array([[0.5, -65504], [np.inf, 0]], np.float32)),
        ("float32", np.array([[0.5, -np.inf], [1e-40, 0]]).astype(np.float32).astype(float)),
        ("float32", [[1, 2], [3, 4]]),
        ("float32", np.array([[1.0, 2], [3, 4]], ">f4")),
        ("bool", np.array([[True, False], [False, True]])),
    ],
)
def test_what_fits_arrives(dtype: str, given: Any) -> None:
    assert filled(dtype, given) == np.asarray(given).tolist()


def test_another_kind_of_number_is_refused() -> None:
    with pytest.raises(UsageError, match="takes uint8, and was given float32"):
        filled("uint8", np.ones((2, 2), np.float32))


def test_an_input_that_is_missing_is_named_before_another_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = {name: np.zeros(2, np.float32) for name in "ab"}
    with pytest.raises(UsageError, match=r"'m\.engine' takes an input 'b', and was given 'a', 'c'"):
        fill(hosts, {name: np.ones(2, np.float32) for name in "ac"}, {}, NAME)
    assert hosts["a"].tolist() == [0, 0]
    with (
        open_session(monkeypatch, Device(7102)) as session,
        pytest.raises(UsageError, match=r"takes an input 'x', and was given none\."),
    ):
        session.run({})
    with (
        PyTorchModel(nn.Identity(), [TensorSpec("x", (-1, 2))], device="cpu") as model,
        model.session(2) as baseline,
        pytest.raises(UsageError, match=r"'PyTorch FP32' takes an input 'x', and was given 'y'\."),
    ):
        baseline.run({"y": np.zeros((2, 2), np.float32)})


def test_floats_for_codes_have_the_shape_of_the_codes() -> None:
    host = np.zeros((2, 2), np.int8)
    quantizers = {"x": open_quantizer(0.5, numpy_only=True)}
    fill({"x": host}, {"x": np.array([[0.5, 1], [-1, 100]])}, quantizers, NAME)
    assert host.tolist() == [[1, 2], [-2, 127]]
    with pytest.raises(UsageError, match=r"takes the shape \(2, 2\), and was given \(1, 2\)"):
        fill({"x": host}, {"x": np.ones((1, 2), np.float32)}, quantizers, NAME)
    with pytest.raises(UsageError, match=r"takes int8, which 200 does not fit"):
        fill({"x": host}, {"x": np.full((2, 2), 200, np.uint8)}, quantizers, NAME)
