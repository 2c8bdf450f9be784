"""The folder of a search: its own files are taken or removed, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtqat.errors import UsageError
from trtqat.search.speed.folder import LOG, opened_folder, remove_folder
from trtqat.search.speed.forms import Form
from trtqat.search.speed.tune_log import Try, TuneLog, write_log

ENGINES = ("int8.engine", "int8.engine.json", "float-3-0123456789ab.onnx", "timing.cache")


def left(folder: Path, key: str) -> TuneLog:
    """What an interrupted search leaves."""
    folder.mkdir()
    for name in (*ENGINES, ".int8.onnx.123-00ff00ff"):
        (folder / name).write_bytes(b"left")
    log = TuneLog(key, (Try((), Form(), 1.0, {}, {}, None, "", 60.0),))
    write_log(folder / LOG, log)
    return log


def test_an_interrupted_search_finds_its_engines(tmp_path: Path) -> None:
    folder = tmp_path / "out.onnx.tune"
    log = left(folder, "mine")
    with opened_folder(folder, "mine") as found:
        assert found == log
        assert all((folder / name).exists() for name in ENGINES)
        remove_folder(folder)
        assert not folder.exists()


def test_engines_of_another_search_are_never_taken(tmp_path: Path) -> None:
    folder = tmp_path / "out.onnx.tune"
    left(folder, "other")
    with opened_folder(folder, "mine") as found:
        assert found == TuneLog("mine")
    assert sorted(each.name for each in folder.iterdir()) == ["lock", LOG]


def test_engines_beside_a_damaged_log_are_never_taken(tmp_path: Path) -> None:
    folder = tmp_path / "out.onnx.tune"
    left(folder, "mine")
    (folder / LOG).write_bytes(b"{")
    with opened_folder(folder, "mine") as found:
        assert found == TuneLog("mine")
    assert sorted(each.name for each in folder.iterdir()) == ["lock", LOG]


@pytest.mark.parametrize("name", ["thesis.txt", "model.engine", "int8"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out.onnx.tune"
    left(folder, "other")
    (folder / name).write_text("mine")
    before = sorted(folder.iterdir())
    with (
        pytest.raises(UsageError, match=f"'{name}' in it is none"),
        opened_folder(folder, "mine"),
    ):
        pass
    assert sorted(folder.iterdir()) == before


def test_what_came_into_the_folder_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out.onnx.tune"
    with opened_folder(folder, "mine"):
        (folder / "notes.txt").write_text("mine")
        remove_folder(folder)
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx.tune"
    path.write_text("a file")
    with pytest.raises(UsageError, match="cannot be used"), opened_folder(path, "mine"):
        pass


@pytest.mark.parametrize("key", ["mine", "other"])
def test_a_second_search_is_kept_out_until_the_first_ends(key: str, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="this system has no such locks")
    folder = tmp_path / "out.onnx.tune"
    log = left(folder, "mine")
    with opened_folder(folder, "mine"):
        before = {each.name: each.read_bytes() for each in folder.iterdir()}
        with (
            pytest.raises(UsageError, match="Another search writes into"),
            opened_folder(folder, key),
        ):
            pass
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    # However the first has ended, nothing of it is lost.
    with opened_folder(folder, "mine") as found:
        assert found == log
