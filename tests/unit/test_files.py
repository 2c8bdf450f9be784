from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import math
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.output import print_json, print_table
from trtqat.data.dataset import files_of
from trtqat.errors import GateError, MissingError, PlanError, TrtqatError, UsageError
from trtqat.files import (
    check_writable,
    is_file,
    open_input,
    read_input,
    sha256_of,
    why_unreadable,
    write_atomically,
    write_together,
)


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.engine"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.engine"]


def test_destinations_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "file").touch()
    cases = [
        (folder, "is a directory"),
        (tmp_path / "missing" / "f", "'.*missing' does not exist"),
        (tmp_path / "file" / "f", "'.*file' does not exist"),
    ]
    for path, message in cases:
        with pytest.raises(UsageError, match=message):
            check_writable(path)
        with pytest.raises(UsageError, match=message):
            write_atomically(path, b"x")
    for refused in (check_writable, lambda path: write_atomically(path, b"x")):
        with pytest.raises(UsageError, match="File name too long"):
            refused(tmp_path / ("n" * 256))
    write_atomically(longest := tmp_path / ("n" * 255), b"x")
    longest.unlink()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(folder) == []


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to("real/r.json")
    for content in (b"first", b"second"):
        write_atomically(link, content)
        assert link.is_symlink()
        assert (tmp_path / "real" / "r.json").read_bytes() == content
    assert os.listdir(tmp_path / "real") == ["r.json"]


def test_links_among_files_that_belong_together_are_replaced(tmp_path: Path) -> None:
    """What a link leads to may belong together with other files, as a plan with its manifest."""
    (tmp_path / "v1").mkdir()
    for name in ("m.plan", "m.plan.json"):
        (tmp_path / "v1" / name).write_bytes(b"first")
    (tmp_path / "m.plan").symlink_to("v1/m.plan")
    write_together({tmp_path / name: b"second" for name in ("m.plan", "m.plan.json")})
    for name in ("m.plan", "m.plan.json"):
        assert (tmp_path / name).read_bytes() == b"second"
        assert (tmp_path / "v1" / name).read_bytes() == b"first"


def test_what_the_process_has_open_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"precious")
    with log.open("ab") as file:
        write_atomically(Path(f"/dev/fd/{file.fileno()}"), b" and new")
    assert log.read_bytes() == b"precious and new"
    assert os.listdir(tmp_path) == ["log"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"content")
    reader.join(10)
    assert found == [b"content"]
    assert pipe.is_fifo()
    # As the shell's >(command) has it.
    read, write = os.pipe()
    check_writable(Path(f"/dev/fd/{write}"))
    write_atomically(Path(f"/dev/fd/{write}"), b"again")
    assert os.read(read, 99) == b"again"
    os.close(read)
    os.close(write)


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "model.engine")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 1])
def test_sha256(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()


@pytest.fixture
def loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trtqat", "tensorrt"):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "level", "propagate"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(
    ("kind", "code"), [(TrtqatError, 1), (PlanError, 2), (GateError, 3), (MissingError, 4)]
)
def test_errors_become_exit_codes(
    kind: type[TrtqatError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_info, command(quiet=False, verbose=False):
        raise kind("It is broken.", "Mend it.")
    assert exit_info.value.exit_code == code
    assert capsys.readouterr() == ("", "error: It is broken.\n       Mend it.\n")


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(
    ("quiet", "verbose", "shown"),
    [(False, False, ["info", "warning"]), (True, False, ["warning"]),
     (False, True, ["debug", "info", "warning"])],
)  # fmt: skip
def test_log_levels(
    quiet: bool, verbose: bool, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with command(quiet=quiet, verbose=verbose):
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("trtqat.somewhere"), level)(level)
    assert capsys.readouterr() == ("", "".join(f"{level}\n" for level in shown))


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(("verbose", "times"), [(False, 1), (True, 2)])
def test_a_warning_is_said_once(
    verbose: bool, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("trtqat.somewhere")
    with command(quiet=False, verbose=verbose):
        for _ in range(2):
            logger.warning("no CUDA graph")
            logger.info("timing")
            logger.error("failed")
        logger.warning("no CUDA graph", exc_info=ValueError("this is new"))
    printed = capsys.readouterr().err
    assert printed.count("no CUDA graph") == times + 1
    assert "this is new" in printed
    assert printed.count("timing") == printed.count("failed") == 2


RESULT: dict[str, Any] = {
    "sqnr_db": math.inf,
    "all": [math.nan, 1.5, {"x": -math.inf}],
    "pair": (1, None),
    "path": Path("a/b"),
}


@pytest.mark.parametrize("to_file", [False, True])
def test_json_has_words_for_what_is_not_finite_and_names_the_command(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to_file: bool,
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/trtqat", "eval", "my model.onnx"])
    path = tmp_path / "result.json"
    is_stdout_taken = print_json(RESULT, str(path) if to_file else "-")
    assert is_stdout_taken is not to_file
    printed = capsys.readouterr().out
    assert json.loads(path.read_text() if to_file else printed) == {
        "command": "trtqat eval 'my model.onnx'",
        "sqnr_db": "inf",
        "all": ["nan", 1.5, {"x": "-inf"}],
        "pair": [1, None],
        "path": "a/b",
    }
    assert bool(printed) is not to_file


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text('[]1, \n\\"{}'),
        lambda each: st.lists(each) | st.dictionaries(st.text('[]1, \n\\"'), each),
    )
)
def test_numbers_on_one_line_are_the_same_json(value: object) -> None:
    finite = json.loads(json.dumps(value), parse_constant=lambda name: str(float(name)))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_json({"value": value}, "-")
    assert json.loads(printed.getvalue())["value"] == finite


def test_a_distribution_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"quantiles": [-1.5, None, 2e-07, 3], "words": ["1", "2"]}, "-")
    lines = capsys.readouterr().out.splitlines()
    assert ' "quantiles": [-1.5, null, 2e-07, 3],' in lines
    assert len(lines) == 8


