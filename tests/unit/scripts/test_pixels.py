"""scripts.bench.pixels: the graphs that it compares, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from scripts.bench import pixels, pixels_graphs
from scripts.bench.pixels_graphs import (
    GEMM,
    PAIRED,
    STORED,
    UNHELD,
    check_floats,
    chosen_graphs,
    write_graph,
)
from tests.support.graphs import Graph, operators
from tests.support.pixel_graphs import every_byte, float_graph, quantizing_graph
from trtqat.errors import GraphError, UsageError
from trtqat.graph.editing import add_initializer
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph_file.reading import read_model
from trtqat.host.environment import Environment, describe_environment
from trtqat.host.gpu import Gpu
from trtqat.numerics import quantize
from trtqat.pixels import LAYOUTS, PixelSpec
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, TensorSpec, random_arrays

TURN = {"request_ms": 1.5, "h2d_ms": 0.25, "in_flight": {4: {"images_per_second": 5e4}}}


@pytest.fixture
def floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A graph of one pair in place of the ResNet's."""
    monkeypatch.setattr(pixels_graphs, "IMAGES", TensorSpec("x", (1, 3, 16, 16)))
    path = tmp_path / "given.onnx"
    ir.save(quantizing_graph(0.02), path)
    return path


def test_every_graph_takes_what_its_record_says_and_gives_the_codes(
    tmp_path: Path, floats: Path
) -> None:
    names = chosen_graphs(None, with_bgr=True)
    for name in names:
        with OnnxModel(write_graph(name, floats, tmp_path), as_written=True) as loaded:
            (spec,) = loaded.inputs
            assert isinstance(spec, PixelSpec) == (name not in ("floats", "codes"))
            inputs = random_arrays([spec.with_batch(2)], seed=0)
            (found,) = loaded.session(2).run(inputs).values()
        wanted = inputs["x"]
        if isinstance(spec, PixelSpec):
            assert spec.pixels.bgr == ("-bgr-" in name)
            wanted = spec.pixels.normalise(inputs["x"])
        expected = quantize(wanted, 0.02).astype(np.float32) * np.float32(0.02)
        np.testing.assert_array_equal(found, expected)
    assert names[:2] == ("floats", "codes")
    assert {"nhwc-channels", "nhwc-bgr-channels"} <= set(names)
    assert len(names) == len(set(names)) == 2 + 2 * 13 + 2 * 5


def test_channels_with_a_pair_each_give_the_same_codes(tmp_path: Path, floats: Path) -> None:
    names = {name for name in pixels_graphs.all_graphs() if name.endswith(PAIRED)}
    assert names == {f"{each}{bgr}-planes{PAIRED}" for each in LAYOUTS for bgr in ("", "-bgr")}
    for name in names:
        codes: list[Array] = []
        for each in (name, name.removesuffix(PAIRED)):
            path = write_graph(each, floats, tmp_path)
            assert operators(read_model(path)).count(QUANTIZE) == (4 if each == name else 1)
            with OnnxModel(path, as_written=True) as loaded:
                (spec,) = loaded.inputs
                assert isinstance(spec, PixelSpec)
                codes.append(*loaded.session(1).run({"x": every_byte(spec.pixels)}).values())
        found, expected = codes
        np.testing.assert_array_equal(found, expected)


def test_what_stands_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_graphs, "IMAGES", TensorSpec("x", (1, 3, 16, 16)))
    made = Graph((1, 3, 16, 16))
    data = made.node("Flatten", [made.pair("x", 0.02)], "flat")
    weight = made.pair(made.constant("w", np.ones((768, 2), np.float32)), 0.01)
    made.node("Gemm", [data, weight], "y")
    ir.save(made.model("y"), tmp_path / "given.onnx")
    for end, operator in (("", "Conv"), (GEMM, "Gemm")):
        path = write_graph(f"nhwc-table-first{end}", tmp_path / "given.onnx", tmp_path)
        found = operators(read_model(path))
        assert {"Conv", "Gemm"}.intersection(found) == {operator}
        assert found.count("QuantizeLinear") == 2
    path = write_graph(f"nhwc-table-first{STORED}", tmp_path / "given.onnx", tmp_path)
    assert operators(read_model(path)).count("QuantizeLinear") == 1


