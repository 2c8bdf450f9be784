"""The HTML report: what it says, and that a browser can read it without a network."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.support.measured import QUICK, NumpyModel, Samples, make_samples, one_of_twenty_wrong
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.evaluation.layers import layer_times
from trtqat.evaluation.locate import Located
from trtqat.evaluation.locate_differences import StepLoss
from trtqat.evaluation.locate_layers import LayerLoss
from trtqat.evaluation.locate_steps import LocatedInSteps, Probe, TensorLoss
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.report import Report
from trtqat.evaluation.timing import Latency
from trtqat.inspection.engine_layers import Inspection
from trtqat.inspection.inspector import parse_information
from trtqat.inspection.layer_times import LayerTimes
from trtqat.report.main_table import main_table
from trtqat.report.page import render_page
from trtqat.report.verdict import verdict
from trtqat.tensors import Array

DATA_8_6 = Path(__file__).parents[2] / "data/inspector-8.6"
X, _ = make_samples(200)
LABELS = X.argmax(axis=1)
DATA = Samples(X, LABELS)


def half_wrong(x: Array) -> Array:
    return np.where(np.arange(len(x))[:, None] % 2 == 0, x, -x)


def measured(**options: float) -> Report:
    return evaluate(
        NumpyModel(one_of_twenty_wrong, compute_ms=options.get("model_ms", 10.0)),
        DATA,
        EvaluateOptions(8, QUICK, sweep=(2, 4), min_speedup=options.get("min_speedup")),
        baseline=NumpyModel(compute_ms=20.0),
    )


class Reader(HTMLParser):
    """Collects tags, and fails on one that is not closed."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    # HTMLParser does not know that SVG closes its own tags.
    reader.feed(re.sub(r"<(\w+)([^<>]*)/>", r"<\1\2></\1>", page))
    assert reader.open == []
    return reader


def test_the_page_holds_everything_and_needs_nothing() -> None:
    exact, off = StepLoss(math.inf, 0.0, 0.0, 0), StepLoss(45.0, 6.5, 0.0125, 2)
    lost = StepLoss(math.nan, math.inf, 1.0, None)
    located = Located(
        (LayerLoss("/a/<Conv>", "Conv", 31.0, 2.0, ("float-residual",)),),
        LocatedInSteps(
            (
                TensorLoss("", "/first/QuantizeLinear", exact, exact, ()),
                TensorLoss("/a/<Conv>", "/b/<QuantizeLinear>", exact, off, ("one-sided",)),
                TensorLoss("/c/Conv", "/lost", exact, lost, ()),
            ),
            Probe(24, ("a + b",), 13, 51.0),
            from_pytorch=True,
        ),
    )
    command = "trtqat eval 'a&b.onnx'"
    report = replace(measured(min_speedup=3.0), located=located, command=command)
    page = render_page(report)
    reader = read(page)
    assert reader.links == []
    assert "<script" not in page
    assert "://" not in page
    for text in (
        verdict(report),
        "199/200",
        "The speed-up is 2.00, less than 3",
        "trtqat eval 'a&b.onnx'",
        "/a/<Conv>",
        "float-residual",
        "/b/<QuantizeLinear>",
        "1.2 % differ, by 2 at most",
        "100 % differ",
        "100 % of codes",
        "no number",
        "engine: first tensor below 20 dB: /lost",
        "Of the engine's 24 layers all but a + b are in it",
        "Batch sizes",
        np.__version__,
    ):
        assert text in reader.text, text
    # Batch sizes; both ways to show the times of two models; and in each a key of its series.
    assert page.count("<figure>") == 5
    assert page.count("<svg") == 5 + 6
    assert "nan" not in page.replace("significan", "")
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_layers_of_a_real_engine_and_rivals() -> None:
    layers = parse_information(
        json.loads((DATA_8_6 / "resnet50-static.json").read_text(), strict=False), "resnet50"
    )
    times = LayerTimes(({each.name: 0.01 * (1 + i % 7) for i, each in enumerate(layers)},))
    found = layer_times(Inspection({}, layers, 32, times, 1.0, "CUDA graph"))
    assert len(found) == len(layers)
    assert {"int8", "float32 → int8"} <= {each.precision for each in found}
    report = evaluate(
        NumpyModel(compute_ms=10.0),
        DATA,
        EvaluateOptions(100, QUICK),
        baseline=NumpyModel(compute_ms=30.0),
        rivals=[NumpyModel(compute_ms=20.0)],
    )
    page = render_page(replace(report, layers=found, command="trtqat eval"))
    reader = read(page)
    assert f"{len(layers) - 40} others" in reader.text
    assert "float32 → int8" in reader.text
    assert "2.00x (2.00 … 2.00) as fast" in reader.text
    assert "What might run instead" in reader.text


