"""Where ``trtqat.quantize`` puts quantizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.computing import IMAGES, Computing, groups, layers, places, quantized
from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.quantize import Quantized


def test_a_chain_has_a_quantizer_before_each_layer_and_one_for_each_weight() -> None:
    found = quantized(lambda m, x: m.last(torch.relu(m.first(x))))
    assert groups(found) == {frozenset({"first.conv2d.input"}), frozenset({"last.conv2d.input"})}
    weights = [each for each in found.ranges if each.is_weight]
    assert {each.places for each in weights} == {
        ("first.conv2d.weight",),
        ("last.conv2d.weight",),
    }
    assert found.model.get_submodule("first.int8.weight").amax.shape == (8, 1, 1, 1)
    assert [layer.name for layer in layers(found)] == ["first", "last"]
    assert found.layers[0].macs == 8 * 8 * 8 * 8 * 9


def test_the_skip_operand_shares_the_quantizer_of_whoever_reads_it() -> None:
    def residual(m: Computing, x: Tensor) -> Tensor:
        x = torch.relu(m.first(x))
        y = torch.relu(m.bn(m.second(x)) + x)
        return m.end(y)

    found = quantized(residual)
    assert frozenset({"second.conv2d.input", "add.right"}) in groups(found)
    assert "add.left" not in places(found)


def test_of_two_layers_the_last_one_is_fused_with_the_sum() -> None:
    found = quantized(lambda m, x: m.last(torch.relu(m.second(m.first(x)) + m.narrow(x))))
    # narrow runs last, so it is the other operand that is quantized.
    assert "add.left" in places(found)
    assert "add.right" not in places(found)


@pytest.mark.parametrize(
    "compute",
    [
        lambda m, x: functional.layer_norm(m.first(x) + x, (8,)),
        lambda m, x: m.first(x) + x,
        lambda m, x: m.last(functional.gelu(m.first(x) + x)),
    ],
    ids=["norm", "output", "gelu"],
)
def test_a_sum_that_nobody_quantizes_stays_float(compute: Any) -> None:
    assert not {place for place in places(quantized(compute)) if place.startswith("add")}


@pytest.mark.parametrize("factor", [1, 1.0, 2.0])
def test_a_sum_is_seen_through_a_factor_of_one(factor: float) -> None:
    found = quantized(lambda m, x: m.last((x + m.first(x)) / factor))
    skip = {place for place in places(found) if place.startswith("add")}
    assert skip == ({"add.left"} if factor == 1 else set())


def test_a_sum_with_a_parameter_or_a_number_has_no_operand_to_quantize() -> None:
    found = quantized(lambda m, x: m.last(m.first(x) + m.position + 1.0))
    assert not {place for place in places(found) if place.startswith("add")}


def test_both_operands_of_a_sum_behind_activations_are_quantized() -> None:
    found = quantized(lambda m, x: m.last(functional.silu(m.first(x)) + torch.relu(m.second(x))))
    assert {"add.left", "add.right"} <= places(found)


def test_the_parts_of_a_concat_and_its_result_share_one_range() -> None:
    def joined(m: Computing, x: Tensor) -> Tensor:
        inner = torch.cat([torch.relu(m.first(x)), m.second(x)], 1)
        return functional.conv2d(torch.cat([inner, x], 1), torch.ones(2, 24, 1, 1))

    found = quantized(joined)
    (shared,) = (group for group in groups(found) if "cat.inputs" in group)
    # x is a part of the Concat, and so is read with the same range by the convolutions.
    assert shared == {
        "cat.inputs",
        "cat_1.inputs",
        "conv2d.input",
        "first.conv2d.input",
        "second.conv2d.input",
    }


@pytest.mark.parametrize(
    ("stack", "axis"), [(torch.hstack, 1), (torch.vstack, 0), (torch.dstack, 2)]
)
def test_a_stack_is_the_concat_that_it_is(stack: Any, axis: int) -> None:
    def joined(join: Callable[[list[Tensor]], Tensor]) -> Quantized:
        def compute(m: Computing, x: Tensor) -> Tensor:
            y = join([torch.relu(m.first(x)), x])
            return functional.conv2d(y, torch.ones(2, y.shape[1], 1, 1))

        return quantized(compute)

    found, other = joined(stack), joined(lambda parts: torch.cat(parts, axis))
    assert groups(found) == groups(other)
    assert "cat.inputs" in places(found)
    assert torch.equal(found.model(IMAGES), other.model(IMAGES))


@pytest.mark.parametrize("alpha", [1, 0.5])
def test_a_weighted_sum_has_its_skip_quantized(alpha: float) -> None:
    def before(m: Computing, x: Tensor) -> Tensor:
        return m.end(torch.add(m.first(x), torch.relu(x), alpha=alpha))

    def after(m: Computing, x: Tensor) -> Tensor:
        return m.end(x.add(m.first(x), alpha=alpha))

    assert "add.right" in places(quantized(before))
    assert "add.left" in places(quantized(after))
    for compute in (before, after):
        found = quantized(compute)
        for each in placed_quantizers(found.model):
            each.module.observer = lambda _: None
        torch.testing.assert_close(found.model(IMAGES), Computing(compute).eval()(IMAGES))


def test_a_concat_before_a_norm_stays_float() -> None:
    found = quantized(lambda m, x: m.last(m.bn(torch.cat([m.first(x)[:, :4], x[:, 4:]], 1))))
    assert "cat.inputs" not in places(found)


@pytest.mark.parametrize(
    ("pool", "place"),
    [
        (lambda y: functional.adaptive_avg_pool2d(y, 1).flatten(1), "adaptive_avg_pool2d.input"),
        (lambda y: y.mean((2, 3)), "mean.input"),
        (lambda y: functional.avg_pool2d(y, 8).flatten(1), "avg_pool2d.input"),
    ],
)
def test_a_pool_before_a_layer_is_quantized(pool: Callable[[Tensor], Tensor], place: str) -> None:
    assert place in places(quantized(lambda m, x: m.fc(pool(torch.relu(m.first(x))))))
    assert place not in places(quantized(lambda m, x: pool(torch.relu(m.first(x)))))


def test_channels_that_are_scaled_are_quantized_and_a_swish_is_not() -> None:
    def excited(m: Computing, x: Tensor) -> Tensor:
        y = torch.relu(m.first(x))
        return m.end(y * torch.sigmoid(m.narrow(y.mean((2, 3), keepdim=True))))

    found = quantized(excited)
    assert {"mul.left", "mul.right"} <= places(found)
    # The pool and the product read the same tensor.
    assert frozenset({"mean.input", "mul.left"}) in groups(found)
    swish = quantized(lambda m, x: m.last((y := m.first(x)) * torch.sigmoid(y)))
    assert not {place for place in places(swish) if place.startswith("mul")}


@pytest.mark.parametrize(
    "gated",
    [
        lambda a, b: a * torch.sigmoid(b),
        lambda a, b: functional.silu(a) * b,
        lambda a, b: torch.tanh(a).mul_(torch.sigmoid(b)),
        lambda a, b: functional.glu(torch.cat([a, b], 1), 1),
    ],
)
def test_a_gate_of_full_size_stays_float_and_its_product_is_quantized(gated: Any) -> None:
    # The architectures show that all layers around a gate are INT8 in a plan, without more.
    found = quantized(lambda m, x: m.last(gated(m.first(x), m.second(x))))
    assert places(found) == {f"{name}.conv2d.input" for name in ("first", "second", "last")}
    assert found.int8_share == 1


def test_a_max_pool_keeps_the_range_of_what_it_reads() -> None:
    def pooled(m: Computing, x: Tensor) -> Tensor:
        y = torch.relu(m.first(x))
        small = functional.max_pool2d(y, 2)
        made: Tensor = m.end(y).mean() + m.second(small).mean()
        return made

    assert frozenset({"last.conv2d.input", "second.conv2d.input"}) in groups(quantized(pooled))


def test_a_module_that_runs_twice_has_one_quantizer_for_both_runs() -> None:
    found = quantized(lambda m, x: m.last(100 * m.first(torch.relu(m.first(x)))))
    (group,) = (each for each in groups(found) if "first.conv2d.input" in each)
    assert group == {"first.conv2d.input"}
    assert found.layers[0].macs == 2 * 8 * 8 * 8 * 8 * 9


def test_products_of_activations_are_quantized_on_both_sides() -> None:
    def attend(m: Computing, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        return functional.softmax(tokens @ tokens.transpose(1, 2), -1) @ tokens

    found = quantized(attend)
    # A tensor and its transpose are one.
    assert groups(found) == {
        frozenset({"matmul.left", "matmul.right", "matmul_1.right"}),
        frozenset({"matmul_1.left"}),
    }


def test_sdpa_has_the_probabilities_as_a_fourth_operand() -> None:
    def attend(m: Computing, x: Tensor) -> Tensor:
        q = x.flatten(2)
        return functional.scaled_dot_product_attention(q, q * 2, q + 1)

    assert places(quantized(attend)) == {
        f"attention.{operand}" for operand in ("query", "key", "value", "probabilities")
    }
