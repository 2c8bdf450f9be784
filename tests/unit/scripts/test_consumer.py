"""The programs in C++ that check and run a plan: compiled here, against a stand-in of TensorRT."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.consumer import (
    COMPILER,
    CONSUMER,
    NAMED,
    ROOT,
    SIZED,
    STAND_IN,
    anchored,
    refused,
    run,
    write_plan,
)
from tests.support.plans import make_manifest
from trtqat.plan.manifest import Manifest, ProfileShapes, manifest_path
from trtqat.plan.plugins import PluginLibrary, RecordedPlugins
from trtqat.plan.profiles import batches_of
from trtqat.plan.sizes import Profile, choose_sized
from trtqat.tensors import TensorSpec

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")

SHIPPED = ROOT / "tests" / "data" / "shipped"
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I", str(CONSUMER))
# What reads beyond its memory ends at once.
WATCHED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``check_plan``, and ``run_plan`` with the stand-in."""
    folder = tmp_path_factory.mktemp("consumer")
    assert COMPILER is not None
    started = []
    for name, sources in (
        ("check_plan", ("check_plan.cpp",)),
        ("run_plan", ("run_plan.cpp", STAND_IN / "stand_in.cpp")),
    ):
        files = [CONSUMER / source for source in sources]
        include = ("-I", STAND_IN / "include")
        words: list[str | Path] = [
            COMPILER,
            *STRICT,
            *WATCHED,
            *include,
            "-o",
            folder / name,
            *files,
        ]
        started.append(subprocess.Popen(words))
    assert [each.wait() for each in started] == [0, 0]
    return folder


@pytest.mark.parametrize("size", [0, 1, 26, 27, 28, 35, 36, 37, 91, 99, 100, 1000, 70_001])
def test_the_hash_is_that_of_every_size(size: int, programs: Path, tmp_path: Path) -> None:
    """Sizes around those at which another block begins."""
    plan = write_plan(tmp_path, np.random.default_rng(size).bytes(size))
    done = run(programs / "check_plan", plan)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(plan.read_bytes()).hexdigest() in done.stdout


def test_what_a_plan_takes_is_told(programs: Path, tmp_path: Path) -> None:
    inputs = (TensorSpec('a "quoted" näme\n', (-1, 3)), TensorSpec("codes", (-1,), "int8"))
    recorded = RecordedPlugins((PluginLibrary("libnms.so", "0" * 64),))
    done = run(programs / "check_plan", write_plan(tmp_path, inputs=inputs, plugins=recorded))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1:3] == ['input a "quoted" näme', " float32 -1 3"]
    assert lines[3:] == ["input codes int8 -1", "output y float32 -1 10", "plugins libnms.so"]


