"""The file of options that ``trtqat tune`` writes: what is read of it, and what wins over it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import trtqat
from tests.support.examples import exported
from tests.support.graphs import Graph
from tests.support.rtx_graphs import rtx_or_skip, saved, two_layers_in
from trtqat.building.tuned_options import (
    TunedOptions,
    cache_path,
    check_graph,
    options_path,
    read_tuned,
    warn_of_other_host,
    with_keywords,
)
from trtqat.errors import MissingError, UsageError
from trtqat.graph_file.hashing import graph_sha256

TUNED = TunedOptions(
    graph="tuned.onnx",
    graph_sha256="0" * 64,
    gpu="A GPU",
    tensorrt="8.6.0",
    trtqat="0.1.0",
    precision="int8",
    batches=("32", "1:32:128"),
    optimization_level=5,
)


def written(folder: Path, tuned: TunedOptions = TUNED, **changes: Any) -> Path:
    path = folder / "tuned.json"
    path.write_text(json.dumps({**json.loads(tuned.to_json()), **changes}))
    return path


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    for tuned in (TUNED, replace(TUNED, precision="fp16", batches=(), workspace_bytes=1 << 30)):
        assert read_tuned(written(tmp_path, tuned)) == tuned
    assert read_tuned(written(tmp_path, of_a_later_version=1)) == TUNED
    assert options_path(tmp_path / "tuned.onnx") == tmp_path / "tuned.json"
    assert cache_path(tmp_path / "tuned.json") == tmp_path / "tuned.cache"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema_version": 3}, "have schema 3"),
        ({"schema_version": 1, "shapes": ["x:8x3"]}, "'shapes' is not empty, which it is in"),
        ({"schema_version": 2, "shapes": ["x:8x"]}, "'shapes': 'x:8x' is no shape"),
        (
            {"schema_version": 2, "shapes": ["x:8x3,x:8x3"]},
            "'shapes': .* names the input 'x' twice",
        ),
        ({"schema_version": 0}, "'schema_version' is not 1 or more"),
        ({"graph_sha256": "abc"}, "'graph_sha256' is not a SHA-256"),
        ({"graph_sha256": None}, "'graph_sha256' is null, not text"),
        ({"precision": "fp32"}, "'precision' is 'fp32', not 'int8' or 'fp16'"),
        ({"batches": ["1:2"]}, "'batches': '1:2' is no batch range"),
        ({"batches": "1:2:3"}, "'batches' is '1:2:3', not a list"),
        ({"batches": ["0"]}, "'batches': '0' is no batch range"),
        ({"optimization_level": 6}, "'optimization_level' is not 0 to 5"),
        ({"workspace_bytes": 0}, "'workspace_bytes' is not 1 or more"),
        ({"fp16": 1}, "'fp16' is 1, not true or false|'fp16' is a whole number"),
    ],
)
def test_what_it_cannot_be_is_a_sentence(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        read_tuned(written(tmp_path, **changes))


def test_another_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    for content in (b"", b"[]", b'{"tries": []}', b'{"schema_version": 8}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="holds no options of a build"):
            read_tuned(path)
    with pytest.raises(UsageError, match="holds no options of a build"):
        read_tuned(tmp_path / "missing.json")


def test_another_graph_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "tuned.onnx"
    graph.write_bytes(b"a graph")
    with pytest.raises(UsageError, match=r"another graph than .*Give the 'tuned.onnx'"):
        check_graph(TUNED, tmp_path / "tuned.json", graph)
    check_graph(replace(TUNED, graph_sha256=graph_sha256(graph)), tmp_path / "tuned.json", graph)


@pytest.mark.parametrize(
    ("gpu", "builder", "is_other"),
    [
        ("A GPU", "TensorRT 8.6.0", False),
        ("Another GPU", "TensorRT 8.6.0", True),
        ("A GPU", "TensorRT 8.6.1", True),
        ("", "TensorRT for RTX 8.6.0", True),
    ],
)
def test_another_host_is_a_warning(
    gpu: str, builder: str, is_other: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_other_host(TUNED, Path("tuned.json"), gpu=gpu, builder=builder)
    assert ("something else may be the fastest" in caplog.text) == is_other


def test_keywords_win_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tuned.json"
    with caplog.at_level(logging.WARNING):
        nothing: dict[str, Any] = {
            "batch": None,
            "tactic_sources": "",
            "fp16": None,
            "shapes": (),
            "plugins": [],
        }
        same = with_keywords(TUNED, path, nothing)
    assert same == {
        "batch": "32,1:32:128",
        "fp16": True,
        "optimization_level": 5,
        "workspace": None,
        "tactic_sources": "",
    }
    assert caplog.text == ""
    given = {"batch": "8", "optimization_level": 3, "fp16": False, "version_compatible": True}
    with caplog.at_level(logging.WARNING):
        found = with_keywords(TUNED, path, given)
    assert {name: found[name] for name in given} == given
    assert "--batch 8 wins over 32,1:32:128" in caplog.text
    assert "--builder-optimization-level 3 wins over 5" in caplog.text
    assert "--no-fp16 wins over --fp16 of" in caplog.text
    shaped = with_keywords(TUNED, path, {"opt_shapes": "x:8x3"})
    assert "batch" not in shaped
    assert shaped["opt_shapes"] == "x:8x3"
    assert "--opt-shapes wins over 32, 1:32:128 of" in caplog.text


SIZED = replace(TUNED, batches=(), shapes=("x:1:8:32x3x160", "x:1:8:32x3x320"), schema_version=2)


def test_shapes_are_those_of_a_newer_schema(tmp_path: Path) -> None:
    assert read_tuned(written(tmp_path, SIZED)) == SIZED
    # What has none is written as earlier versions read it.
    assert "shapes" not in json.loads(TUNED.to_json())
    assert json.loads(TUNED.to_json())["schema_version"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, ""),
        ({"shapes": []}, ""),
        ({"shapes": list(SIZED.shapes)}, ""),
        ({"shapes": ["x:8x3x160"]}, "--shapes wins over x:1:8:32x3x160, x:1:8:32x3x320 of"),
        ({"batch": "8"}, "--batch 8 wins over x:1:8:32x3x160, x:1:8:32x3x320 of"),
        (
            {"opt_shapes": "x:8x3x160", "max_shapes": "x:9x3x160"},
            "--opt-shapes with --max-shapes wins over x:1:8:32x3x160, x:1:8:32x3x320 of",
        ),
    ],
)
def test_what_wins_over_shapes(
    given: dict[str, Any], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = with_keywords(SIZED, tmp_path / "tuned.json", given)
    assert message in caplog.text
    assert bool(caplog.text) == bool(message)
    named = {name: each for name, each in found.items() if "shapes" in name or name == "batch"}
    wins = {name: each for name, each in given.items() if each}
    expected = wins if message else {"shapes": list(SIZED.shapes)}
    assert {name: each for name, each in named.items() if each} == expected


def test_the_cache_beside_is_taken_if_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    assert "timing_cache" not in with_keywords(TUNED, path, {})
    cache_path(path).write_bytes(b"kernels")
    assert with_keywords(TUNED, path, {})["timing_cache"] == tmp_path / "tuned.cache"
    assert with_keywords(TUNED, path, {"timing_cache": "none"})["timing_cache"] == "none"
    assert "timing_cache" not in with_keywords(TUNED, path, {}, for_rtx=True)


def test_a_build_takes_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By TensorRT for RTX, which is not the one that they were found with."""
    rtx_or_skip()
    graph, _ = exported("residual", tmp_path)
    path = written(tmp_path, graph_sha256=graph_sha256(graph), batches=["2", "1:2:4"])
    built = trtqat.build(graph, tmp_path / "m.engine", str(path), for_="rtx", optimization_level=3)
    profiles = [each["x"].opt[0] for each in built.manifest.all_profiles]
    assert profiles == [2, 2]
    assert built.manifest.options.optimization_level == 3
    assert "TensorRT for RTX 1.7.1.116 builds without looking at a GPU" in caplog.text
    assert "Tune here" not in caplog.text
    with pytest.raises(UsageError, match="another graph"):
        trtqat.build(graph, tmp_path / "m.engine", written(tmp_path), for_="rtx")


