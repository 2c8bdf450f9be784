"""Each form in which a graph may take bytes, and which is chosen for whom."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.pixel_graphs import every_byte, quantizing_graph
from tests.support.taken_pixels import (
    AFFINE_FIRST,
    BY_CHANNELS,
    DIVIDE_FIRST,
    IMAGENET,
    TABLE_FIRST,
    run,
    taken,
)
from trtqat.errors import GraphError
from trtqat.graph.lint import lint
from trtqat.graph.pixels.arithmetic import AFFINE, LAYER, TABLE, Way
from trtqat.graph.pixels.fit import Wanted
from trtqat.graph.pixels.forms import CHOICES, FORMS, Form, choice_for, forms_for, only
from trtqat.graph.pixels.take_pixels import TakenInput, take_pixels
from trtqat.graph_file.serialized import serialize
from trtqat.numerics import quantize
from trtqat.pixels import LAYOUTS, Layout, Pixels
from trtqat.runtime.onnx_model import OnnxModel

TAKEN = [(form, layout) for form in FORMS for layout in LAYOUTS if form.takes(layout)]


def warned_of(model: ir.Model) -> set[str]:
    return {each.rule for each in lint(model) if each.severity == "warning"}


@pytest.mark.parametrize("bgr", [False, True], ids=["rgb", "bgr"])
@pytest.mark.parametrize(("form", "layout"), TAKEN, ids=lambda it: getattr(it, "name", it))
def test_every_form_gives_the_codes(form: Form, layout: Layout, bgr: bool) -> None:
    pixels = Pixels(layout, *IMAGENET, bgr=bgr)
    scale, x = 2.64 / 127, every_byte(pixels)
    model = quantizing_graph(scale)
    found = taken(model, pixels, form)
    assert found == TakenInput(form, 3, True, found.near_borders, found.fewest_codes)
    assert found.fewest_codes == min(
        len(np.unique(quantize(each, scale))) for each in pixels.table(3)
    )
    expected = quantize(pixels.normalise(x), scale).astype(np.float32) * np.float32(scale)
    np.testing.assert_array_equal(run(model, x, as_written=True), expected)
    (image,) = model.graph.inputs
    assert image.dtype is ir.DataType.UINT8
    assert list(image.shape or ())[1:] == list(x.shape[1:])
    # A reader of the graph finds the pair where it was.
    assert {"quantize", "dequantize"} <= {node.name for node in model.graph}
    # Lint warns of what stands between the halves of a pair, as TensorRT 8.6 may.
    is_inside = layout == "nhwc" and form.transposed == "last"
    more = warned_of(model) - warned_of(quantizing_graph(scale))
    assert more == ({"node-inside-pair"} if is_inside else set())


@pytest.mark.parametrize(("form", "layout"), TAKEN, ids=lambda it: getattr(it, "name", it))
def test_open_sizes_stay_open(form: Form, layout: Layout) -> None:
    """One graph for every number of images, height and width."""
    pixels = Pixels(layout, *IMAGENET, bgr=True)
    model = quantizing_graph(0.02, size=None)
    taken(model, pixels, form)
    with OnnxModel(serialize(model), as_written=True) as loaded:
        for count, height, width in ((1, 16, 16), (3, 5, 7)):
            x = every_byte(pixels).repeat(count, axis=0)
            x = x[:, :height, :width] if layout == "nhwc" else x[:, :, :height, :width]
            (found,) = loaded.session(count).run({"x": x}).values()
            codes = quantize(pixels.normalise(x), 0.02)
            np.testing.assert_array_equal(found, codes.astype(np.float32) * np.float32(0.02))


def test_nchw_is_for_the_next_form() -> None:
    """What makes NCHW of NHWC has nothing to do there."""
    pixels = Pixels("nchw", *IMAGENET)
    found = taken(quantizing_graph(0.02), pixels, BY_CHANNELS, AFFINE_FIRST)
    assert found.form == AFFINE_FIRST
    with pytest.raises(GraphError, match=r"of NCHW bytes \(channels\)"):
        taken(quantizing_graph(0.02), pixels, BY_CHANNELS)


def test_which_forms_differ_in_a_layout() -> None:
    assert forms_for("nhwc") == FORMS
    assert {form.name for form in forms_for("nchw")} == {
        *("divide-first", "affine-first", "table-first", "planes", "layer-first"),
    }


@pytest.mark.parametrize(
    ("form", "layout"),
    [(form, layout) for form, layout in TAKEN if form.way.opset <= 10],
    ids=lambda it: getattr(it, "name", it),
)
def test_older_opsets(form: Form, layout: Layout) -> None:
    """As graphs of other tools have them; 10 is the first with QuantizeLinear."""
    pixels = Pixels(layout, *IMAGENET, bgr=True)
    model = quantizing_graph(0.02, opset=10)
    taken(model, pixels, form)
    x = every_byte(pixels)
    codes = quantize(pixels.normalise(x), 0.02)
    found = run(model, x, as_written=True)
    np.testing.assert_array_equal(found, codes.astype(np.float32) * np.float32(0.02))


def test_only_the_way_that_divides_is_at_the_mercy_of_the_engine() -> None:
    """A byte that normalises to half a code: 1 / 2 and its reciprocal's product part there."""
    pixels = Pixels("nchw", (0.0,), (1.0,), scale=3.0)
    scale = 1 / 3 / 4.5  # 4.5 codes a byte: half of them lie on a border
    found = taken(quantizing_graph(scale), pixels, DIVIDE_FIRST)
    assert found.near_borders >= 3 * 10
    notes = take_pixels(quantizing_graph(scale), {"x": pixels}, only(DIVIDE_FIRST)).notes
    assert len(notes) == 1
    assert f"{found.near_borders} of the 768 codes" in notes[0]
    # What differs where an engine multiplies by reciprocals is among those that were counted.
    table = pixels.table(1)
    wanted = Wanted(table, scale)
    reciprocal = np.arange(256, dtype=np.float32) * (np.float32(1) / np.float32(3))
    other = np.clip(np.rint(reciprocal * (np.float32(1) / np.float32(scale))), -128, 127)
    assert (other != wanted.codes).sum() <= wanted.near_borders()


