from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trtqat.errors import QuantizerError, UsageError
from trtqat.quant.toolkits.pytorch_quantization import is_quantizer
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.quant.training import calibrate, insert_quantizers

# With the layers that TensorRT 8.6 builds only in floating point.
insert = partial(insert_quantizers, transposed=True)


class Mixed(nn.Module):
    """A layer of each kind, one of them used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.shared = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.again = self.shared
        self.average = nn.AvgPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.norm(self.first(x)))
        x = self.pool(self.average(self.again(self.shared(x))))
        y: torch.Tensor = self.head(x.flatten(1))
        return y


LAYERS = ["first", "up", "shared", "average", "pool", "head.0", "head.2"]


@pytest.fixture
def model() -> Mixed:
    torch.manual_seed(0)
    return Mixed()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def quantizers(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if is_quantizer(module)}


class TestInsert:
    def test_replaces_each_layer_once(self, model: Mixed) -> None:
        assert insert(model) == LAYERS
        assert type(model.first).__name__ == "QuantConv2d"
        assert type(model.norm) is nn.BatchNorm2d
        assert model.again is model.shared
        # Two for each of five layers with a weight, one for each of two pools.
        assert len(quantizers(model)) == 12

    def test_keeps_parameters_buffers_and_mode(self, model: Mixed) -> None:
        before = dict(model.named_parameters())
        names = list(model.state_dict())
        model.up.eval()
        insert(model)
        after = dict(model.named_parameters())
        assert list(after) == list(before)
        assert all(after[name] is before[name] for name in before)
        assert list(model.state_dict()) == names
        assert model.first.training
        assert model.first.get_submodule("_input_quantizer").training
        assert not model.up.training
        assert not model.up.get_submodule("_input_quantizer").training

    def test_leaves_the_original_layer_alone(self, model: Mixed) -> None:
        original = model.head[0]
        insert(model)
        assert type(original) is nn.Linear
        assert not list(original.children())  # no quantizer in it

    def test_computes_the_same_without_quantization(self, model: Mixed, x: torch.Tensor) -> None:
        model.eval()
        expected = model(x)
        insert(model)
        for quantizer in quantizers(model).values():
            quantizer.disable()
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)

    def test_a_second_call_changes_nothing(self, model: Mixed) -> None:
        insert(model)
        before = dict(model.named_modules())
        assert insert(model) == []
        assert dict(model.named_modules()) == before

    def test_skip(self, model: Mixed) -> None:
        replaced = insert(model, skip=["head.*", "again"])
        assert replaced == ["first", "up", "average", "pool"]
        assert type(model.shared) is nn.Conv2d

    def test_skip_that_matches_nothing(self, model: Mixed) -> None:
        with pytest.raises(QuantizerError, match=r"'heads\.\*' matches no layer"):
            insert(model, skip=["first", "heads.*"])
        assert not quantizers(model)

    def test_derived_layers_stay(self) -> None:
        model = nn.TransformerEncoderLayer(8, 2, 16)
        assert insert(model) == ["linear1", "linear2"]

    @pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
    def test_padding_that_the_toolkit_gets_wrong(
        self, mode: Literal["reflect", "replicate", "circular"]
    ) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode))
        with pytest.raises(QuantizerError, match=f"Layer '1' pads with '{mode}'"):
            insert(model)
        assert not quantizers(model)
        assert insert(model, skip=["1"]) == ["0"]

    def test_a_single_layer_is_no_model(self) -> None:
        with pytest.raises(QuantizerError, match="single Linear"):
            insert(nn.Linear(2, 2))

    @pytest.mark.parametrize(
        ("layer", "shape"),
        [
            (nn.Conv1d(3, 4, 3), (2, 3, 9)),
            (nn.Conv3d(3, 4, 3), (2, 3, 5, 5, 5)),
            (nn.ConvTranspose1d(3, 4, 3), (2, 3, 9)),
            (nn.ConvTranspose3d(3, 4, 3), (2, 3, 5, 5, 5)),
            (nn.AvgPool1d(3), (2, 3, 9)),
            (nn.AvgPool3d(3), (2, 3, 5, 5, 5)),
            (nn.AdaptiveAvgPool1d(3), (2, 3, 9)),
            (nn.AdaptiveAvgPool3d(3), (2, 3, 5, 5, 5)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_other_dimensions(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        model = nn.Sequential(layer).eval()
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        expected = model(x)
        assert insert(model) == ["0"]
        calibrate(model, [x])
        difference = (model(x) - expected).abs().max()
        assert 0 < difference < 0.05 * expected.abs().max()


class TestCalibrate:
    def test_amax_is_the_largest_value(self, model: Mixed, x: torch.Tensor) -> None:
        insert(model)
        calibrate(model, [x, -3 * x, x])
        found = read_quantizers(model)
        assert len(found) == 12
        first = found["first._input_quantizer"]
        assert first is not None
        assert first.axis is None
        torch.testing.assert_close(first.scale, 3 * x.abs().max() / 127, rtol=0, atol=0)
        weight = found["first._weight_quantizer"]
        assert weight is not None
        assert weight.axis == 0
        largest = model.first.weight.detach().abs().amax((1, 2, 3))
        torch.testing.assert_close(weight.scale, largest / 127, rtol=0, atol=0)
        up = found["up._weight_quantizer"]
        assert up is not None
        assert up.axis is None
        assert up.scale == model.up.weight.abs().max() / 127
        assert (weight.low, weight.high) == (-128.0, 127.0)

    def test_calibrates_in_eval_mode_and_restores(self, model: Mixed, x: torch.Tensor) -> None:
        insert(model)
        model.train()
        model.norm.eval()
        modes = {name: module.training for name, module in model.named_modules()}
        mean = model.norm.running_mean.clone()  # type: ignore[union-attr]
        seen = []
        model.norm.register_forward_hook(lambda module, *_: seen.append(module.training))
        model.first.register_forward_hook(lambda module, *_: seen.append(module.training))
        calibrate(model, [x])
        assert seen == [False, False]
        assert {name: module.training for name, module in model.named_modules()} == modes
        torch.testing.assert_close(model.norm.running_mean, mean, rtol=0, atol=0)
        assert all(q._if_quant and not q._if_calib for q in quantizers(model).values())
        assert all(not q._amax.requires_grad for q in quantizers(model).values())

    def test_calibrates_on_values_that_are_not_quantized(
        self, model: Mixed, x: torch.Tensor
    ) -> None:
        insert(model)
        calibrate(model, [100 * x])
        calibrate(model, [x])
        fresh = copy.deepcopy(model)
        for quantizer in quantizers(fresh).values():
            del quantizer._amax
        calibrate(fresh, [x])
        # A second calibration forgets the first, and does not see its rounding.
        for name, quantizer in quantizers(model).items():
            torch.testing.assert_close(
                quantizer._amax, fresh.get_submodule(name)._amax, rtol=0, atol=0
            )

    def test_batches_as_tensors_tuples_and_dicts(self) -> None:
        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

            def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
                y: torch.Tensor = self.left(left) + self.right(right)
                return y

        model = Two()
        insert(model)
        one, two = torch.ones(1, 2), 2 * torch.ones(1, 2)
        calibrate(model, [(one, two), [two, one], {"right": 5 * one, "left": one}])
        assert quantizers(model)["left._input_quantizer"]._amax == 2
        assert quantizers(model)["right._input_quantizer"]._amax == 5
        single = nn.Sequential(nn.Linear(2, 2))
        insert_quantizers(single)
        calibrate(single, (batch for batch in [two]))
        assert quantizers(single)["0._input_quantizer"]._amax == 2

    def test_histogram_leaves_outliers_out(self) -> None:
        model = nn.Sequential(nn.Linear(100, 2))
        insert(model, calibrator="histogram")
        data = torch.rand(1000, 100, generator=torch.Generator().manual_seed(0))
        data[0, 0] = 1.5
        calibrate(model, [data, data])
        amax = quantizers(model)["0._input_quantizer"]._amax
        assert amax.shape == ()
        assert 0.99 < float(amax) < 1.01
        weight = quantizers(model)["0._weight_quantizer"]._amax
        largest = model.get_parameter("0.weight").detach().abs().amax(1)
        torch.testing.assert_close(weight.flatten(), largest, rtol=0, atol=0)

    def test_histogram_that_begins_with_zeros(self) -> None:
        model = nn.Sequential(nn.Linear(4, 2))
        insert(model, calibrator="histogram")
        with pytest.raises(QuantizerError, match=r"'0\._input_quantizer' saw only zeros"):
            calibrate(model, [torch.zeros(2, 4), torch.ones(2, 4)])

    def test_a_quantizer_without_data_is_named(self, x: torch.Tensor) -> None:
        class Idle(Mixed):
            def __init__(self) -> None:
                super().__init__()
                self.idle = nn.Linear(2, 2)

        model = Idle()
        insert(model)
        with pytest.raises(QuantizerError, match=r"'idle\._input_quantizer' saw no data"):
            calibrate(model, [x])
        assert all(not hasattr(q, "_amax") for q in quantizers(model).values())
        assert all(q._if_quant and not q._if_calib for q in quantizers(model).values())
        assert model.training

    def test_failure_restores(self, model: Mixed, x: torch.Tensor) -> None:
        insert(model)

        def batches() -> Iterator[torch.Tensor]:
            yield x
            raise OSError("disk")

        with pytest.raises(OSError, match="disk"):
            calibrate(model, batches())
        assert model.training
        assert all(q._if_quant and not q._if_calib for q in quantizers(model).values())

    def test_nothing_to_calibrate(self, model: Mixed) -> None:
        with pytest.raises(QuantizerError, match="no quantizer"):
            calibrate(model, [torch.zeros(1, 3, 8, 8)])
        insert(model)
        with pytest.raises(QuantizerError, match="no batch"):
            calibrate(model, [])

    def test_values_that_are_not_finite(self, model: Mixed, x: torch.Tensor) -> None:
        insert(model)
        x[0, 0, 0, 0] = float("nan")
        with pytest.raises(QuantizerError, match=r"'first\._input_quantizer' .* not finite"):
            calibrate(model, [x])

    def test_disabled_quantizers_stay_so(self, model: Mixed, x: torch.Tensor) -> None:
        insert(model)
        disabled = quantizers(model)["pool._input_quantizer"]
        disabled.disable()
        calibrate(model, [x])
        assert disabled._disabled
        assert not hasattr(disabled, "_amax")

    def test_checkpoint_loads_into_an_uncalibrated_model(
        self, model: Mixed, x: torch.Tensor
    ) -> None:
        insert(model)
        calibrate(model, [x])
        fresh = Mixed()
        insert(fresh)
        state = model.state_dict()
        fit_to_checkpoint(fresh, state)
        with quiet_toolkit():
            fresh.load_state_dict(state)
        torch.testing.assert_close(fresh.eval()(x), model.eval()(x), rtol=0, atol=0)

    @settings(deadline=None)  # a busy host has no time to keep
    @given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
    def test_error_is_at_most_half_a_step(self, scale: float, seed: int) -> None:
        model = nn.Sequential(nn.AdaptiveAvgPool1d(16))  # averages of one value: an identity
        insert(model)
        x = scale * torch.randn(2, 16, generator=torch.Generator().manual_seed(seed))
        calibrate(model, [x])
        step = float(x.abs().max()) / 127
        assert float((model(x) - x).abs().max()) <= 0.5001 * step
        assert float((model(100 * x) / step).max()) == pytest.approx(127, abs=1e-3)
        assert float((model(100 * x) / step).min()) == pytest.approx(-128, abs=1e-3)


@pytest.mark.parametrize("calibrator", ["max", "histogram"])
@pytest.mark.parametrize("batch", [torch.full((1, 3, 4, 4), torch.nan), torch.ones(1, 2, 4, 4)])
def test_a_batch_that_forward_cannot_take_is_told(batch: torch.Tensor, calibrator: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    insert(model, calibrator=calibrator)
    with pytest.raises(QuantizerError, match=r"not finite|on batch 1 of the calibration"):
        calibrate(model, [batch])
    with pytest.raises(UsageError, match="The batches are a single Tensor"):
        calibrate(model, batch)


def test_calibration_batches_with_labels_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    insert(model)
    with pytest.raises(QuantizerError, match="does not take a batch for calibration") as error:
        calibrate(model, [(torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))])
    assert "leave the labels out" in error.value.remedy
