"""``trtqat.inspect`` of an engine, over what TensorRT 8.6.0 told of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

import trtqat
from tests.support.graphs import Graph
from tests.support.plans import make_manifest
from trtqat.errors import GateError, GraphError, UsageError
from trtqat.graph_file.hashing import graph_sha256
from trtqat.host.ceilings import Ceilings
from trtqat.inspection import inspected_engine, inspected_plan
from trtqat.inspection.engine_layers import Inspection
from trtqat.inspection.inspector import parse_information
from trtqat.inspection.layer_times import LayerTimes, read_profile
from trtqat.inspection.options import InspectOptions
from trtqat.inspection.roofline import find_ceilings
from trtqat.plan.manifest import Manifest, ProfileShapes
from trtqat.runtime.engine_profiles import make_profiles

VGG = Path(__file__).parents[2] / "data/inspector-8.6/vgg16-shapes.json"
INFORMATION = json.loads(VGG.read_text(), strict=False)
LAYERS = parse_information(INFORMATION, "vgg16-shapes.json")


class Opened:
    """Stands for an engine of which only its inspection is asked."""

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.profiles = make_profiles([{"images": ProfileShapes((1,), (32,), (32,))}])
        self.is_closed = False
        self.arguments: dict[str, Any] = {}
        self.ask: Any = None

    def choose_sizes(self, sizes: dict[str, tuple[int, ...]]) -> None:
        self.profiles = self.profiles.at_sizes(sizes, "m.engine")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()

    def open_engine(path: Path, **arguments: Any) -> Opened:
        opened.arguments = {"path": path, **arguments}
        return opened

    def ask(
        asked: Opened, *, batch_size: int | None = None, passes: int = 0, profile: int = 0
    ) -> Inspection:
        assert asked is opened
        assert not opened.is_closed
        times = LayerTimes(tuple({each.name: 0.25 for each in LAYERS} for _ in range(passes)))
        has_times = bool(passes)
        return Inspection(
            INFORMATION,
            LAYERS,
            batch_size or 32,
            times if has_times else None,
            1.5 if has_times else None,
            "CUDA graph" if has_times else "",
            profile,
        )

    opened.ask = ask
    # Nothing is recorded of an engine that is none.
    monkeypatch.setattr(inspected_plan, "recorded_plan", lambda path, options: None)
    monkeypatch.setattr(inspected_engine, "Engine", open_engine)
    monkeypatch.setattr(inspected_engine, "inspect_engine", ask)
    monkeypatch.setattr(inspected_engine, "describe_gpu", lambda: SimpleNamespace(name="A GPU"))
    return opened


def save(folder: Path, *names: str) -> Path:
    made = Graph((2, 4, 6, 6))
    for name in names:
        made.conv(made.pair("x", 0.1, name=f"{name}.p"), name)
    proto = made.proto(*names)
    for node in proto.graph.node:
        node.name = node.name.replace("//", "/")
    onnx.save(proto, str(folder / "graph.onnx"))
    return folder / "graph.onnx"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return save(tmp_path, "/features/0/Conv", "/features/3/Conv")


def test_layers_times_and_coverage(engine: Opened, graph: Path) -> None:
    found = trtqat.inspect("m.engine", graph=str(graph), batch_size=8, passes=3, trust="k.pem")
    assert isinstance(found, trtqat.InspectedEngine)
    assert engine.is_closed
    assert engine.arguments["trust"] == "k.pem"
    assert engine.arguments["flavour"] == "full"
    assert str(found).splitlines()[:3] == [
        f"m.engine: {len(LAYERS)} engine layers, batch 8",
        f"GPU time 1.500 ms (CUDA graph); under the profiler the layers sum up to "
        f"{0.25 * len(LAYERS):.3f} ms (medians of 3 passes)",
        "INT8: 2 of 2 quantized layers, 100.0% of the arithmetic",
    ]
    found.check_int8()
    record = found.to_dict()
    assert record["compute_ms"] == 1.5
    assert record["coverage"]["missed"] == 0
    assert record["roofline"] is None
    assert [layer["time_ms"] for layer in record["coverage"]["layers"]] == [0.25, 0.25]
    assert json.dumps(record)
    assert repr(found) == f"InspectedEngine('m.engine', {len(LAYERS)} layers, batch 8)"


def test_every_profile_is_looked_at(
    engine: Opened, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them runs a layer in floating point."""
    engine.profiles = make_profiles([{"images": ProfileShapes(*[(n,)] * 3)} for n in (1, 8)])
    ask, asked = engine.ask, []

    def ask_about(
        opened: Any, *, batch_size: int | None = None, passes: int = 0, profile: int | None = None
    ) -> Inspection:
        asked.append(profile)
        found: Inspection = ask(
            opened, batch_size=batch_size, passes=passes, profile=1 if profile is None else profile
        )
        if profile != 0:
            return found
        halves = [replace(each, weight_dtype="float16") for each in found.layers]
        return replace(found, layers=tuple(halves))

    monkeypatch.setattr(inspected_engine, "inspect_engine", ask_about)
    found = trtqat.inspect("m.engine", graph=graph, passes=3)
    assert asked == [None, 0]
    assert isinstance(found, trtqat.InspectedEngine)
    assert found.coverage is not None
    assert found.coverage.profiles == ("1", "8")
    assert (
        "INT8: 0 of 2 quantized layers, 0.0% of the arithmetic, counted if so in each of 2 profiles"
    ) in str(found)
    assert "in the profile for batch 1: TensorRT chose" in str(found)
    # Who names a batch size asks about its profile alone.
    asked.clear()
    engine.is_closed = False
    found = trtqat.inspect("m.engine", graph=graph, batch_size=8)
    assert isinstance(found, trtqat.InspectedEngine)
    assert asked == [None]
    assert (
        "2 of 2 quantized layers, 100.0% of the arithmetic, in the profile for batch 8 alone"
        in (str(found))
    )
    found.check_int8()


