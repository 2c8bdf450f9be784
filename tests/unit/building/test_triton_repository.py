"""Triton model repositories: files, versions, labels, and several writers at once."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.hanging import HUNG_S
from tests.support.plans import make_plan
from tests.support.triton_engines import (
    CLASSIFIER,
    OPTIONS,
    PLAN,
    SCHEMA,
    config_of,
    refused,
    text_format,
    tree,
)
from trtqat.building.triton import repository as triton
from trtqat.building.triton.config import TritonOptions
from trtqat.building.triton.repository import check_repository, write_repository
from trtqat.errors import UsageError
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import check_plan
from trtqat.tensors import TensorSpec


def test_layout_and_versions(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    first = write_repository(repository, PLAN, CLASSIFIER, OPTIONS)
    assert (first.version, first.is_new) == (1, True)
    assert first.plan == repository / "model" / "1" / "model.plan"
    assert sorted(tree(repository)) == [
        "model", "model/1", "model/1/model.plan", "model/1/model.plan.json", "model/config.pbtxt",
    ]  # fmt: skip
    assert read_plan(first.plan)[0] == PLAN
    assert check_plan(PLAN, first.plan) is not None
    before = tree(repository)
    # Triton takes the number that a name begins with.
    for name in ("007", "12abc", "warmup", ".4"):
        (first.path / name).mkdir()
    (first.path / "13").touch()
    other = make_plan(body=b"other" * 9)
    second = write_repository(repository, other, CLASSIFIER, OPTIONS)
    assert (second.version, second.is_new) == (14, False)
    assert second.config_text == first.config_text
    assert second.plan.read_bytes() == other
    after = tree(repository)
    assert {path: after[path] for path in before} == before
    third = write_repository(repository, PLAN, CLASSIFIER, TritonOptions("another"))
    assert (third.version, third.path) == (1, repository / "another")


TUNED = """
# Tuned by hand, and so no business of a later build.
max_batch_size: 128, version_policy < all {} >
backend: 'tensorrt'
input [ { name: 'ima' "ges" data_type: TYPE_FP32 dims: 3 dims: 0x20 dims: 32 } ]
output { name: "\\154ogits", data_type: TYPE_FP32; dims: [ 10 ] label_filename: "classes # 1" }
dynamic_batching { preferred_batch_size: [ 64, 128 ] }
instance_group: [ { count: 2 }, { count: 1 gpus: [ 0 ] } ]
parameters { key: "execution_context_allocation_strategy" value { string_value: "STATIC" } }
model_warmup { name: "w" batch_size: 1
  inputs { key: "images" value { data_type: TYPE_FP32 dims: [ 3, 32, 32 ] zero_data: true } } }
