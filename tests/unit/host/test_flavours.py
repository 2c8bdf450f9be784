"""Which TensorRT runs which plan, of those that a host has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trtqat.errors import MissingError, PlanError
from trtqat.host.flavours import (
    BrokenFlavour,
    TensorRTFlavour,
    choose_flavour,
    find_flavours,
    rtx_cuda,
)
from trtqat.plan.header import PlanHeader

FULL_8 = TensorRTFlavour("full", "tensorrt", "8.6.0", "")
LEAN_8 = TensorRTFlavour("lean", "tensorrt_lean", "8.6.0", "")
LEAN_10 = TensorRTFlavour("lean", "tensorrt_lean_bindings", "10.16.1.11", "")
LEAN_11 = TensorRTFlavour("lean", "tensorrt_lean_bindings", "11.4.0.106", "")
DISPATCH_10 = TensorRTFlavour("dispatch", "tensorrt_dispatch_bindings", "10.16.1.11", "")

PLAIN = PlanHeader((8, 6, 0), False, 0)
COMPATIBLE = PlanHeader((8, 6, 0), True, 0)


@pytest.mark.parametrize(
    ("header", "installed", "chosen"),
    [
        (PLAIN, [FULL_8, LEAN_10], FULL_8),
        (COMPATIBLE, [FULL_8, LEAN_10], FULL_8),
        (COMPATIBLE, [LEAN_8, DISPATCH_10], LEAN_8),
        # The full TensorRT is too new for the plan; the dispatch one is not.
        (COMPATIBLE, [LEAN_11, DISPATCH_10], DISPATCH_10),
        (PlanHeader((10, 3, 0), True, 0), [FULL_8, LEAN_11], LEAN_11),
    ],
)
def test_the_first_that_may(
    header: PlanHeader, installed: list[TensorRTFlavour], chosen: TensorRTFlavour
) -> None:
    assert choose_flavour(header, installed) == chosen


def test_a_wanted_one_is_the_only_one() -> None:
    assert choose_flavour(COMPATIBLE, [FULL_8, LEAN_10], wanted="lean") == LEAN_10
    with pytest.raises(PlanError, match="the lean runtime runs version-compatible plans only"):
        choose_flavour(PLAIN, [FULL_8, LEAN_8], wanted="lean")
    with pytest.raises(MissingError, match="No dispatch TensorRT can be imported here") as caught:
        choose_flavour(COMPATIBLE, [], wanted="dispatch")
    assert "pip install -e '.[lean]'" in caught.value.remedy


def test_the_way_out_of_a_wish_is_to_leave_it_out() -> None:
    for header, wanted in ((PLAIN, "lean"), (COMPATIBLE, "dispatch")):
        with pytest.raises((PlanError, MissingError)) as caught:
            choose_flavour(header, [FULL_8, LEAN_8], wanted=wanted)  # type: ignore[arg-type]
        assert caught.value.remedy == "Leave out --runtime: 8.6.0 (full) runs it."


def test_a_plan_for_rtx_has_no_full_runtime() -> None:
    header = PlanHeader((1, 7, 1), False, 0, "rtx")
    here = TensorRTFlavour("rtx", "tensorrt_rtx", "1.7.1.116", "")
    for wanted in ("full", "lean", "dispatch"):
        with pytest.raises((PlanError, MissingError)) as caught:
            choose_flavour(header, [here], wanted=wanted)
        assert caught.value.remedy == "Leave out --runtime: 1.7.1.116 (rtx) runs it."


def test_a_lean_runtime_of_another_version_is_no_way_out_of_one_left_out() -> None:
    with pytest.raises(PlanError, match="without its lean runtime") as caught:
        choose_flavour(COMPATIBLE, [LEAN_10], lean_excluded=True)
    assert caught.value.remedy == (
        "Install TensorRT 8.6.0, or build the plan again without --exclude-lean-runtime."
    )


def test_what_another_library_lacks_is_no_reason() -> None:
    problems = [
        BrokenFlavour("full", "tensorrt", "no libnvinfer.so.10"),
        BrokenFlavour("rtx", "tensorrt_rtx_bindings", "no libcudart"),
    ]
    rtx = PlanHeader((1, 7, 1), False, 0, "rtx")
    with pytest.raises(MissingError, match="RTX can be imported here: tensorrt_rtx_bindings: no"):
        choose_flavour(rtx, [], problems)
    with pytest.raises(MissingError, match=r"No TensorRT for RTX can be imported here\."):
        choose_flavour(rtx, [], problems[:1])
    with pytest.raises(MissingError, match="No lean TensorRT can be imported here"):
        choose_flavour(COMPATIBLE, [], problems, wanted="lean")


def test_none() -> None:
    with pytest.raises(MissingError, match=r"No TensorRT .* here: tensorrt: libcudnn is missing"):
        choose_flavour(PLAIN, [], [BrokenFlavour("full", "tensorrt", "libcudnn is missing")])
    with pytest.raises(PlanError) as caught:
        choose_flavour(COMPATIBLE, [LEAN_11])
    assert "11.4.0.106 (lean): a version-compatible plan of TensorRT 8 runs up to" in str(
        caught.value
    )


def test_remedies_name_what_runs_it() -> None:
    with pytest.raises(MissingError) as plain:
        choose_flavour(PLAIN, [])
    assert "TensorRT 8.6.0" in plain.value.remedy
    assert "lean" not in plain.value.remedy
    with pytest.raises(MissingError) as newer:
        choose_flavour(PlanHeader((11, 4, 0), True, 0), [])
    assert "TensorRT 11.4.0 or a newer one" in newer.value.remedy


def test_a_lean_runtime_is_no_remedy_where_it_must_be_the_full_one() -> None:
    with pytest.raises(MissingError, match="No full TensorRT") as caught:
        choose_flavour(COMPATIBLE, [LEAN_10], wanted="full")
    assert "Install the full TensorRT 8.6.0" in caught.value.remedy
    assert "lean" not in caught.value.remedy


def test_the_version_that_built_it_is_named() -> None:
    with pytest.raises(PlanError, match=r"was built by TensorRT 15\.6\.0; 8\.6\.0 \(full\)"):
        choose_flavour(PlanHeader((15, 6, 0), False, 0), [FULL_8])


def test_wheels_without_the_metapackage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bindings' package is found, after that of the libraries was imported."""
    order = "import builtins; builtins._trtqat_order = getattr(builtins, '_trtqat_order', [])"
    for package, line in (
        ("tensorrt_lean_libs", f"{order} + ['libs']"),
        ("tensorrt_lean_bindings", f"{order} + ['bindings']\n__version__ = '10.16.1.11'"),
        ("tensorrt_dispatch", "raise OSError('libnvinfer_dispatch.so.8: cannot open')"),
        ("tensorrt_dispatch_libs", "raise ImportError"),
    ):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(line)
    monkeypatch.syspath_prepend(str(tmp_path))
    found, problems = find_flavours()
    for package in ("tensorrt_lean_libs", "tensorrt_lean_bindings"):
        sys.modules.pop(package)
    lean = next(each for each in found if each.flavour == "lean")
    assert (lean.module, lean.version) == ("tensorrt_lean_bindings", "10.16.1.11")
    assert lean.path == str(tmp_path / "tensorrt_lean_bindings")
    import builtins

    assert builtins._trtqat_order == ["libs", "bindings"]  # type: ignore[attr-defined]
    reason = "libnvinfer_dispatch.so.8: cannot open"
    assert problems == (
        BrokenFlavour("dispatch", "tensorrt_dispatch", reason),
        BrokenFlavour("dispatch", "tensorrt_dispatch_bindings", "ImportError"),
    )
    assert str(problems[0]) == f"tensorrt_dispatch: {reason}"


def test_packages_tell_the_cuda_of_tensorrt_for_rtx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    cuda = rtx_cuda.__wrapped__  # what another test found is kept
    assert cuda() == ""
    # One that pip did not install says so in its files alone.
    other = tmp_path / "tensorrt_rtx_cu14_bindings-1.0.egg-info"
    other.mkdir()
    (other / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tensorrt-rtx-cu14-bindings\n")
    (other / "top_level.txt").write_text("tensorrt_rtx_bindings\n")
    assert cuda() == "14"
    (tmp_path / "tensorrt_rtx_cu13_bindings-1.0.dist-info").mkdir()
    assert cuda() == "13"
