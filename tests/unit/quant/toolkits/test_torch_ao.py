"""What is read from PyTorch's own fake quantizers, and which ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.ao.quantization import _learnable_fake_quantize

from tests.support.toolkits import ao, ao_activation, ao_deprecated, ao_model, ao_weight
from trtqat.errors import QuantizerError
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.toolkits.quantizers import Quantizer, read_quantizers
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint
from trtqat.quant.toolkits.replacement import replaced_quantizers

learnable: Any = _learnable_fake_quantize._LearnableFakeQuantize
FUSED = ao.FusedMovingAvgObsFakeQuantize


def quantizer(
    constructor: Any = None, x: torch.Tensor | None = None, *, observing: bool = False
) -> Any:
    """A fake quantizer that saw a tensor of both signs, or ``x``."""
    with ao_deprecated():
        made = (constructor or ao_activation())()
    torch.manual_seed(0)
    made(torch.randn(4, 3, 5, 5) if x is None else x)
    if not observing:
        made.disable_observer()
    return made.eval()


def changed(**attributes: Any) -> Any:
    made = quantizer()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def never_ran(constructor: Any) -> Any:
    with ao_deprecated():
        made = constructor()
    made.disable_observer()
    return made


def read(each: nn.Module) -> Quantizer | None:
    return read_quantizers(nn.ModuleDict({"conv": nn.Sequential(each)}))["conv.0"]


def affine(**options: Any) -> Any:
    return ao_activation(qscheme=torch.per_tensor_affine, **options)


UINT8 = {"dtype": torch.quint8, "quant_min": 0, "quant_max": 255}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quantizer(observing=True), "still observes"),
        (lambda: quantizer(ao_weight(FUSED), observing=True), "still observes"),
        (lambda: never_ran(ao_activation()), "never saw data"),
        (lambda: never_ran(ao_weight(FUSED)), "never saw data"),
        (lambda: quantizer(affine(is_dynamic=True, averaging_constant=1)), "dynamic"),
        (lambda: quantizer(affine()), r"codes \[-128, 127\] with a zero-point of -?\d+"),
        (lambda: quantizer(affine(**UINT8)), r"codes \[0, 255\] with a zero-point of \d+"),
        # The fused variant is not symmetric where there are no negative values.
        (lambda: quantizer(ao_activation(FUSED), torch.rand(9)), "zero-point of -128"),
        (lambda: quantizer(ao_activation(quant_min=-8, quant_max=7)), "only 16 codes"),
        (lambda: quantizer(affine(**UINT8), -torch.rand(9)), "zero-point of 255"),
        (
            lambda: quantizer(
                ao_weight(qscheme=torch.per_channel_affine_float_qparams, **UINT8),
                torch.randn(4, 3),
            ),
            "not integers, or differ",
        ),
        (lambda: quantizer(ao_weight(qscheme=torch.per_channel_affine)), "differ between"),
        (lambda: changed(scale=torch.tensor([float("nan")])), "NaN scale"),
        (lambda: changed(scale=torch.tensor([0.0])), r"a scale of 0\.0"),
        (lambda: changed(scale=torch.tensor([0.1]).half()), "torch.float16"),
        (
            lambda: learnable(ao.MinMaxObserver, -128, 127, dtype=torch.qint8),
            "_LearnableFakeQuantize",
        ),
    ],
)  # fmt: skip
def test_refused_by_name_with_a_way_out(make: Any, message: str) -> None:
    with pytest.raises(QuantizerError, match=message) as caught, ao_deprecated():
        read(make())
    assert "'conv.0'" in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize("kind", [ao.FakeQuantize, FUSED])
def test_disabled(kind: Any) -> None:
    made = quantizer(ao_activation(kind), observing=True)
    made.disable_fake_quant()
    assert read(made) is None


@pytest.mark.parametrize(
    ("constructor", "axis", "codes"),
    [
        (ao_activation(), None, (-128, 127)),
        (ao_activation(FUSED), None, (-128, 127)),
        (ao_activation(quant_min=-127), None, (-127, 127)),
        (ao_weight(), 0, (-128, 127)),
        (ao_weight(FUSED), 0, (-128, 127)),
        (ao_weight(ch_axis=1), 1, (-128, 127)),
        # reduce_range: seven bits.
        (ao_activation(FUSED, quant_min=-64, quant_max=63), None, (-64, 63)),
    ],
)
def test_scale_is_the_very_same(constructor: Any, axis: int | None, codes: tuple[int, int]) -> None:
    original = quantizer(constructor)
    found = read(original)
    assert found is not None
    assert (found.axis, found.low, found.high) == (axis, *codes)
    assert torch.equal(found.scale.flatten(), original.scale)
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    x = torch.randn(4, 3, 5, 5) * 2
    assert torch.equal(stand_in(x), original(x))


def test_scale_is_a_copy() -> None:
    original = quantizer()
    found = read(original)
    assert found is not None
    kept = found.scale.clone()
    original.scale.fill_(7.0)
    assert torch.equal(found.scale, kept)


@given(
    values=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=30),
    zero_point=st.integers(0, 127),
)
def test_seven_bits_around_any_zero_point(values: list[float], zero_point: int) -> None:
    """The default of prepare_qat on x86: unsigned codes [0, 127] with a zero-point."""
    original = quantizer(ao_activation(reduce_range=True, qscheme=torch.per_tensor_affine, **UINT8))
    original.scale.fill_(0.05)
    original.zero_point.fill_(zero_point)
    found = read(original)
    assert found is not None
    assert (found.low, found.high) == (-zero_point, 127 - zero_point)
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    x = torch.tensor(values)
    expected, actual = original(x), stand_in(x)
    # Ties apart: a half is rounded to even with or without the zero-point.
    position = x.double() / 0.05
    is_tie = (position - position.floor() - 0.5).abs() < 1e-4
    torch.testing.assert_close(actual[~is_tie], expected[~is_tie], rtol=0, atol=1e-6)


def test_unsigned_codes_around_128_are_int8() -> None:
    # Without bounds of its own: with them, PyTorch puts the zero-point to 127.
    options = {"observer": ao.MinMaxObserver, "qscheme": torch.per_tensor_symmetric}
    found = read(quantizer(ao.FakeQuantize.with_args(dtype=torch.quint8, **options)))
    assert found is not None
    assert (found.low, found.high) == (-128, 127)


def test_fused_scale_is_that_of_what_it_observed() -> None:
    """It overwrites its buffer in every call, so the buffer may be that of another range."""
    original = quantizer(ao_weight(FUSED))
    original.scale.fill_(7.0)
    found = read(original)
    assert found is not None
    x = torch.randn(4, 3, 5, 5)
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    assert torch.equal(stand_in(x), original(x))


def test_scale_set_by_hand_is_a_scale() -> None:
    made = never_ran(ao_activation())
    made.scale.fill_(0.25)
    found = read(made)
    assert found is not None
    assert found.scale == 0.25


def test_checkpoint_brings_scales_of_channels() -> None:
    state = ao_model().state_dict()
    torch.manual_seed(1)
    fresh = never_trained()
    assert fresh.state_dict()["conv2.weight_fake_quant.scale"].shape == (1,)
    fit_to_checkpoint(fresh, state)
    assert {key: value.shape for key, value in fresh.state_dict().items()} == {
        key: value.shape for key, value in state.items()
    }
    fresh.load_state_dict(state)
    found = read_quantizers(fresh)["conv2.weight_fake_quant"]
    assert found is not None
    assert torch.equal(found.scale, state["conv2.weight_fake_quant.scale"])


def never_trained() -> nn.Module:
    from tests.support.toolkits import Small

    model: Any = Small()
    with ao_deprecated():
        model.qconfig = ao.QConfig(ao_activation(), ao_weight())
        model = ao.fuse_modules_qat(model.train(), [["conv1", "bn1", "relu1"]])
        prepared: nn.Module = ao.prepare_qat(model)
    return prepared.eval()


def test_one_quantizer_under_two_names_is_replaced_under_both() -> None:
    shared = quantizer()
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    with replaced_quantizers(model, read_quantizers(model)) as stand_ins:
        assert list(stand_ins) == ["a"]
        assert model["a"] is model.get_submodule("b.0") is stand_ins["a"]
    assert model["a"] is model.get_submodule("b.0") is shared