@pytest.mark.parametrize("name", ["nhwc-affine-first", "nhwc-planes"])
def test_what_build_does_not_hold_has_no_record(name: str, tmp_path: Path, floats: Path) -> None:
    held, unheld = (
        read_model(write_graph(f"{name}{end}", floats, tmp_path)) for end in ("", UNHELD)
    )
    assert [node.name for node in held.graph] == [node.name for node in unheld.graph]
    records = [read_provenance(each.metadata_props[METADATA_KEY]) for each in (held, unheld)]
    assert [sorted(each.pixels or ()) for each in records] == [["x"], []]


def test_graphs_are_measured_in_the_order_that_is_asked_for() -> None:
    asked = ["nhwc-channels", "nhwc-bgr-table-last", "floats", "nhwc-channels"]
    assert chosen_graphs(asked, with_bgr=False) == tuple(asked[:3])
    everything = chosen_graphs(None, with_bgr=False)
    assert len(everything) == 2 + 13 + 5
    assert not [name for name in everything if "bgr" in name]
    with pytest.raises(UsageError, match=r"no graph 'nchw-channels'\. --only takes floats, codes,"):
        chosen_graphs(["floats", "nchw-channels"], with_bgr=False)


class TestAGivenGraph:
    def test_int8_initializers_are_refused(self, floats: Path) -> None:
        model = quantizing_graph(0.02)
        (dequantize,) = [node for node in model.graph if node.op_type == "DequantizeLinear"]
        codes = add_initializer(model.graph, "codes_of_weight", np.ones((3, 4), np.int8))
        weight = ir.node("DequantizeLinear", [codes, *dequantize.inputs[1:]], name="weight")
        weight.outputs[0].name = "dequantized_weight"
        model.graph.append(weight)
        ir.save(model, floats)
        with pytest.raises(GraphError, match=r"\(1, as of 'weight'\).* --float-weights"):
            check_floats(floats)

    def test_what_is_not_from_floats_is_refused(self, tmp_path: Path, floats: Path) -> None:
        check_floats(floats)
        for name in ("codes", "nhwc-affine-first"):
            with pytest.raises(GraphError, match="no float input 'x' that is quantized first"):
                check_floats(write_graph(name, floats, tmp_path))
        ir.save(float_graph(), floats)
        with pytest.raises(GraphError, match="no float input 'x'"):
            check_floats(floats)


