"""Plan, manifest and signature: all of them or none, whoever else writes at the same time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.hanging import HUNG_S
from tests.support.plans import make_manifest, make_plan
from trtqat.building.plan_files import write_plan
from trtqat.errors import UsageError
from trtqat.files import locked, write_together
from trtqat.plan.manifest import check_plan, manifest_path


def write(path: Path, body: bytes) -> None:
    plan = make_plan(body=body)
    write_plan(path, plan, make_manifest(plan))


def test_all_files_are_the_later_builds(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    (tmp_path / "m.engine.sig").write_bytes(b"of an older plan")
    (tmp_path / "m.engine.runtime-cache").write_bytes(b"kernels of an older plan")
    write(path, b"old")
    write(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json"]
    assert check_plan(path.read_bytes(), path) is not None


def test_many_builds_into_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    start = threading.Barrier(8, timeout=HUNG_S)

    def build(number: int) -> None:
        for turn in range(10):
            start.wait()
            write(path, f"{number} {turn}".encode() * 1000)

    with ThreadPoolExecutor(8) as builders:
        list(builders.map(build, range(8)))
    # The plan and the manifest of one and the same build.
    assert check_plan(path.read_bytes(), path) is not None
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json"]


def test_what_cannot_be_written_leaves_the_old_files_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.engine"
    write(path, b"old")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(elsewhere))
    really = os.fsync
    written = []

    def full(descriptor: int) -> None:
        # The first file still fits onto the disk, the second does not.
        written.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        really(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device") as caught:
        write(path, b"new")
    assert str(elsewhere) in caught.value.remedy
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    assert after == before
    kept = elsewhere / "m.engine"
    assert b"new" in kept.read_bytes()
    assert check_plan(kept.read_bytes(), kept) is not None


def test_a_full_temporary_directory_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError) as caught:
        write(tmp_path / "m.engine", b"new")
    assert caught.value.remedy == "Free some space, or choose another place."
    assert os.listdir(tmp_path) == []


def test_together_replaces_and_removes(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"1")
    write_together({old: None, new: b"2"})
    assert os.listdir(tmp_path) == ["new"]
    # What is not there need not be removed.
    write_together({old: None, new: b"3"})
    assert new.read_bytes() == b"3"


def test_whether_to_write_is_asked_while_no_other_one_renames(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    handle = os.open(tmp_path, os.O_RDONLY)

    def refuse() -> bool:
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False

    try:
        assert not write_together({one: None, other: b"2"}, only_if=refuse)
    finally:
        os.close(handle)
    assert (os.listdir(tmp_path), one.read_bytes()) == (["one"], b"1")
    assert write_together({one: b"2", other: b"2"}, only_if=lambda: True)


def test_a_locked_directory_lets_one_in_and_keeps_no_file(tmp_path: Path) -> None:
    inside: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with locked(tmp_path):
            inside.append("first")
            entered.set()
            assert leave.wait(HUNG_S)
            inside.append("first leaves")

    def second() -> None:
        assert entered.wait(HUNG_S)
        with locked(tmp_path):
            inside.append("second")

    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(each) for each in (first, second)]
        assert entered.wait(HUNG_S)
        leave.set()
    assert [each.result() for each in both] == [None, None]
    assert inside == ["first", "first leaves", "second"]
    assert os.listdir(tmp_path) == []


def test_manifest_records_what_the_preflight_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    write(path, b"weights")
    fields = json.loads(manifest_path(path).read_text())
    assert {"device_memory_bytes", "compute_capability", "platform", "driver"} <= set(fields)