@pytest.mark.parametrize("way", [AFFINE, LAYER], ids=lambda way: way.name)
@pytest.mark.parametrize("table", [TABLE_FIRST, BY_CHANNELS], ids=lambda form: form.name)
def test_ties_are_for_a_table(way: Way, table: Form) -> None:
    """Halves round to even: up, down, up. No line does that, and a table can."""
    pixels = Pixels("nhwc", (64.0,), (1.0,), scale=1.0)
    model = quantizing_graph(2.0)
    with pytest.raises(GraphError, match="No form gives the codes"):
        taken(quantizing_graph(2.0), pixels, Form(way))
    found = taken(model, pixels, Form(way), table)
    assert (found.form, found.near_borders) == (table, 0)
    x = every_byte(pixels)
    expected = quantize(pixels.normalise(x), 2.0).astype(np.float32) * 2
    assert set(np.diff(np.unique(expected))) == {2.0}
    np.testing.assert_array_equal(run(model, x, as_written=True), expected)


def test_what_is_chosen_for_whom() -> None:
    assert choice_for(None, 17) == choice_for("8.6", 17)
    assert choice_for(None, 19) == choice_for("10", 19)
    assert {name for name, each in CHOICES.items() if not each.int8_weights} == {"8.6"}
    for choice in CHOICES.values():
        # A table can what nothing else can, so it is always the last to be tried for codes.
        assert choice.codes[-1].way is TABLE
        assert all(form.way.is_robust for form in choice.codes)
        assert not choice.floats.way.needs_codes
