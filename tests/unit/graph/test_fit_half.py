"""Codes that stay the host's, whatever of their arithmetic an engine does in FP16."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import permutations, product

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.any_pixels import any_pixels, numbers
from tests.support.pixel_graphs import every_byte, quantizing_graph
from tests.support.taken_pixels import BY_HALVES, BY_PLANES, IMAGENET, run, taken
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.pixels.fit import Wanted
from trtqat.graph.pixels.fit_half import MIDDLE, HalfLine, fit_half
from trtqat.graph.pixels.forms import CHOICES
from trtqat.graph.pixels.take_pixels import take_pixels
from trtqat.numerics import quantize
from trtqat.pixels import Pixels, prefix_of_half_nodes
from trtqat.tensors import Array

# What a node's result is rounded to; not at all, where it is one with the node that reads it.
ROUNDED = (np.float16, np.float32, np.float64)
OPERATORS: dict[str, Callable[..., Array]] = {
    "Sub": operator.sub, "Mul": operator.mul, "Add": operator.add, "Round": np.rint,
}  # fmt: skip


def floats_of_codes(model: ir.Model, dtypes: Iterable[type]) -> list[Array]:
    """What each channel's nodes make of all bytes, each node rounded to a dtype of its own."""
    done: dict[str, Array] = {}
    kinds = iter(dtypes)

    def given_to(node: ir.Node, kind: type) -> list[Array]:
        found = []
        for value in node.inputs:
            assert value is not None
            constant = constant_array(value)
            # In the precision of its node.
            array = done[str(value.name)] if constant is None else constant.astype(kind)
            found.append(array.astype(np.float64))
        return found

    for node in model.graph:
        (made,) = node.outputs
        if node.op_type == "Gather":
            done[str(made.name)] = np.arange(256, dtype=np.float64)
        elif node.op_type == "Unsqueeze":
            (done[str(made.name)], *_) = given_to(node, np.int64)
        elif node.op_type in OPERATORS:
            kind = next(kinds)
            done[str(made.name)] = OPERATORS[node.op_type](*given_to(node, kind)).astype(kind)
        elif node.op_type == "Concat":
            return given_to(node, np.float64)
    raise AssertionError("no Concat")


@given(
    any_pixels(("nhwc",)),
    numbers(0.002, 0.5),
    st.lists(st.sampled_from(ROUNDED), min_size=40, max_size=40),
)
def test_codes_survive_whatever_is_rounded_to_fp16(
    pixels: Pixels, scale: float, dtypes: list[type]
) -> None:
    expected = quantize(pixels.table(3), scale)
    if fit_half(Wanted(pixels.table(3), scale)) is None:
        return
    model = quantizing_graph(scale)
    assert taken(model, pixels, BY_HALVES).form == BY_HALVES
    for kinds in (dtypes, [np.float16] * 40):
        for found, codes in zip(floats_of_codes(model, kinds), expected, strict=True):
            np.testing.assert_array_equal(quantize(found.astype(np.float32), scale), codes)


@given(any_pixels(("nhwc",)), numbers(0.002, 0.5))
def test_onnx_runtime_computes_the_codes_of_the_host(pixels: Pixels, scale: float) -> None:
    if fit_half(Wanted(pixels.table(3), scale)) is None:
        return
    model = quantizing_graph(scale)
    taken(model, pixels, BY_HALVES)
    x = every_byte(pixels)
    expected = quantize(pixels.normalise(x), scale).astype(np.float32) * np.float32(scale)
    for as_written in (True, False):
        np.testing.assert_array_equal(run(model, x, as_written=as_written), expected)


def in_fp16(value: Array | float, *, flushes: bool) -> Array:
    """Rounded to FP16; 0 where an engine flushes what has not all of its bits."""
    half = np.asarray(value).astype(np.float16)
    return np.where(np.abs(half) < 2.0**-14, 0, half) if flushes else half


def codes_in_another_order(
    line: HalfLine, order: Sequence[int], *, fuses: bool, flushes: bool
) -> Array:
    """The formula in FP16, with the terms of both sums in that order."""
    half = partial(in_fp16, flushes=flushes)
    q = half(np.arange(256) - float(MIDDLE))
    part = half(half(q * half(line.high)) + half(line.base))
    rounded = np.rint(part)
    product = q.astype(np.float64) * half(line.low)
    terms = [product if fuses else half(product), half(line.shift), half(part - rounded)]
    first, second, third = (terms[place].astype(np.float64) for place in order if place < 3)
    rest = np.rint(half(half(first + second) + third.astype(np.float16)))
    whole = [half(q * half(line.times)), rounded, rest, half(line.whole)]
    a, b, c, d = (whole[place] for place in order)
    return half(half(half(a + b) + c) + d)


