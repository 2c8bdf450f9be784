"""What a user may write for an option of a build, and what it is read as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trtqat.building.builder import build
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import (
    parse_batch,
    parse_bytes,
    parse_options,
    parse_profiles,
    parse_shapes,
)
from trtqat.building.profiles import ProfileOptions
from trtqat.building.triton.config import TritonOptions
from trtqat.building.triton.repository import TritonTarget
from trtqat.errors import UsageError


@pytest.mark.parametrize(
    ("text", "batch"), [("1:32:128", (1, 32, 128)), ("8", (8, 8, 8)), ("2:2:2", (2, 2, 2))]
)
def test_batch(text: str, batch: tuple[int, int, int]) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize(
    "text", ["", "x", "0", "-1", "0:1:2", "1:2", "1:2:3:4", "3:2:1", "1:4:2", "1.5", "1::2"]
)
def test_wrong_batch(text: str) -> None:
    with pytest.raises(UsageError, match="no batch range"):
        parse_batch(text)


ONE_8_RANGE = ProfileOptions(
    batch=(1, 1, 1), more=(ProfileOptions(batch=(8, 8, 8)), ProfileOptions(batch=(1, 32, 128)))
)


@pytest.mark.parametrize(
    "batch",
    [
        "1,8,1:32:128",
        "1, 8:8:8 ,1:32:128",
        [1, 8, (1, 32, 128)],
        ["1", (8, 8, 8), "1:32:128"],
    ],
)
def test_several_batches(batch: Any) -> None:
    assert parse_profiles(batch, {}) == ONE_8_RANGE
    assert parse_options("m.engine", batch=batch) == BuildOptions(profile=ONE_8_RANGE)


@pytest.mark.parametrize("batch", ["1:2:4", (1, 2, 4), [(1, 2, 4)], ["1:2:4"]])
def test_one_batch_is_one_profile(batch: Any) -> None:
    shapes = {"opt_shapes": {"x": (2, 7)}}
    expected = ProfileOptions(batch=(1, 2, 4), opt_shapes={"x": (2, 7)})
    assert parse_profiles(batch, shapes) == expected
    assert parse_profiles(None, shapes) == ProfileOptions(opt_shapes={"x": (2, 7)})


@pytest.mark.parametrize(
    "batch",
    ["1,", ",1", "1,,8", "1,x", "8,3:2:1", [], [1, None], [1, 2.5], [1, "2,3"], [1, [2]], (1, 8)],
)
def test_wrong_batches(batch: Any) -> None:
    with pytest.raises(
        UsageError, match=r"no batch range\..* or several with commas, as in 1,8,32"
    ):
        parse_options("m.engine", batch=batch)


def test_several_batches_have_no_shapes_besides() -> None:
    with pytest.raises(UsageError, match="made of --batch alone, and --max-shapes is there"):
        parse_options("m.engine", batch="1,8", max_shapes="x:8x7")


def test_whole_profiles() -> None:
    low, best, high = ({"x": (batch, 48, 160)} for batch in (1, 8, 32))
    range_of_batches = ProfileOptions(None, low, best, high, others=(1, 8, 32))
    size = {"x": (8, 48, 640)}
    expected = replace(
        range_of_batches, more=(ProfileOptions(None, size, size, size, others=(8, 8, 8)),)
    )
    several: list[Any] = [
        ["x:1:8:32x48x160", "x:8x48x640"],
        ("x:1:8:32x48x160", {"x": (8, 48, 640)}),
        [{"x": ((1, 8, 32), 48, 160)}, {"x": [8, 48, (640, 640, 640)]}],
    ]
    for given in several:
        assert parse_profiles(None, {}, given) == expected
        assert parse_options("m.engine", shapes=given).profile == expected
    alone: list[Any] = ["x:1:8:32x48x160", {"x": ((1, 8, 32), 48, 160)}, ["x:1:8:32x48x160"]]
    for one in alone:
        assert parse_options("m.engine", shapes=one).profile == range_of_batches
    batched = parse_profiles("2", {}, "x:1:8:32x48x160")
    assert batched == replace(range_of_batches, batch=(2, 2, 2))


def test_whole_profiles_are_told_in_one_way() -> None:
    with pytest.raises(UsageError, match="a whole profile, and --max-shapes is there"):
        parse_options("m.engine", shapes="x:8x3", max_shapes="x:8x7")
    with pytest.raises(UsageError, match="is a profile, and --batch has several"):
        parse_options("m.engine", shapes="x:8x3", batch="1,8")
    with pytest.raises(UsageError, match="The shapes is 3, a int"):
        parse_options("m.engine", shapes=3)  # type: ignore[arg-type]


def test_shapes() -> None:
    assert parse_shapes("x:1x3x224x224,model/in:0:1x10,n:4") == {
        "x": (1, 3, 224, 224),
        "model/in:0": (1, 10),
        "n": (4,),
    }
    assert parse_shapes("") == {}


@pytest.mark.parametrize("text", ["x", "x:", ":1x3", "x:1x", "x:1x-3", "x:axb", "x:1x3,y"])
def test_wrong_shapes(text: str) -> None:
    with pytest.raises(UsageError, match="is no shape"):
        parse_shapes(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("512MiB", 2**29),
        ("2G", 2**31),
        ("1.5k", 1536),
        (" 3 mb ", 3 * 2**20),
        ("4096", 4096),
        ("7B", 7),
    ],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "4T", "GiB", "1e9", "4 iB", "0.2", "4GiBs"])
def test_wrong_bytes(text: str) -> None:
    with pytest.raises(UsageError, match="no amount of memory"):
        parse_bytes(text)


def test_python_values_are_as_good_as_text() -> None:
    assert parse_batch(8) == parse_batch((8, 8, 8)) == (8, 8, 8)
    assert parse_shapes({"model/in:0": (1, 3), "a,b": [2]}) == {"model/in:0": (1, 3), "a,b": (2,)}  # type: ignore[dict-item]
    assert parse_bytes(2**30) == parse_bytes("1GiB")
    for batch in ((1, 2), (3, 2, 1), (1.5, 2, 3), 0, True):
        with pytest.raises(UsageError, match="no batch range"):
            parse_batch(batch)  # type: ignore[arg-type]
    for shapes in ({"x": ()}, {"x": (1.5,)}, {"": (1,)}, {"x": (-1, 3)}):
        with pytest.raises(UsageError, match="is no shape"):
            parse_shapes(shapes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="A shape is 3, a int"):
        parse_shapes(3)  # type: ignore[arg-type]


def test_keywords_are_the_options() -> None:
    options = parse_options(
        "out/resnet.engine",
        batch="1:2:4",
        opt_shapes="x:2x7",
        workspace="1GiB",
        optimization_level=1,
        timing_cache="kernels.cache",
        tactic_sources="-cudnn",
        version_compatible=True,
        sign="key.pem",
        triton_repository="models",
        triton_labels="classes.txt",
        triton_instances=2,
    )
    serving = TritonOptions("resnet", labels=Path("classes.txt"), instances=2)
    assert options == BuildOptions(
        profile=ProfileOptions(batch=(1, 2, 4), opt_shapes={"x": (2, 7)}),
        workspace_bytes=2**30,
        optimization_level=1,
        timing_cache="kernels.cache",
        tactic_sources="-cudnn",
        version_compatible=True,
        sign="key.pem",
        triton=TritonTarget(Path("models"), serving),
    )


def test_what_is_not_said_is_left_to_tensorrt() -> None:
    assert parse_options("m.engine") == BuildOptions()
    # As the command line has them where nothing was written.
    nothing = parse_options(
        "m.engine", batch=None, min_shapes="", workspace="", timing_cache="none"
    )
    assert nothing == BuildOptions()


def test_what_no_build_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'bacth' is no option of a build.* batch,"):
        parse_options("m.engine", bacth="1:2:4")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="none is given"):
        parse_options("m.engine", triton_instances=2)
    for wrong in ({"timing_cache": 3}, {"sign": 3}, {"optimization_level": "5"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            parse_options("m.engine", **wrong)
    # Before anything is looked for, TensorRT above all.
    with pytest.raises(UsageError, match="got options, and batch besides"):
        build(tmp_path / "m.onnx", tmp_path / "m.engine", BuildOptions(), batch="1:2:4")
    with pytest.raises(UsageError, match="options of a build is 3"):
        build(tmp_path / "m.onnx", tmp_path / "m.engine", 3)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