def test_a_profile_is_named_by_its_shapes(
    engine: Opened, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two widths: the one of an asked shape, or both, each at its own."""
    shapes = [ProfileShapes((1, width), (8, width), (8, width)) for width in (160, 320)]
    engine.profiles = make_profiles([{"images": each} for each in shapes])
    asked: list[Any] = []

    def ask_about(
        opened: Any, *, batch_size: int | None = None, passes: int = 0, profile: int | None = None
    ) -> Inspection:
        chosen = opened.profiles.choose(batch_size or 8, "m.engine", profile)
        asked.append((batch_size, chosen.profile, dict(chosen.sizes)))
        found: Inspection = engine.ask(
            opened, batch_size=batch_size, passes=passes, profile=chosen.profile
        )
        return replace(found, sizes=chosen.sizes)

    monkeypatch.setattr(inspected_engine, "inspect_engine", ask_about)
    found = trtqat.inspect("m.engine", graph=graph, shapes="images:4x160")
    assert asked == [(4, 0, {"images": (160,)})]
    assert isinstance(found, trtqat.InspectedEngine)
    assert "engine layers, batch 4 at images 160" in str(found)
    assert "in the profile for images:1:8:8x160 alone" in str(found)
    assert found.to_dict()["sizes"] == {"images": (160,)}
    asked.clear()
    engine.is_closed = False
    engine.profiles = replace(engine.profiles, sizes={})
    found = trtqat.inspect("m.engine", graph=graph)
    assert asked == [(None, 1, {"images": (320,)}), (None, 0, {"images": (160,)})]
    assert "in each of 2 profiles (images:1:8:8x160, images:1:8:8x320)" in str(found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"shapes": "images:8x160", "batch_size": 8}, "--batch-size is there, too"),
        ({"shapes": "images:1:8:8x160"}, "is a range, and an engine is described for one shape"),
        ({"shapes": "images:8x160,scale:4x2"}, "has several batch sizes"),
        ({"shapes": "images"}, "is no shape"),
        ({"shapes": "images:8x200"}, r"images 200 is in no profile .* profile 1 for images:8x320"),
    ],
)
def test_shapes_that_name_no_profile(
    engine: Opened, graph: Path, asked: dict[str, Any], message: str
) -> None:
    shapes = [ProfileShapes(*[(8, width)] * 3) for width in (160, 320)]
    engine.profiles = make_profiles([{"images": each} for each in shapes])
    with pytest.raises(UsageError, match=message):
        trtqat.inspect("m.engine", graph=graph, **asked)


def test_a_batch_size_that_no_tensor_has() -> None:
    with pytest.raises(UsageError, match="larger than a dimension of a tensor can be"):
        InspectOptions(batch_size=10**400)
    assert InspectOptions(batch_size=2**31 - 1).batch_asked == 2**31 - 1


def test_without_its_graph(engine: Opened) -> None:
    found = trtqat.inspect("m.engine", passes=0)
    assert isinstance(found, trtqat.InspectedEngine)
    assert "GPU time" not in str(found)
    assert str(found).endswith(
        "Without the graph it was built from (--graph) nobody can say here what is INT8."
    )
    assert found.to_dict()["coverage"] is None
    with pytest.raises(UsageError, match="no graph that a manifest of it names is beside it"):
        found.check_int8()
    gates: tuple[dict[str, Any], ...] = ({"needs_coverage": True}, {"roofline": True})
    for gate in gates:
        engine.is_closed = False
        with pytest.raises(UsageError, match="no graph that a manifest of it names is beside it"):
            trtqat.inspect("m.engine", **gate)
        assert engine.is_closed


def test_a_graph_of_another_engine_is_a_warning(
    engine: Opened, graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Layers of one name are in both, so only the recorded SHA-256 tells them apart."""
    engine.manifest = make_manifest(b"")
    trtqat.inspect("m.engine", graph=graph)
    assert "is not the graph that 'm.engine' was built from: its SHA-256 differs" in caplog.text
    caplog.clear()
    engine.is_closed = False
    engine.manifest = replace(engine.manifest, graph_sha256=graph_sha256(graph))
    trtqat.inspect("m.engine", graph=graph)
    assert caplog.text == ""


@pytest.mark.usefixtures("engine")
def test_one_pass_has_no_median(graph: Path) -> None:
    assert "ms (one pass)" in str(trtqat.inspect("m.engine", graph=graph, passes=1))


@pytest.mark.usefixtures("engine")
def test_gate_on_what_is_not_seen_in_int8(tmp_path: Path) -> None:
    graph = save(tmp_path, "/features/0/Conv", "/elsewhere/Conv")
    found = trtqat.inspect("m.engine", graph=graph, needs_coverage=True)
    assert isinstance(found, trtqat.InspectedEngine)
    with pytest.raises(GateError, match="1 of 2 quantized layers are not seen in INT8"):
        found.check_int8()


@pytest.mark.usefixtures("engine")
def test_what_is_exported_is_there_whatever_fails_later(tmp_path: Path) -> None:
    other = save(tmp_path, "/elsewhere/Conv")
    layers, profile = tmp_path / "layers.json", tmp_path / "profile.json"
    with pytest.raises(GraphError, match=r"No layer of 'm\.engine' names a layer of"):
        trtqat.inspect("m.engine", graph=other, export_layer_info=layers, export_profile=profile)
    assert json.loads(layers.read_text()) == INFORMATION
    assert read_profile(profile) == {each.name: 0.25 for each in LAYERS}


def test_roofline(
    engine: Opened, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Ceilings("A GPU", 2e14, 1e14, 1e12, "a test")
    path = tmp_path / "ceilings.json"
    limits.write(path)
    seen: list[bool] = []

    def find(*arguments: Any) -> Ceilings:
        # What is measured here needs the memory that the engine held.
        seen.append(engine.is_closed)
        return find_ceilings(*arguments)

    monkeypatch.setattr(inspected_engine, "find_ceilings", find)
    found = trtqat.inspect("m.engine", graph=graph, ceilings=path)
    assert isinstance(found, trtqat.InspectedEngine)
    assert seen == [True]
    assert found.roofline is not None
    share = found.roofline.share
    assert share is not None
    assert found.roofline.compute_ms == 1.5
    assert f"The engine takes 1.500 ms: {int(100 * share)} % of the limit" in str(found)
    assert found.to_dict()["roofline"]["share"] == share