def test_no_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not print_json(RESULT, None)
    assert capsys.readouterr().out == ""
    for destination in (None, "-", str(tmp_path / "result.json")):
        check_outputs({"--json": destination})
    with pytest.raises(UsageError, match="does not exist"):
        check_outputs({"--json": str(tmp_path / "missing" / "result.json")})
    with pytest.raises(UsageError, match="--html does not go to standard output"):
        check_outputs({"--html": Path("-")})


def test_outputs_never_overwrite_inputs_or_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (given := ["data.npz", "m.onnx", "m.onnx.data", "net.py"]):
        (tmp_path / name).write_bytes(b"")
    inputs = (Path("m.onnx"), "net.py:qat", *files_of("npz:data.npz"), "random:8", None)
    for name in (*given, str(tmp_path / "m.onnx"), "./net.py"):
        taken = "the weights of 'm.onnx'" if name.endswith(".data") else "an input"
        with pytest.raises(UsageError, match=rf"--json '.*' would overwrite {taken}"):
            check_outputs({"--json": name}, inputs)
    with pytest.raises(UsageError, match=r"'\./a' would overwrite what --html writes"):
        check_outputs({"--html": Path("a"), "--json": "./a"})
    check_outputs({"--html": Path("a"), "--json": "b", "--output": None}, inputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == given


def test_tables_are_not_cut_and_take_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["layer", "value"], [["[bold]" + "n" * 120, ":smile: 1.5"]])
    out = capsys.readouterr().out
    assert "[bold]" + "n" * 120 in out
    assert ":smile: 1.5 |" in out
    assert out.count("|") == 9
    # Markdown's columns need empty lines around them, and no space in these.
    assert out.startswith("\n|")
    assert out.endswith("|\n\n")
    print_table(["layer", "value"], [["a|b.onnx", "1"]])
    assert "a\\|b.onnx" in capsys.readouterr().out


def test_an_error_is_one_line_whatever_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), command(quiet=False, verbose=False):
        raise PlanError("'a\r\nerror: all is well' is none.", "Mend it.")
    assert capsys.readouterr().err.splitlines() == [
        r"error: 'a\r\nerror: all is well' is none.",
        "       Mend it.",
    ]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    loop, pipe, port = tmp_path / "loop", tmp_path / "pipe", tmp_path / "socket"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    listening = socket.socket(socket.AF_UNIX)
    # Names of sockets may not be as long as those of other files.
    here = os.open(tmp_path, os.O_RDONLY)
    listening.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    (tmp_path / "to a pipe").symlink_to(pipe)
    cases = [
        (pipe, "It is a pipe, not a file"),
        (tmp_path / "to a pipe", "It is a pipe, not a file"),
        (port, "It is a socket, not a file"),
        (Path("/dev/zero"), "It is a device, not a file"),
        (tmp_path, "Is a directory"),
        (loop, os.strerror(errno.ELOOP)),
        (tmp_path / ("x" * 300), os.strerror(errno.ENAMETOOLONG)),
        (tmp_path / "a\0b", "Its name holds a null character"),
        (tmp_path / "none", "No such file or directory"),
        (Path(""), "Is a directory"),
    ]
    for path, says in cases:
        with pytest.raises(OSError, match=says) as caught:
            open_input(path)
        assert why_unreadable(caught.value) == says
        assert not is_file(path)
    listening.close()


def test_a_file_of_senseless_size(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(11))
    assert read_input(path, most_bytes=11) == bytes(11)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_input(path, most_bytes=10)


def test_names_that_nothing_can_be_written_to(tmp_path: Path) -> None:
    for name, says in (("a\0b", "null character"), ("x" * 300, "File name too long")):
        for write in (check_writable, lambda path: write_atomically(path, b"")):
            with pytest.raises(UsageError, match=says):
                write(tmp_path / name)
    assert os.listdir(tmp_path) == []
