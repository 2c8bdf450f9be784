"""Which of several GPUs: over the recorded answers of a host with two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.recorded_gpus import RECORDED, RecordedNvml
from trtqat.errors import MissingError, UsageError
from trtqat.host import chosen_gpu as module
from trtqat.host.chosen_gpu import choose_gpu, chosen_gpu
from trtqat.host.nvml import NvmlMissing

VARIABLE = "CUDA_VISIBLE_DEVICES"
FIRST, SECOND = (gpu["uuid"] for gpu in RECORDED["gpus"])


@pytest.fixture(autouse=True)
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A host with two GPUs; an empty list is one without NVML."""
    answers: list[Any] = [RecordedNvml()]

    @contextmanager
    def opened() -> Iterator[Any]:
        if not answers:
            raise NvmlMissing("there is no NVIDIA driver")
        yield answers[0]

    monkeypatch.setattr(module, "opened_nvml", opened)
    monkeypatch.setattr(module, "_chosen", None)
    # So that it is set back, whatever is made of it.
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.delenv(VARIABLE)
    return answers


@pytest.mark.parametrize(
    ("visible", "ordinal", "shown"),
    [
        (None, 0, "0"),
        (None, 1, "1"),
        ("1,0", 0, "1"),
        ("1, 0", 1, "0"),
        ("1", 0, "1"),
        (f"{SECOND},{FIRST}", 0, SECOND),
        (SECOND[:12], 0, SECOND[:12]),
        # Numbers of the host outside of a container: CUDA lists what is inside.
        ("6,7", 1, "1"),
    ],
)
def test_cuda_is_shown_one_alone(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, ordinal: int, shown: str
) -> None:
    if visible is not None:
        monkeypatch.setenv(VARIABLE, visible)
    choose_gpu(ordinal)
    assert (os.environ[VARIABLE], chosen_gpu()) == (shown, ordinal)
    # Not counted anew within the one that is shown.
    choose_gpu(ordinal)
    assert os.environ[VARIABLE] == shown
    with pytest.raises(UsageError, match=f"uses the GPU {ordinal} already"):
        choose_gpu(ordinal + 1)


def test_nobody_chose() -> None:
    choose_gpu(None)
    assert chosen_gpu() is None
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("visible", "ordinal", "message", "remedy"),
    [
        (None, 2, r"there are 2 here \(0: NVIDIA H200, 1: NVIDIA H200\)", "Give 0 to 1."),
        ("1", 1, r"there is 1 here within CUDA_VISIBLE_DEVICES=1 \(0: NVIDIA H200\)", "Give 0."),
        # CUDA hides what follows a name that is none.
        ("0,5,1", 2, "there is 1 here", "Give 0."),
    ],
)
def test_no_such_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, ordinal: int, message: str, remedy: str
) -> None:
    if visible is not None:
        monkeypatch.setenv(VARIABLE, visible)
    with pytest.raises(UsageError, match=message) as raised:
        choose_gpu(ordinal)
    assert raised.value.remedy == remedy
    assert os.environ.get(VARIABLE) == visible
    assert chosen_gpu() is None


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_all_are_hidden(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv(VARIABLE, visible)
    with pytest.raises(MissingError, match=f"CUDA_VISIBLE_DEVICES={visible} hides every GPU"):
        choose_gpu(0)


@pytest.mark.parametrize("ordinal", [-1, True, "1"])
def test_what_is_no_number_of_a_gpu(ordinal: Any) -> None:
    with pytest.raises(UsageError, match="--device is"):
        choose_gpu(ordinal)


@pytest.mark.parametrize(("visible", "shown"), [(None, "3"), ("5,GPU-1,7,MIG-2", "MIG-2")])
def test_without_nvml_cuda_is_to_say(
    monkeypatch: pytest.MonkeyPatch, nvml: list[Any], visible: str | None, shown: str
) -> None:
    nvml.clear()
    if visible is not None:
        monkeypatch.setenv(VARIABLE, visible)
    choose_gpu(3)
    assert os.environ[VARIABLE] == shown


@pytest.mark.parametrize(
    ("visible", "message", "remedy"),
    [
        ("3,1", r"there are 2 here within CUDA_VISIBLE_DEVICES=3,1 \(0: 3, 1: 1\)", "Give 0 to 1."),
        ("3,-1,1", "there is 1 here", "Give 0."),
    ],
)
def test_without_nvml_no_gpu_is_used_that_the_variable_hides(
    monkeypatch: pytest.MonkeyPatch, nvml: list[Any], visible: str, message: str, remedy: str
) -> None:
    nvml.clear()
    monkeypatch.setenv(VARIABLE, visible)
    with pytest.raises(UsageError, match=message) as raised:
        choose_gpu(2)
    assert raised.value.remedy == remedy
    assert (os.environ[VARIABLE], chosen_gpu()) == (visible, None)


def test_a_gpu_that_hides_its_name(nvml: list[Any]) -> None:
    nvml[:] = [RecordedNvml(name=None)]
    with pytest.raises(UsageError, match=r"\(0: unknown, 1: unknown\)"):
        choose_gpu(2)