def test_a_layer_that_reads_codes_and_floats_is_not_shown_as_int8() -> None:
    product = {
        "Name": "/m",
        "LayerType": "MatrixMultiply",
        "Inputs": [{"Name": each, "Datatype": each} for each in ("Int8", "Half")],
        "Outputs": [{"Name": "y", "Datatype": "Int8"}],
    }
    layers = parse_information({"Layers": [product]}, "m")
    times = LayerTimes(({"/m": 0.5},))
    (found,) = layer_times(Inspection({}, layers, 1, times, 1.0, "CUDA graph"))
    assert found.precision == "int8, float16 → int8"


def test_pictures_come_first_and_long_tables_are_folded() -> None:
    report = evaluate(
        NumpyModel(one_of_twenty_wrong, compute_ms=10.0),
        DATA,
        EvaluateOptions(8, QUICK),
        baseline=NumpyModel(compute_ms=30.0),
        rivals=[NumpyModel(compute_ms=20.0)],
        steps=[NumpyModel(half_wrong)],
    )
    page = render_page(report)
    text = read(page).text
    titles = [
        *("How many are right", "How long it takes", "Images a second", "Where answers change"),
        *("All figures", "Accuracy and latency", "What might run instead", "Where it was measured"),
    ]
    places = [text.index(each) for each in titles]
    assert places == sorted(places)
    for words in ("99.50 % (199/200)", "30.000 ms, 3.00 times the subject's", "100 of 200 (50 %)"):
        assert words in text[: places[4]], words
    folded = {
        title: "open" in start
        for start, title in re.findall(r"<details([^>]*)>\s*<summary>([^<]*)", page)
    }
    assert folded["What might run instead"]
    assert not folded["Accuracy and latency"]
    # On paper nothing is.
    assert "details::details-content" in page[page.index("@media print") :]


def test_a_step_may_change_every_answer() -> None:
    report = evaluate(
        NumpyModel(),
        DATA,
        EvaluateOptions(8, None),
        baseline=NumpyModel(),
        steps=[NumpyModel(np.negative)],
    )
    assert "200 of 200 (100 %)" in read(render_page(report)).text


def test_a_narrow_screen_sees_the_subject_first() -> None:
    report = measured()
    assert report.baseline is not None
    named = (replace(report.subject, name="mine"), replace(report.baseline, name="theirs"))
    page = render_page(replace(report, contenders=named))
    heads = re.findall(r"<th>([^<]*)</th>", page)
    assert heads[:3] == ["200 images, batch 8", "mine", "theirs"]
    # Of a table that is wide each cell says its column.
    assert 'data-column="request, 99 %"' in page


def test_speed_ups_in_doubt_say_so() -> None:
    report = evaluate(
        NumpyModel(compute_ms=10.0),
        DATA,
        EvaluateOptions(8, QUICK, sweep=(2,)),
        baseline=NumpyModel(compute_ms=30.0),
        rivals=[NumpyModel(compute_ms=20.0)],
    )
    assert "(unstable)" not in render_page(report)
    shaky = tuple(
        replace(each, timing=replace(each.timing, compute=varying(each.timing.compute)))
        for each in report.rivals[0].timings
    )
    rival = replace(report.rivals[0], timings=shaky)
    text = read(render_page(replace(report, contenders=(*report.side_by_side, rival)))).text
    assert "20.000 ms, 2.00 times the subject's, unstable" in text
    assert "2.00x (2.00 … 2.00) as fast (unstable)" in text
    assert "3.00x (3.00 … 3.00) as fast (unstable)" not in text