def test_a_changed_byte_is_refused(programs: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    content = bytearray(plan.read_bytes())
    content[30] ^= 1
    plan.write_bytes(content)
    for program, words in (("check_plan", ()), ("run_plan", (1, tmp_path))):
        done = run(programs / program, plan, *words)
        assert done.returncode == 2
        assert "the SHA-256 differs" in done.stderr


def test_manifests_of_all_versions_are_read(programs: Path, tmp_path: Path) -> None:
    """They get as far as the hash, which is of plans that are not here."""
    manifests = sorted(SHIPPED.glob("manifest-*.json"))
    assert len(manifests) >= 5
    plan = tmp_path / "m.engine"
    plan.write_bytes(b"another plan")
    for manifest in manifests:
        shutil.copy(manifest, manifest_path(plan))
        done = run(programs / "check_plan", plan)
        assert "the SHA-256 differs" in done.stderr, manifest


def test_a_manifest_that_is_cut_off_is_refused(programs: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    text = manifest_path(plan).read_text()
    for end in [0, 1, *range(2, len(text) - 2, 37)]:
        manifest_path(plan).write_text(text[:end])
        done = run(programs / "check_plan", plan)
        assert done.returncode == 2, end
        assert "cannot be read: no JSON at byte" in done.stderr
    manifest_path(plan).write_text("[" * 100_000)
    assert "it is too deep" in run(programs / "check_plan", plan).stderr
    manifest_path(plan).write_text('{"plan_sha256": 1}')
    assert "'plan_sha256' has another type" in run(programs / "check_plan", plan).stderr
    manifest_path(plan).unlink()
    assert "cannot be read" in run(programs / "check_plan", plan).stderr


def test_inputs_and_outputs_are_found_by_name(programs: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path, **NAMED)
    arrays = {name: np.random.default_rng(ord(name)).random((4, 3), np.float32) for name in "ab"}
    for name, array in arrays.items():
        array.tofile(tmp_path / f"{name}.bin")
    words = (f"b={tmp_path}/b.bin", f"a={tmp_path}/a.bin")
    done = run(programs / "run_plan", plan, 4, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found = [np.fromfile(tmp_path / f"{at}.bin", np.float32).reshape(4, 3) for at in range(2)]
    np.testing.assert_array_equal(found[0], arrays["a"] + arrays["b"])
    np.testing.assert_array_equal(found[1], 2 * arrays["a"])
    assert done.stdout.startswith(f"output sum float32 {tmp_path}/0.bin\n")


@pytest.mark.parametrize(("batch", "width"), [(4, 3), (1, 6), (2, 6), (2, 9)])
def test_the_profile_is_that_of_the_size(
    batch: int, width: int, programs: Path, tmp_path: Path
) -> None:
    """The stand-in takes a width by its own profile alone; the last one holds all widths."""
    plan = write_plan(tmp_path, **SIZED)
    array = np.random.default_rng(width).random((batch, width), np.float32)
    array.tofile(tmp_path / "a.bin")
    words = [f"{name}={tmp_path}/a.bin" for name in "ab"] + [f"{name}:{width}" for name in "ab"]
    done = run(programs / "run_plan", plan, batch, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.fromfile(tmp_path / "1.bin", np.float32), 2 * array.ravel())


@pytest.mark.parametrize("seed", range(12))
def test_both_choose_the_same_profile(seed: int, programs: Path, tmp_path: Path) -> None:
    """Of profiles that overlap, by C++ and by what trtqat's sessions choose by."""
    generator = np.random.default_rng(seed)

    def drawn(least: int) -> tuple[int, int, int]:
        low, best, high = sorted(map(int, generator.integers(least, 9, 3)))
        return low, best, high

    profiles: list[Profile] = []
    for _ in range(5):
        (low, best, high), widths = drawn(1), {name: drawn(3) for name in "ab"}
        profiles.append(
            {
                name: ProfileShapes(*zip((low, best, high), widths[name], strict=True))
                for name in "ab"
            }
        )
    first, *more = profiles
    changes = {"profiles": first, "more_profiles": tuple(more), "schema_version": 2}
    plan = write_plan(tmp_path, **{**SIZED, **changes})
    ranges = [batches_of(each) for each in profiles]
    chosen = []
    for _ in range(12):
        batch, *width = map(int, generator.integers(3, 8, 3))
        sizes = {name: (each,) for name, each in zip("ab", width, strict=True)}
        expected = choose_sized(profiles, ranges, batch, sizes)
        said = [f"{name}:{size[0]}" for name, size in sizes.items()]
        done = run(programs / "check_plan", plan, batch, *said)
        if expected is None:
            assert done.returncode == 2
            assert "No profile of the engine takes" in done.stderr
        else:
            shapes = " ".join(f"{name} {batch}x{size[0]}" for name, size in sizes.items())
            assert done.stdout.splitlines()[-1] == f"profile {expected} {shapes}"
        chosen.append(expected)
    assert len(set(chosen)) > 1


@pytest.mark.parametrize(
    ("batch", "profile"), [(1, 0), (2, 0), (5, 1), (8, 1), (9, None), (100, None)]
)
def test_an_input_of_a_fixed_batch_keeps_it(
    batch: int, profile: int | None, programs: Path, tmp_path: Path
) -> None:
    """A table of 100 rows has no say in which profile is chosen, and keeps its rows."""
    plan = write_plan(tmp_path, **anchored(100, (1, 2, 4), (1, 4, 8)))
    done = run(programs / "check_plan", plan, batch)
    if profile is None:
        assert done.returncode == 2
        assert f"No profile of the engine takes a batch of {batch}" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"profile {profile} anchors 100x4 x {batch}x3"


def test_where_all_batches_are_fixed_the_smallest_counts(programs: Path, tmp_path: Path) -> None:
    inputs = (TensorSpec("anchors", (100, 4)), TensorSpec("x", (8, 3)))
    plan = write_plan(tmp_path, **{**anchored(100, (8, 8, 8)), "inputs": inputs})
    done = run(programs / "check_plan", plan, 8)
    assert done.stdout.splitlines()[-1] == "profile 0 anchors 100x4 x 8x3"
    assert run(programs / "check_plan", plan, 100).returncode == 2


def test_of_ranges_the_nearest_optimum_is_taken(programs: Path, tmp_path: Path) -> None:
    """Both hold width 6 at batch 2; profile 1 is tuned for it."""
    both = {
        "profiles": {name: ProfileShapes((1, 3), (2, 3), (4, 9)) for name in "ab"},
        "more_profiles": ({name: ProfileShapes((1, 3), (2, 7), (4, 9)) for name in "ab"},),
    }
    plan = write_plan(tmp_path, **{**SIZED, **both})
    np.ones((2, 6), np.float32).tofile(tmp_path / "a.bin")
    words = [f"{name}={tmp_path}/a.bin" for name in "ab"] + [f"{name}:6" for name in "ab"]
    done = run(programs / "run_plan", plan, 2, tmp_path, *words)
    assert done.returncode == 0, done.stderr


def test_a_size_that_no_profile_takes(programs: Path, tmp_path: Path) -> None:
    file = f"={tmp_path}/a.bin"
    both = (f"a{file}", f"b{file}")
    several = refused(programs, tmp_path, 2, tmp_path, *both, **SIZED)
    assert "profiles of several sizes: say which, as a:3x48x320." in several
    said = refused(programs, tmp_path, 4, tmp_path, *both, "a:9", "b:9", **SIZED)
    assert "takes a batch of 4 at a 9 at b 9. It has a 1x3 to 4x3, b 1x3 to 4x3; a 1x6" in said
    assert "no tensor 'c'" in refused(programs, tmp_path, 2, tmp_path, *both, "c:9", **SIZED)
    for wrong in ("a:", ":9", "a:9x", "a:x9", "a:9y", "a:99999999999"):
        assert "and no NAME:3x48x320" in refused(programs, tmp_path, 2, tmp_path, wrong, **SIZED)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda fields: fields["more_profiles"][0].pop("b"), "a profile is without 'b'"),
        (
            lambda fields: fields["more_profiles"][0].update(c=fields["profiles"]["a"]),
            "profiles are of different inputs",
        ),
        (lambda fields: fields["profiles"]["a"]["min"].pop(), "'a' has shapes of several lengths"),
        (lambda fields: fields.update(more_profiles={}), "'more_profiles' has another type"),
        (lambda fields: fields.update(schema_version=1), "schema 1 has no 'more_profiles'"),
        (lambda fields: fields.update(schema_version=99), "it has schema 99, and 1 and 2 are"),
        (lambda fields: fields.update(schema_version=0), "it has schema 0, and 1 and 2 are"),
        (lambda fields: fields.pop("schema_version"), "'schema_version' is missing"),
        *(
            (
                lambda fields, dim=dim: fields["profiles"]["a"].update(max=[dim, 3]),
                "'a' has a number that is beyond what it can be",
            )
            for dim in (1e300, 9e18, -2, 2.5, 2**31, float("nan"))
        ),
    ],
)
def test_profiles_that_are_none(
    damage: Callable[[dict[str, Any]], object], said: str, programs: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, **SIZED)
    fields = json.loads(manifest_path(plan).read_text())
    damage(fields)
    manifest_path(plan).write_text(json.dumps(fields))
    done = run(programs / "check_plan", plan)
    assert done.returncode == 2
    assert said in done.stderr


