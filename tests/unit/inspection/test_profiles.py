"""Layers by shape profile: as TensorRT marks them, and what is INT8 in all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trtqat.errors import GateError, GraphError
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import EngineLayer, EngineTensor
from trtqat.inspection.profiles import (
    count_profiles,
    join_profiles,
    layers_of_profile,
    split_profiles,
)
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage


def layer(name: str, mark: str = "", *, dtype: str = "int8", node: str = "") -> EngineLayer:
    """A convolution as TensorRT 8.6 lists it."""
    return EngineLayer(
        name=f"{name}{mark}",
        kind="CaskConvolution",
        onnx_nodes=(node,) if node else (),
        inputs=(EngineTensor(f"{name}_in{mark}", dtype, ""),),
        outputs=(EngineTensor(f"{name}_out{mark}", dtype, ""),),
        weight_dtype=dtype,
        tactic=f"kernel_{dtype}",
    )


def names(profiles: tuple[tuple[EngineLayer, ...], ...]) -> list[list[str]]:
    return [[each.name for each in profile] for profile in profiles]


def test_one_profile_is_the_list_itself() -> None:
    # Whatever a user calls a node.
    listed = (layer("/a"), layer("/b", " [profile 7]"))
    assert split_profiles(listed, 1, "m") == (listed,)
    assert layers_of_profile(listed[:1], 0, 1, "m") == listed[:1]


def test_marked_layers() -> None:
    listed = [layer("/a"), layer("/b"), layer("/a", " [profile 1]"), layer("/b", " [profile 1]")]
    # A reformat has the mark in the names of its tensors alone.
    reformat = replace(
        layer("Reformatting"), inputs=(EngineTensor("/a_out [profile 1]", "int8", ""),)
    )
    found = split_profiles([*listed, reformat], 2, "m")
    assert names(found) == [
        ["/a", "/b"],
        ["/a [profile 1]", "/b [profile 1]", "Reformatting"],
    ]
    assert layers_of_profile([*listed, reformat], 1, 2, "m") == found[1]


def test_a_subgraph_belongs_to_one_profile() -> None:
    listed = [
        layer("/a_myl0_0"),
        layer("__myl_MulAdd_myl0_1"),
        layer("/a [profile 1]_myl1_0"),
        layer("__myl_MulAdd_myl1_1"),
    ]
    assert names(split_profiles(listed, 2, "m")) == [
        ["/a_myl0_0", "__myl_MulAdd_myl0_1"],
        ["/a [profile 1]_myl1_0", "__myl_MulAdd_myl1_1"],
    ]


@pytest.mark.parametrize(
    "listed",
    [
        # A profile without a layer, a mark beyond the last profile, two marks in one subgraph.
        [layer("/a"), layer("/a", " [profile 1]")],
        [layer("/a"), layer("/a", " [profile 1]"), layer("/a", " [profile 3]")],
        [layer("/a"), layer("/b"), layer("/a", " [profile 9999]")],
        [
            layer("/a_myl0_0"),
            layer("/a [profile 1]_myl1_0"),
            layer("/b [profile 2]_myl1_1"),
        ],
        # Twice, without a mark.
        [layer("/a"), layer("/a"), layer("/a")],
    ],
)
def test_what_is_not_told_apart_is_refused(listed: list[EngineLayer]) -> None:
    with pytest.raises(GraphError, match="'m' does not tell its 3 profiles apart"):
        split_profiles(listed, 3, "m")
    with pytest.raises(GraphError, match="does not tell its 3 profiles apart"):
        layers_of_profile(listed, 1, 3, "m")


def test_an_inspector_that_lists_the_asked_profile_alone() -> None:
    listed = (layer("/a"), layer("/b"))
    assert layers_of_profile(listed, 1, 2, "m") == listed
    # A builder's list is of all profiles, so one without marks tells nothing.
    with pytest.raises(GraphError):
        split_profiles(listed, 2, "m")


def test_how_many_profiles_a_file_is_of() -> None:
    listed = [layer("/a"), layer("/a", " [profile 1]"), layer("/a", " [profile 2]")]
    assert count_profiles(listed, ["/a"]) == 3
    assert count_profiles(listed[:1], ["/a"]) == 1
    # No plan has so many.
    assert count_profiles([layer("/a"), layer("/a", f" [profile {'9' * 5000}]")], ["/a"]) == 1
    # Whoever calls a node so has one profile, as far as names tell.
    assert count_profiles(listed, ["/a", "/a [profile 1]"]) == 1


def summary(name: str) -> LayerSummary:
    return LayerSummary(name, "Conv", is_int8=True, macs=100)


def covered(*profiles: list[EngineLayer], main: int = 0) -> Coverage:
    graph = [summary("/a"), summary("/b")]
    found = [cover(graph, each) for each in profiles]
    return join_profiles(dict(enumerate(found)), ["1", "8", "1:32:32"], main)


def test_int8_in_all_profiles() -> None:
    first = [layer("/a"), layer("/b")]
    # Without metadata nodes are found in names, which have the mark.
    second = [layer("/a", " [profile 1]"), layer("w + /b", " [profile 1]")]
    found = covered(first, second, main=1)
    assert found.missed == ()
    assert found.profiles == ("1", "8")
    assert [each.engine_layer for each in found.layers] == [
        "/a [profile 1]",
        "w + /b [profile 1]",
    ]
    assert (
        "2 of 2 quantized layers, 100.0% of the arithmetic, in each of 2 profiles (batch 1, 8)"
    ) in describe_coverage(found)


@pytest.mark.parametrize("main", [0, 1, 2])
def test_a_layer_that_is_float_in_one_profile_is_not_int8(main: int) -> None:
    good = [layer("/a"), layer("/b")]
    bad = [layer("/a"), layer("/b", dtype="float16")]
    found = covered(good, bad, good, main=main)
    (missed,) = found.missed
    assert (missed.name, missed.runs_int8, missed.tactic) == ("/b", False, "kernel_float16")
    assert missed.reason.startswith("in the profile for batch 8: TensorRT chose kernel_float16")
    assert "/b is not seen in INT8" in describe_coverage(found)
    with pytest.raises(GateError, match="1 of 2 quantized layers are not seen in INT8, first '/b'"):
        found.check_int8("m.onnx")
    assert found.int8_share == 0.5


def test_a_layer_that_is_not_seen_in_one_profile_is_not_int8() -> None:
    found = covered([layer("/a"), layer("/b")], [layer("/a")])
    (missed,) = found.missed
    assert (missed.name, missed.runs_int8) == ("/b", None)
    assert missed.reason.startswith("in the profile for batch 8: no engine layer names it")
    # What is known to be float says more; where it is so in all of them, no profile is named.
    floats = [layer("/a"), layer("/b", dtype="float16")]
    (missed,) = covered([layer("/a")], floats).missed
    assert missed.reason.startswith("in the profile for batch 8: TensorRT chose")
    (missed,) = covered(floats, floats).missed
    assert missed.reason.startswith("TensorRT chose")


def test_profiles_of_several_sizes_are_named_by_their_shapes() -> None:
    shapes = ["images:8x3x48x160", "images:8x3x48x320"]
    good = [layer("/a"), layer("/b")]
    bad = [layer("/a"), layer("/b", dtype="float16")]
    alone = {index: covered(each) for index, each in enumerate((good, bad))}
    found = join_profiles(alone, shapes)
    (missed,) = found.missed
    assert missed.reason.startswith("in the profile for images:8x3x48x320: TensorRT chose")
    assert f"in each of 2 profiles ({', '.join(shapes)})" in describe_coverage(found)
    # What a layer file calls them, of which no shape is known.
    (missed,) = join_profiles(alone, ["profile 0", "profile 1"]).missed
    assert missed.reason.startswith("in profile 1: TensorRT chose")