def test_what_the_other_library_refuses_is_not_asked_of_it(tmp_path: Path) -> None:
    """Whoever has given none of these cannot leave them out."""
    rtx_or_skip()
    graph = two_layers_in(tmp_path)
    path = written(
        tmp_path,
        graph_sha256=graph_sha256(graph),
        batches=[],
        tactic_sources="-cublas",
        fp16=False,
    )
    cache_path(path).write_bytes(b"kernels")
    # Where TensorRT is installed, nothing named is that one.
    for for_ in ("rtx",) if find_spec("tensorrt") else (None, "rtx"):
        options = trtqat.build(graph, tmp_path / "m.engine", path, for_=for_).manifest.options
        assert (options.timing_cache, options.tactic_sources) == (False, "")
    with pytest.raises(UsageError, match="--tactic-sources is not for TensorRT for RTX"):
        trtqat.build(graph, tmp_path / "m.engine", path, for_="rtx", tactic_sources="-cudnn")


def test_a_graph_without_pairs_is_for_a_tensorrt_that_chooses_types(tmp_path: Path) -> None:
    rtx_or_skip()
    made = Graph((2, 4, 6, 6))
    made.conv("x", "y", quantized=False)
    graph = saved(made.proto("y"), tmp_path / "m.onnx")
    path = written(tmp_path, graph_sha256=graph_sha256(graph), batches=[], precision="fp16")
    with pytest.raises(MissingError, match="builds no FP16 engine") as caught:
        trtqat.build(graph, tmp_path / "m.engine", path, for_="rtx")
    assert caught.value.remedy.startswith("Build it on a TensorRT up to 10")


@pytest.mark.parametrize(
    ("tuned", "given"),
    [
        ({"workspace_bytes": 1 << 30}, {"workspace": "1GiB"}),
        ({}, {"batch": "1:32:128,32:32:32"}),
        ({"batches": ("8",)}, {"batch": 8}),
        ({"tactic_sources": "-cublas,-cudnn"}, {"tactic_sources": "-cudnn,-cublas"}),
        (
            {"batches": (), "shapes": ("x:8x3x160", "x:1:8:8x3x320"), "schema_version": 2},
            {"shapes": ["x:1:8:8x3x320", "x:8:8:8x3x160"]},
        ),
    ],
)
def test_the_same_in_other_words_wins_over_nothing(
    tuned: dict[str, Any], given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with_keywords(replace(TUNED, **tuned), Path("tuned.json"), given)
    assert caplog.text == ""


def test_a_manifest_never_replaces_the_options(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="would overwrite an input"):
        trtqat.build(tmp_path / "tuned.onnx", tmp_path / "tuned", path)
    assert path.read_bytes() == before