"""


@pytest.mark.parametrize(
    "content",
    [TUNED.encode(), b"", b"\xff\xfe is no UTF-8", TUNED.replace("128", "64").encode()],
    ids=["tuned", "empty", "binary", "another engine's"],
)
def test_an_existing_config_is_kept(content: bytes, tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.pbtxt"
    config.parent.mkdir()
    config.write_bytes(content)
    for version in (1, 2):
        model = write_repository(tmp_path, PLAN, CLASSIFIER, OPTIONS)
        assert (model.version, model.is_new) == (version, False)
        assert model.config_text == content.decode(errors="replace")
        assert config.read_bytes() == content
        # What would be written into an empty directory lies beside this version's plan.
        assert model.proposed == model.plan.with_name("config.pbtxt")
        assert text_format.Parse(model.proposed.read_text(), SCHEMA.ModelConfig()) == config_of(
            CLASSIFIER, tmp_path / f"empty {version}"
        )
        assert f"was kept: compare it with '{model.proposed}'" in str(model)


def test_a_build_like_the_last_one_has_nothing_to_compare(tmp_path: Path) -> None:
    first, second = (write_repository(tmp_path, PLAN, CLASSIFIER, OPTIONS) for _ in range(2))
    assert (first.proposed, second.proposed) == (None, None)
    assert not second.plan.with_name("config.pbtxt").exists()
    assert str(first) == str(first.plan)
    assert str(second) == f"{second.plan}; its config.pbtxt was kept"


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.pbtxt"
    config.parent.mkdir()
    config.symlink_to(config)
    with pytest.raises(UsageError, match=r"config.pbtxt' cannot be read: Too many") as error:
        write_repository(tmp_path, PLAN, CLASSIFIER, OPTIONS)
    assert "another --triton-name" in error.value.remedy
    assert os.listdir(config.parent) == ["config.pbtxt"]


LABELS = "".join(f"class {index}\n" for index in range(10))


@pytest.mark.parametrize(
    "content",
    [LABELS, LABELS.rstrip("\n"), LABELS.replace("\n", "\r\n"), LABELS.replace(" ", "\u2028\v")],
)
def test_labels(content: str, tmp_path: Path) -> None:
    labels = tmp_path / "imagenet names"
    labels.write_bytes(content.encode())
    outputs = (*CLASSIFIER.outputs, TensorSpec("features", (-1, 64)))
    manifest, options = replace(CLASSIFIER, outputs=outputs), TritonOptions("model", labels)
    config = config_of(manifest, tmp_path, options)
    assert [output.label_filename for output in config.output] == ["labels.txt", ""]
    copy = tmp_path / "model" / "labels.txt"
    assert copy.read_bytes() == content.replace("\r\n", "\n").encode()
    # The same labels again, and then none: the config is good for both.
    assert write_repository(tmp_path, PLAN, manifest, options).version == 2
    assert write_repository(tmp_path, PLAN, manifest, OPTIONS).version == 3


def test_labels_that_do_not_fit(here: Path) -> None:
    labels = here / "labels"
    options = TritonOptions("model", labels)
    refused(CLASSIFIER, "cannot be read: No such file", options)
    for count in (0, 9, 11):
        labels.write_text("x\n" * count)
        refused(CLASSIFIER, f"has {count} labels, but the output 'logits' has 10 classes", options)
    for shape in [(-1,), (-1, 10, -1)]:
        manifest = replace(CLASSIFIER, outputs=(TensorSpec("y", shape),))
        refused(manifest, "'y' has no fixed number of classes", options)


def test_labels_of_an_existing_model(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.write_text(LABELS)
    options = TritonOptions("model", labels)
    write_repository(tmp_path / "a", PLAN, CLASSIFIER, OPTIONS)
    # The config without labels is the user's; the one to compare it with has them.
    model = write_repository(tmp_path / "a", PLAN, CLASSIFIER, options)
    assert "label_filename" not in model.config_text
    assert model.proposed is not None
    assert "label_filename" in model.proposed.read_text()
    assert (model.path / "labels.txt").read_text() == LABELS
    write_repository(tmp_path / "b", PLAN, CLASSIFIER, options)
    labels.write_text(LABELS.replace("9", "nine"))
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"labels.txt' has other labels than this build"):
        write_repository(tmp_path / "b", PLAN, CLASSIFIER, options)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("has_locks", [True, False])
def test_writers_at_once(has_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_locks:
        monkeypatch.setattr(triton, "locked", lambda _: contextlib.nullcontext())
    count = 8
    start = threading.Barrier(count, timeout=HUNG_S)

    def write(index: int) -> tuple[int, bytes]:
        plan = make_plan(body=bytes([index]) * 10)
        start.wait()
        model = write_repository(tmp_path / "models", plan, CLASSIFIER, OPTIONS)
        return model.version, plan

    with ThreadPoolExecutor(count) as pool:
        written = dict(pool.map(write, range(count)))
    model = tmp_path / "models" / "model"
    assert sorted(written) == list(range(1, count + 1))
    for version, plan in written.items():
        assert (model / str(version) / "model.plan").read_bytes() == plan
    assert len(os.listdir(model)) == count + 1


def test_writers_of_different_engines_at_once(tmp_path: Path) -> None:
    count = 8
    start = threading.Barrier(count, timeout=HUNG_S)

    def write(index: int) -> tuple[int, int]:
        manifest = replace(CLASSIFIER, outputs=(TensorSpec("logits", (-1, 10 + index)),))
        start.wait()
        return write_repository(tmp_path, PLAN, manifest, OPTIONS).version, 10 + index

    with ThreadPoolExecutor(count) as pool:
        classes = dict(pool.map(write, range(count)))
    model = tmp_path / "model"
    assert sorted(os.listdir(model)) == [*map(str, range(1, count + 1)), "config.pbtxt"]
    # The first one's config serves; each of the others has its own beside its plan.
    assert not (model / "1" / "config.pbtxt").exists()
    for version, number in classes.items():
        path = model / ("" if version == 1 else str(version)) / "config.pbtxt"
        config = text_format.Parse(path.read_text(), SCHEMA.ModelConfig())
        assert list(config.output[0].dims) == [number]


@pytest.mark.parametrize(
    ("has_version", "step"),
    [
        *((False, step) for step in ("plan", "manifest", "labels", "config", "rename")),
        *((True, step) for step in ("plan", "manifest", "rename")),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    has_version: bool, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels"
    labels.write_text(LABELS)
    repository, options = tmp_path / "models", TritonOptions("model", labels)
    if has_version:
        write_repository(repository, PLAN, CLASSIFIER, options)
    before = tree(tmp_path)
    left = ["plan", "manifest", "labels", "config", "rename"].index(step)
    sync, rename = os.fsync, Path.rename

    def full_sync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    def full_rename(path: Path, target: Path) -> Path:
        if step == "rename":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_sync)
        patch.setattr(Path, "rename", full_rename)
        with pytest.raises(UsageError, match="cannot be written: No space left on device"):
            write_repository(repository, PLAN, CLASSIFIER, options)
    assert tree(tmp_path) == before
    write_repository(repository, PLAN, CLASSIFIER, options)


def test_an_interrupt_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_repository(tmp_path / "models", PLAN, CLASSIFIER, OPTIONS)
    assert tree(tmp_path) == {}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model").touch()
    (tmp_path / "other" / "model" / "config.pbtxt").mkdir(parents=True)
    before = tree(tmp_path)
    for place, message in [
        ("file", "Not a directory"),
        ("missing/models", "missing' does not exist"),
        ("models", "Not a directory"),
        ("other", "config.pbtxt' is a directory"),
    ]:
        with pytest.raises(UsageError, match=message):
            write_repository(tmp_path / place, PLAN, CLASSIFIER, OPTIONS)
    assert tree(tmp_path) == before


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    spec = CLASSIFIER.inputs, CLASSIFIER.outputs, CLASSIFIER.profiles
    check_repository(tmp_path / "models", *spec, OPTIONS)
    assert tree(tmp_path) == {}
    write_repository(tmp_path / "models", PLAN, CLASSIFIER, OPTIONS)
    before = tree(tmp_path)
    check_repository(tmp_path / "models", *spec, OPTIONS)
    assert tree(tmp_path) == before