def test_contenders_of_one_name_are_all_in_the_charts() -> None:
    """As two files of one name, in two folders."""
    x, _ = make_samples(20)
    report = evaluate(
        NumpyModel(), Samples(x, x.argmax(axis=1)), EvaluateOptions(8, QUICK),
        baseline=NumpyModel(compute_ms=2.0), rivals=[NumpyModel(), NumpyModel()],
    )  # fmt: skip
    page = render_page(report)
    for each in ("1, subject", "2, baseline", "3, rival", "4, rival"):
        assert f"numpy ({each})" in page


def test_a_page_without_times_and_baseline() -> None:
    report = evaluate(NumpyModel(), Samples(X, None), EvaluateOptions(8, None))
    page = render_page(report)
    assert "<svg" not in page
    assert verdict(report) == "numpy was run on 200 images."
    # No command made it.
    assert "Again" not in read(page).text


def test_names_are_shown_and_not_obeyed() -> None:
    report = measured()
    name = "<script>alert('x')</script>"
    assert report.baseline is not None
    subject = replace(report.subject, name=f"{name}\x1b[2J\u202e")
    contenders = (subject, report.baseline)
    command = f"trtqat eval '{name}'"
    page = render_page(replace(report, contenders=contenders, data="a & b", command=command))
    assert "<script" not in page
    shown = rf"{name}\x1b[2J\u202e"
    text = read(page).text
    # Title, heading, verdict, columns and charts.
    assert text.count(shown) >= 5
    assert f"{shown}: 200 images of a & b" in text
    assert f"trtqat eval '{name}'" in text


@pytest.mark.parametrize(
    ("model_ms", "says"),
    [
        (10.0, "computes 2.00 times as fast as numpy"),
        (40.0, "computes slower than numpy (0.50 times)"),
        (20.0, "shows no difference in speed from numpy (1.00 to 1.00 times as fast)"),
    ],
)
def test_verdict_on_speed(model_ms: float, says: str) -> None:
    report = measured(model_ms=model_ms)
    assert verdict(report).startswith(f"numpy {says} and gets")
    assert report.baseline is not None
    worse = tuple(
        replace(each, timing=replace(each.timing, compute=varying(each.timing.compute)))
        for each in report.baseline.timings
    )
    baseline = replace(report.baseline, timings=worse)
    unstable = replace(report, contenders=(report.subject, baseline))
    assert verdict(unstable).startswith(f"numpy {says} (unstable) and gets")
    for each, doubt in ((report, False), (unstable, True)):
        (row,) = [cells for cells in main_table(each)[1] if cells[0].startswith("speed-up")]
        assert row[-1].endswith(" (unstable)") is doubt


def test_what_is_not_seen_to_differ_may_still_differ() -> None:
    """Of a noisy measurement nothing follows, and certainly not that both are equal."""
    report = measured(model_ms=20.0)
    assert report.baseline is not None
    wide = Ratio(1.0, Interval(0.5, 2.0), 3)
    timings = tuple(replace(each, speedup=wide) for each in report.baseline.timings)
    baseline = replace(report.baseline, timings=timings)
    said = verdict(replace(report, contenders=(report.subject, baseline)))
    assert "shows no difference in speed from numpy (0.50 to 2.00 times as fast)" in said


def varying(latency: Latency) -> Latency:
    return replace(latency, variation_percent=90.0)


def test_verdict_on_accuracy() -> None:
    one = evaluate(
        NumpyModel(one_of_twenty_wrong), DATA, EvaluateOptions(8, None), baseline=NumpyModel()
    )
    assert "199 of 200 images right, which is no significant difference (-0.50 points)" in verdict(
        one
    )
    many = evaluate(NumpyModel(half_wrong), DATA, EvaluateOptions(8, None), baseline=NumpyModel())
    assert "significantly fewer (-50.00 points)" in verdict(many)
    more = evaluate(NumpyModel(), DATA, EvaluateOptions(8, None), baseline=NumpyModel(half_wrong))
    assert "significantly more (+50.00 points)" in verdict(more)
    same = evaluate(NumpyModel(), DATA, EvaluateOptions(8, None), baseline=NumpyModel())
    assert "(0 points)" in verdict(same)