class TestTheCommand:
    """With a host and an engine in their place."""

    @pytest.fixture
    def run(self, floats: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        """Runs it with a host and an engine in its place; returns what it built and its file."""
        output = floats.with_name("figures.json")
        built: list[str] = []
        stops_at: list[str] = []

        def build(graph: Path) -> dict[str, Any]:
            if graph.stem in stops_at:
                raise KeyboardInterrupt
            built.append(graph.stem)
            return {"layers": []}

        def take_turn(name: str) -> dict[str, Any]:
            if f"turn of {name}" in stops_at:
                raise KeyboardInterrupt
            built.append(f"turn of {name}")
            return {**TURN}

        def in_its_place(function: Callable[..., Any], *args: Any, **_: Any) -> object:
            if function is describe_environment:
                gpu = Gpu("H200", "9.0", "580", "13.0")
                return Environment("Linux", "3.10", "Xeon", {"tensorrt": "8.6.0"}, gpu)
            if function.__name__ == "_build":
                return build(args[0])
            return 4_800_000

        monkeypatch.setenv("COMMIT", "abc")
        monkeypatch.setattr(pixels, "in_own_process", in_its_place)
        monkeypatch.setattr(pixels, "throughput", lambda plan, *_: take_turn(plan.stem))
        monkeypatch.setattr(pixels, "quiet_compute_medians_ms", lambda *_: [0.7, 0.9, 0.8])
        monkeypatch.setattr(pixels, "rtx_version", lambda: "1.7")
        monkeypatch.setattr(
            pixels, "first_layers", lambda graph: {"layers": len(build(graph)), "first": []}
        )

        def run(*more: str, stop: str = "", code: int = 0) -> tuple[list[str], dict[str, Any]]:
            built.clear()
            stops_at[:] = [stop]
            command = ["--graph", str(floats), "--output", str(output), *more]
            if stop:
                with pytest.raises(KeyboardInterrupt):
                    pixels.main(command)
            else:
                assert pixels.main(command) == code
            return [*built], json.loads(output.read_text())

        return run

    def test_a_run_that_was_cut_off_goes_on(self, run: Callable[..., Any]) -> None:
        only = ("--only", "nhwc-channels", "codes", "floats", "--turns", "0")
        built, record = run(*only, stop="floats")
        assert built == [*record["graphs"]] == ["nhwc-channels", "codes"]
        assert "resumed" not in record
        built, record = run(*only)
        assert built == ["floats"]
        assert [*record["graphs"]] == ["nhwc-channels", "codes", "floats"]
        assert [each["date"] for each in record["resumed"]] == [record["date"]]
        # Nothing is left, and one more graph is one more.
        assert run(*only) == ([], record)
        built, record = run("--only", "floats", "nchw-table-first", "--turns", "0")
        assert built == ["nchw-table-first"]
        assert len(record["graphs"]) == 4
        assert len(record["resumed"]) == 2

    def test_all_graphs_take_turns(
        self, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        turns = ["turn of codes", "turn of floats"]
        built, record = run("--only", "codes", "floats", "--turns", "3")
        assert built == ["codes", "floats", *3 * turns]
        assert [len(row["throughput"]) for row in record["graphs"].values()] == [3, 3]
        assert "| codes | 0.8000 | 1.000 | 1.500 | 1.000 |" in capsys.readouterr().out
        assert run("--only", "codes", "floats", "--turns", "3") == ([], record)
        # One more graph stands beside the others in the same turns.
        built, record = run("--only", "nhwc-channels", "--turns", "2")
        assert built == ["nhwc-channels", "codes", "floats", *2 * [*turns, "turn of nhwc-channels"]]
        assert [len(row["throughput"]) for row in record["graphs"].values()] == [2, 2, 2]

    def test_gpu_time_alone_is_not_all(
        self, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        only = ("--only", "codes", "floats")
        built, record = run(*only, "--turns", "0")
        assert built == ["codes", "floats"]
        assert not [row for row in record["graphs"].values() if "throughput" in row]
        assert "| codes | 0.8000 | 1.000 | - |" in capsys.readouterr().out
        built, record = run(*only, stop="turn of codes")
        assert built == ["codes", "floats"]
        assert "throughput" not in record["graphs"]["codes"]
        built, record = run(*only)
        assert built == ["codes", "floats", *4 * ["turn of codes", "turn of floats"]]
        assert all("throughput" in row for row in record["graphs"].values())
        assert run(*only, "--turns", "0") == ([], record)

    def test_layers_alone(self, run: Callable[..., Any]) -> None:
        built, record = run("--layers-only", "--only", "nhwc-bgr-channels", "floats")
        assert built == ["nhwc-bgr-channels", "floats"]
        assert record["graphs"]["floats"] == {"rtx": {"layers": 1, "first": []}}
        assert (record["commit"], record["tensorrt_rtx"]) == ("abc", "1.7")
        assert run("--layers-only", "--only", "floats") == ([], record)

    @pytest.mark.parametrize(
        ("more", "commit", "said"),
        [
            ((), "def", "its commit is 'abc', and here it is 'def'"),
            (("--batch-size", "8"), "abc", "its batch size is '32', and here it is '8'"),
            (("--layers-only",), "abc", "its GPU is 'H200', and here it is none"),
        ],
    )
    def test_rows_of_another_run_stay(
        self,
        run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        more: tuple[str, ...],
        commit: str,
        said: str,
    ) -> None:
        _, record = run("--only", "floats", "codes", "--turns", "0")
        monkeypatch.setenv("COMMIT", commit)
        assert run("--only", "floats", *more, code=2) == ([], record)
        told = capsys.readouterr().err
        assert "holds 2 graphs of another run" in told
        assert said in told
        built, record = run("--only", "floats", *more, "--turns", "0", "--anew")
        assert built == [*record["graphs"]] == ["floats"]
        assert record["commit"] == commit

    def test_an_exchanged_graph_is_another_run(
        self, run: Callable[..., Any], floats: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, record = run("--only", "floats")
        ir.save(quantizing_graph(0.03), floats)
        assert run("--only", "codes", code=2) == ([], record)
        assert "its --graph is" in capsys.readouterr().err

    @pytest.mark.parametrize("commit", ["abc-dirty", "unknown"])
    def test_a_commit_that_says_nothing(
        self,
        run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        commit: str,
    ) -> None:
        monkeypatch.setenv("COMMIT", commit)
        _, record = run("--only", "floats")
        assert run("--only", "codes", code=2) == ([], record)
        assert f"commit '{commit}', which does not say of what code" in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["", "[]", '{"graphs": 3}'])
    def test_another_file_stays(
        self, floats: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(pixels, "rtx_version", lambda: "1.7")
        output = floats.with_name("figures.json")
        output.write_text(text)
        command = ["--layers-only", "--graph", str(floats), "--output", str(output)]
        assert pixels.main(command) == 2
        assert output.read_text() == text
