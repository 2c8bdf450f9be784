"""Weights in codes of a library's own, as of torchao's ``quantize_``, are refused by name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import trtqat as package
from trtqat.errors import QuantizerError, SourceError
from trtqat.quant.quantize import quantize


class Codes(torch.Tensor):
    """Stands for floats, and keeps INT8: a tensor of few operators."""

    codes: torch.Tensor

    @staticmethod
    def __new__(cls: type[Codes], codes: torch.Tensor) -> Codes:
        made = torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)
        made.codes = codes
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, torch.Tensor], *_: object) -> Codes:
        return cls(inner["codes"])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes)
        raise NotImplementedError(func)


def model() -> nn.Module:
    layer = nn.Linear(4, 4)
    codes = Codes(torch.ones(4, 4, dtype=torch.int8))
    layer.weight = nn.Parameter(codes, requires_grad=False)
    return nn.Sequential(layer)


def test_they_are_refused_by_quantize() -> None:
    with pytest.raises(QuantizerError, match=r"Parameter '0\.weight' is a .*\.Codes") as caught:
        quantize(model(), [torch.ones(2, 4)])
    assert "in floating point, to trtqat quantize" in caught.value.remedy


def test_they_are_refused_by_export(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Parameter '0\.weight' is a .*\.Codes"):
        package.export(model(), tmp_path / "m.onnx", inputs=["input:2x4"])


def test_a_state_dict_of_them_is_not_asked_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = ModuleType("torchao.quantization")
    kind = type("Int8Tensor", (), {"__module__": library.__name__})
    library.Int8Tensor = kind  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchao", ModuleType("torchao"))
        patch.setitem(sys.modules, library.__name__, library)
        torch.save({"weight": kind()}, tmp_path / "c.pt")
    with pytest.raises(SourceError, match=r"'torchao\.quantization\.Int8Tensor'") as caught:
        package.load_state(nn.Linear(4, 4), tmp_path / "c.pt")
    assert "before torchao's quantize_" in caught.value.remedy