# One fell below FP16's full numbers, where it may become 0, another one in the order of a sum.
NEAR = [
    (Pixels("nhwc", (1.2481861,), (2.5096212,), 256.0), 0.056977868),
    (Pixels("nhwc", (0.38301779,), (0.47862016,), 255.0), 0.0082133169),
    (Pixels("nhwc", (0.26555419,), (0.4403469,), 255.0), 0.0044485666),
    (Pixels("nhwc", (136.52292,), (64.588712,), 3.7), 0.15906764),
    (Pixels("nhwc", (0.43521906,), (0.13659182,), 255.0), 0.2298426),
]


@pytest.mark.parametrize(("pixels", "scale"), NEAR)
def test_codes_survive_whatever_is_added_first_fused_or_flushed(
    pixels: Pixels, scale: float
) -> None:
    wanted = Wanted(pixels.table(1), scale)
    lines = fit_half(wanted)
    assert lines is not None
    for order, fuses, flushes in product(permutations(range(4)), (False, True), (False, True)):
        codes = codes_in_another_order(lines[0], order, fuses=fuses, flushes=flushes)
        np.testing.assert_array_equal(np.clip(codes, -128, 127), wanted.codes[0])


def test_usual_normalisations_have_such_a_form() -> None:
    """And where one has not, FP32 is held to."""
    generator = np.random.default_rng(7)
    none = 0
    for _ in range(200):
        mean, std = generator.uniform(0.3, 0.6, 3), generator.uniform(0.15, 0.35, 3)
        table = Pixels("nhwc", tuple(mean), tuple(std)).table(3)
        scale = float(np.abs(table).max() * generator.uniform(0.5, 1.1) / 127)
        none += fit_half(Wanted(table, scale)) is None
    assert none <= 6


def test_what_is_nothing_has_no_node() -> None:
    """Each takes its time on the GPU."""
    counts = set()
    for scale in (0.0392, 0.0208, 0.012):
        lines = fit_half(Wanted(Pixels("nhwc", *IMAGENET).table(3), scale))
        assert lines is not None
        model = quantizing_graph(scale)
        taken(model, Pixels("nhwc", *IMAGENET), BY_HALVES)
        arithmetic = [node.op_type for node in model.graph if node.op_type in OPERATORS]
        more = sum(
            (line.times != 0) + (line.times not in (0, 1)) + (line.whole != 0) for line in lines
        )
        assert len(arithmetic) == 3 * 11 + more
        counts.add(more)
    assert 0 in counts
    assert len(counts) > 1


def test_plain_arithmetic_in_fp16_has_other_codes() -> None:
    """What the form is there for."""
    table = Pixels("nhwc", *IMAGENET).table(3)
    scale = 2.64 / 127
    slope, shift = np.float16((table[:, 255:] - table[:, :1]) / 255), np.float16(table[:, :1])
    plain = np.arange(256, dtype=np.float16) * slope + shift
    assert plain.dtype == np.float16
    assert (quantize(plain.astype(np.float32), scale) != quantize(table, scale)).sum() > 9
    assert fit_half(Wanted(table, scale)) is not None


@pytest.mark.parametrize(
    ("pixels", "scale"),
    [
        # Halves round to even: up, down, up.
        (Pixels("nhwc", (64.0,), (1.0,), scale=1.0), 2.0),
        # A 127th part of it is none of FP16's full numbers.
        (Pixels("nhwc", (0.5,), (2000.0,)), 2e-6),
        # Sums that are no whole numbers of FP16.
        (Pixels("nhwc", (0.0,), (0.01,)), 0.002),
    ],
    ids=["ties", "small scale", "many codes a byte"],
)
def test_where_fp16_does_not_hold_it_planes_are_next(pixels: Pixels, scale: float) -> None:
    assert fit_half(Wanted(pixels.table(3), scale)) is None
    found = take_pixels(quantizing_graph(scale), {"x": pixels}, CHOICES["8.6"]).inputs["x"]
    assert found.form != BY_HALVES


def test_an_older_graph_gets_planes() -> None:
    """It has no Round."""
    pixels = Pixels("nhwc", *IMAGENET)
    for opset, form in ((10, BY_PLANES), (11, BY_HALVES)):
        model = quantizing_graph(0.02, opset=opset)
        assert taken(model, pixels, BY_HALVES, BY_PLANES).form == form


def test_the_builder_knows_its_nodes_by_their_names() -> None:
    model = quantizing_graph(0.02)
    before = {name_of(node) for node in model.graph}
    taken(model, Pixels("nhwc", *IMAGENET), BY_HALVES)
    more = [name_of(node) for node in model.graph if name_of(node) not in before]
    assert len(more) > 30
    assert all(name.startswith(prefix_of_half_nodes("x")) for name in more)