def test_profiles_of_no_input_are_not_chosen_from(programs: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path, **{**SIZED, "inputs": ()})
    assert run(programs / "check_plan", plan).returncode == 0
    done = run(programs / "check_plan", plan, 2)
    assert done.returncode == 2
    assert done.stderr == "error: The manifest has no tensor 'a'.\n"


@pytest.mark.parametrize("word", ["2abc", "0", "-1", "", " 2", "2.0", "9" * 30])
def test_what_is_no_batch_size(word: str, programs: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path, **NAMED)
    for program, words in (("check_plan", ()), ("run_plan", (tmp_path,))):
        done = run(programs / program, plan, word, *words)
        assert done.returncode == 2
        assert done.stderr == f"error: '{word}' is no batch size.\n"


def test_a_plan_that_is_no_file(programs: Path, tmp_path: Path) -> None:
    """A device stands for a pipe, which would be waited for."""
    for path in (tmp_path, "/dev/null", tmp_path / "none"):
        for program, words in (("check_plan", ()), ("run_plan", (1, tmp_path))):
            done = run(programs / program, path, *words)
            assert done.returncode == 2
            assert done.stderr == f"error: '{path}' cannot be read: it is no file.\n"


def test_what_does_not_fit_is_one_sentence(programs: Path, tmp_path: Path) -> None:
    file = f"={tmp_path}/a.bin"
    both = (f"a{file}", f"b{file}")
    assert "no file for input 'b'" in refused(programs, tmp_path)
    assert "No profile of the engine takes a batch of 5. It has a 1x3 to 4x3, b 1x3 to 4x3" in (
        refused(programs, tmp_path, 5, tmp_path, *both)
    )
    assert "has 12 bytes, and 'a' takes 24" in refused(programs, tmp_path, 2, tmp_path, *both)
    assert "is no batch size" in refused(programs, tmp_path, "none", tmp_path)
    assert "is no NAME=FILE" in refused(programs, tmp_path, 1, tmp_path, "a")
    assert "Usage: run_plan" in refused(programs, tmp_path, 1)
    assert "cannot be written" in refused(programs, tmp_path, 1, tmp_path / "none", *both)
    swapped = {"inputs": (TensorSpec("a", (-1, 3)), TensorSpec("c", (-1, 3)))}
    assert "no tensor 'b'" in refused(programs, tmp_path, **swapped)
    codes = {"inputs": (TensorSpec("a", (-1, 3), "int8"), TensorSpec("b", (-1, 3)))}
    assert "'a' is float32 in the engine, and int8" in refused(programs, tmp_path, **codes)
    fewer = {"outputs": (TensorSpec("sum", (-1, 3)),)}
    assert "other inputs and outputs" in refused(programs, tmp_path, **fewer)
    plugins = {"plugins": RecordedPlugins((PluginLibrary("libnms.so", "0" * 64),))}
    assert "needs the plugin library 'libnms.so'" in refused(programs, tmp_path, **plugins)
    rtx = {"library": "rtx"}
    assert "TensorRT for RTX, which is another library" in refused(programs, tmp_path, **rtx)


def test_what_tensorrt_refuses_is_its_own_failure(programs: Path, tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    plan.write_bytes(b"no plan")
    manifest: Manifest = dataclasses.replace(make_manifest(b"no plan"), **NAMED)
    manifest_path(plan).write_text(manifest.to_json())
    done = run(programs / "run_plan", plan, 1, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("TensorRT: no plan\nerror: TensorRT refuses the plan")


def test_a_host_without_a_gpu_is_told_before_tensorrt_starts(
    programs: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, **NAMED)
    done = run(programs / "run_plan", plan, 1, tmp_path, STAND_IN_WITHOUT_GPU="1")
    assert done.returncode == 1
    assert done.stderr == "error: cudaStreamCreate: no CUDA-capable device is detected\n"
