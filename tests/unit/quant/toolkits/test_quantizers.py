"""What a trained quantizer says, and which ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trtqat.errors import QuantizerError
from trtqat.quant.fake_quantize import FakeQuantize
from trtqat.quant.toolkits.quantizers import AMAX_FLOOR, Quantizer, read_quantizers
from trtqat.quant.toolkits.replacement import replaced_quantizers
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit


def toolkit_quantizer(amax: object = 3.0, **descriptor: Any) -> Any:
    toolkit = load_toolkit()
    with quiet_toolkit():
        made = toolkit.nn.TensorQuantizer(toolkit.tensor_quant.QuantDescriptor(**descriptor))
    if amax is not None:
        made.register_buffer("_amax", torch.as_tensor(amax))
    return made.eval()


def read(quantizer: Any) -> Quantizer | None:
    return read_quantizers(nn.ModuleDict({"conv": nn.Sequential(quantizer)}))["conv.0"]


def state(**changes: object) -> Any:
    quantizer = toolkit_quantizer()
    for name, value in changes.items():
        setattr(quantizer, name, value)
    return quantizer


def with_number() -> Any:
    quantizer = toolkit_quantizer(None)
    quantizer._amax = 2.5
    return quantizer


def clipping_alone() -> Any:
    quantizer = toolkit_quantizer(None, learn_amax=True)
    quantizer.disable_quant()
    return quantizer


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (lambda: toolkit_quantizer(None), "has no amax: it was not calibrated"),
        (lambda: toolkit_quantizer(float("nan")), "NaN amax"),
        (lambda: toolkit_quantizer(float("inf")), "amax of inf"),
        (lambda: toolkit_quantizer(-1.0), r"amax of -1\.0"),
        (lambda: toolkit_quantizer(torch.tensor(2.0).half()), "torch.float16"),
        (lambda: toolkit_quantizer(unsigned=True), "unsigned 8-bit"),
        (lambda: toolkit_quantizer(num_bits=4), "signed 4-bit"),
        (lambda: toolkit_quantizer(torch.ones(4, 3, 1, 1)), r"axes \[0, 1\]"),
        (lambda: toolkit_quantizer(torch.ones(4)), r"shape \(4,\)"),
        (lambda: state(_if_calib=True), "calibration mode"),
        (lambda: state(_fake_quant=False), "codes instead of"),
        (lambda: with_number(), "a float for its amax"),
        (lambda: clipping_alone(), "clips to its learned range, but does not quantize"),
    ],
)
def test_refused_by_name_with_a_way_out(quantizer: Any, message: str) -> None:
    with pytest.raises(QuantizerError, match=message) as caught:
        read(quantizer())
    assert "'conv.0'" in caught.value.problem
    assert caught.value.remedy


def test_per_tensor_and_per_channel() -> None:
    per_tensor = read(toolkit_quantizer(torch.tensor([[[[2.54]]]])))
    assert per_tensor is not None
    assert per_tensor.axis is None
    assert per_tensor.scale.item() == pytest.approx(0.02)
    per_channel = read(toolkit_quantizer(torch.tensor([1.27, 2.54]).reshape(1, 2, 1, 1)))
    assert per_channel is not None
    assert per_channel.axis == 1
    assert per_channel.scale.tolist() == pytest.approx([0.01, 0.02])


@pytest.mark.parametrize("change", [{"_disabled": True}, {"_if_quant": False}])
def test_disabled(change: dict[str, object]) -> None:
    assert read(state(**change)) is None


def test_zero_amax_gets_a_floor_and_a_note() -> None:
    found = read(toolkit_quantizer(torch.tensor([0.0, 1.0]).reshape(2, 1)))
    assert found is not None
    assert (found.scale * 127).tolist() == pytest.approx([AMAX_FLOOR, 1.0])
    assert "1 of 2 channels" in found.notes[0]
    # What the toolkit makes zero stays below its own epsilon.
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    assert stand_in(torch.full((2, 3), 5.0))[0].abs().max() <= AMAX_FLOOR * 1.01


@pytest.mark.parametrize("by_operator", [False, True])
def test_narrow_range_is_what_the_toolkit_makes_of_it(
    by_operator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_toolkit().nn.TensorQuantizer, "use_fb_fake_quant", by_operator)
    quantizer = toolkit_quantizer(1.27, narrow_range=True)
    found = read(quantizer)
    assert found is not None
    x = torch.tensor([-2.0, -1.27, 2.0])
    with quiet_toolkit():
        expected = quantizer(x)
    torch.testing.assert_close(found.stand_in()(x), expected)


def test_scaled_amax() -> None:
    found = read(toolkit_quantizer(2.0, scale_amax=0.5))
    assert found is not None
    assert found.scale.item() == pytest.approx(1.0 / 127)


@pytest.mark.parametrize(
    ("lower", "upper", "codes"), [(-2.0, 2.0, (-127, 127)), (-1.0, 2.0, (-63.5, 127))]
)
def test_learned_range(lower: float, upper: float, codes: tuple[float, float]) -> None:
    quantizer = toolkit_quantizer(None, learn_amax=True)
    quantizer.clip.clip_value_min.data.fill_(lower)
    quantizer.clip.clip_value_max.data.fill_(upper)
    found = read(quantizer)
    assert found is not None
    assert found.scale.item() == pytest.approx(2.0 / 127)
    assert (found.low, found.high) == codes


@given(
    values=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=40),
    amax=st.floats(2**-10, 8, width=32),
    narrow=st.booleans(),
)
def test_stand_in_gives_the_codes_of_the_toolkit(
    values: list[float], amax: float, narrow: bool
) -> None:
    """Equal but for ties: x·(127/amax) and x/(amax/127) round apart in the last bit."""
    x = torch.tensor(values)
    quantizer = toolkit_quantizer(amax, narrow_range=narrow)
    found = read(quantizer)
    assert found is not None
    stand_in = FakeQuantize("q", found.scale, found.axis, found.low, found.high)
    expected = torch.round(quantizer(x) / found.scale)
    actual = torch.round(stand_in(x) / found.scale)
    position = x.double() * 127 / amax
    is_tie = (position - position.floor() - 0.5).abs() < 1e-4
    assert torch.equal(actual[~is_tie], expected[~is_tie])
    assert (actual - expected).abs().max() <= 1


def test_stand_ins_answer_what_forward_may_ask() -> None:
    model: Any = nn.Sequential(toolkit_quantizer(3.0), state(_disabled=True))
    with replaced_quantizers(model, read_quantizers(model)):
        assert [each._disabled for each in model] == [False, True]
        assert [float(each.amax) for each in model] == [3.0, 3.0]
        assert not hasattr(model[0], "no_such_thing")
        assert list(dict(model.named_modules())) == ["", "0", "1"]


def test_stand_ins_are_taken_out_again() -> None:
    model = nn.Sequential(toolkit_quantizer(), nn.ReLU(), state(_disabled=True))
    before = list(model)

    def fail_midway() -> None:
        with replaced_quantizers(model, read_quantizers(model)) as stand_ins:
            assert list(stand_ins) == ["0"]
            assert isinstance(model[0], FakeQuantize)
            assert isinstance(model[2], nn.Identity)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert list(model) == before
