"""Jobs on the GPUs of a host: which start when, and what is left of them where a host goes away."""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.lane_jobs import jobs_of
from scripts.bench.lane_schedule import SHARING, Job, Running, chosen, startable
from scripts.bench.lanes import Lanes, main, read_done

ROOT = Path(__file__).parents[3]
A, B, C = (Job(name, "true", 100) for name in "abc")
ALONE = Job("alone", "true", 50, ("a",), alone=True)


def started(found: list[Running]) -> list[tuple[str, int]]:
    return [(each.job.name, each.gpu) for each in found]


def test_a_lane_has_one_job_and_the_first_come_first() -> None:
    found = startable([A, B, C], [], frozenset(), 2, 1000)
    assert started(found) == [("a", 0), ("b", 1)]
    assert startable([C], found, frozenset(), 2, 1000) == []
    assert started(startable([C], found[:1], frozenset(), 2, 1000)) == [("c", 1)]


def test_jobs_that_share_are_spread_over_the_gpus() -> None:
    jobs = [Job(f"tests-{number}", "true", 10, shares=True) for number in range(9)]
    found = startable(jobs, [], frozenset(), 2, 1000)
    assert [gpu for _, gpu in started(found)] == [0, 1] * SHARING
    assert startable(jobs, [Running(A, 0)], frozenset(), 1, 1000) == []


def test_what_comes_after_others_waits_until_they_succeeded() -> None:
    behind = replace(C, after=("a",))
    assert startable([behind], [Running(A, 0)], frozenset(), 2, 1000) == []
    assert started(startable([behind], [], frozenset("a"), 2, 1000)) == [("c", 0)]


def test_nothing_starts_that_would_not_be_over_in_time() -> None:
    assert started(startable([A, replace(B, seconds=20)], [], frozenset(), 2, 99)) == [("b", 0)]


def test_nothing_runs_beside_a_job_that_is_alone() -> None:
    assert started(startable([ALONE, B], [], frozenset("a"), 2, 1000)) == [("alone", 0)]
    assert startable([B], [Running(ALONE, 0)], frozenset("a"), 2, 1000) == []


def test_while_it_waits_only_what_is_over_before_its_turn_starts() -> None:
    running, short = Running(A, 0, seconds=40), replace(C, seconds=60)
    # What it comes after may still run: then it is next.
    assert started(startable([ALONE, B, short], [running], frozenset(), 2, 1000)) == [("c", 1)]
    # Where that is not even started, it holds nobody up.
    waiting = [replace(ALONE, after=("z",)), B]
    assert started(startable(waiting, [running], frozenset(), 2, 1000)) == [("b", 1)]


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 9)), max_size=12),
    st.integers(1, 4),
    st.integers(0, 20),
)
def test_lanes_are_never_overcrowded(
    drawn: list[tuple[bool, bool, int]], gpus: int, left_s: int
) -> None:
    waiting = [
        Job(str(number), "true", seconds, alone=alone, shares=shares)
        for number, (alone, shares, seconds) in enumerate(drawn)
    ]
    running: list[Running] = []
    ran = set[str]()
    while found := startable(waiting, running, frozenset(ran), gpus, left_s):
        running += found
        waiting = [job for job in waiting if job not in [each.job for each in running]]
        if any(each.job.alone for each in running):
            assert len(running) == 1
        for gpu in range(gpus):
            there = [each.job for each in running if each.gpu == gpu]
            assert len(there) <= (SHARING if all(job.shares for job in there) else 1)
        ran.add(running.pop(0).job.name)
        while running:
            ran.add(running.pop(0).job.name)
    # With nothing running, all that is left is too long.
    assert all(job.seconds > left_s for job in waiting)


def test_all_jobs_can_be_run_in_their_order() -> None:
    jobs = jobs_of("-cublas")
    names = [job.name for job in jobs]
    assert len(names) == len(set(names))
    for number, job in enumerate(jobs):
        assert set(job.after) <= set(names[:number]), job.name
        checked = subprocess.run(["bash", "-n", "-c", job.command], capture_output=True, text=True)
        assert checked.stderr == "", job.name
    tests = {path.name for path in (ROOT / "tests" / "gpu").glob("test_*.py")}
    assert {name for name in tests if any(name in job.command for job in jobs)} == tests
    builds = [job for job in jobs if job.name.startswith(("engines", "tune", "tests", "pixels"))]
    assert all("--tactic-sources=-cublas" in job.command for job in builds)


def test_what_prepares_others_runs_only_for_them() -> None:
    jobs = [replace(A, prepares=True), replace(B, after=("a",)), C]
    assert [job.name for job in chosen(jobs, None)] == ["a", "b", "c"]
    assert [job.name for job in chosen(jobs, None, done={"b"})] == ["c"]
    assert [job.name for job in chosen(jobs, ["b"])] == ["a", "b"]
    assert [job.name for job in chosen(jobs, ["c", "b", "a", "c"])] == ["c", "a", "b"]
    with pytest.raises(SystemExit, match="There is no job 'x'"):
        chosen(jobs, ["x"])


class Host:
    """Lanes that look at their jobs at once."""

    def __init__(self, folder: Path, *jobs: Job, until_s: float = 1000) -> None:
        self.folder = folder
        self.lanes = Lanes(folder, jobs, None, 2, until_s, look_s=0.01)
        self.code = self.lanes.run()
        self.codes = {name: each.code for name, each in self.lanes.done.items()}
        self.status = (folder / "status.txt").read_text()

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


@pytest.fixture(autouse=True)
def _commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMIT", "abc")


def test_jobs_run_on_their_gpus_and_failures_are_told(tmp_path: Path) -> None:
    say = 'echo "$CUDA_VISIBLE_DEVICES $COMMIT $RESULTS"'
    host = Host(
        tmp_path, Job("a", say, 1), Job("b", f"{say}; exit 7", 1), Job("c", "true", 1, ("b",))
    )
    assert (host.code, host.codes) == (1, {"a": 0, "b": 7})
    assert {host.log("a"), host.log("b")} == {f"0 abc {tmp_path}\n", f"1 abc {tmp_path}\n"}
    assert "failed with 7 b, GPU 1" in host.status
    assert host.status.endswith("waits c\n")


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Job("a", f"echo x >> {tmp_path}/ran", 1)
    made = Job("made", f"echo y >> {tmp_path}/ran", 1, prepares=True)
    behind = Job("behind", "[ -e passes ]", 1, ("made",))
    assert Host(tmp_path, count, made, behind).code == 1
    again = Host(tmp_path, count, made, replace(behind, command="true"))
    assert (again.code, again.codes) == (0, {"a": 0, "made": 0, "behind": 0})
    assert sorted((tmp_path / "ran").read_text().split()) == ["x", "y"]
    # Elsewhere what was made is not there, and nobody needs it; of another commit nothing counts.
    content = {name: {**vars(each), "host": "other"} for name, each in read_done(tmp_path).items()}
    (tmp_path / "lanes.json").write_text(json.dumps(content))
    assert Host(tmp_path, count, made, replace(behind, command="false")).codes.keys() == {
        "a",
        "behind",
    }
    monkeypatch.setenv("COMMIT", "def")
    assert Host(tmp_path, count, made, replace(behind, command="true")).code == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["x", "x", "y", "y"]


def test_a_job_that_is_named_is_ended(tmp_path: Path) -> None:
    (tmp_path / "stop").write_text("never\n")
    end = Job("end", f"echo long >> {tmp_path}/stop", 1)
    host = Host(tmp_path, Job("long", "sleep 600 & wait", 600), end, Job("never", "true", 1))
    assert host.code == 1
    assert host.codes["long"] != 0
    assert "never" not in host.codes


def test_time_that_is_over_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(0, 100)
    monkeypatch.setattr("scripts.bench.lanes.time.monotonic", lambda: next(ticks))
    host = Host(tmp_path, Job("long", "sleep 600", 1), until_s=2000)
    assert host.codes["long"] != 0


def test_a_list_says_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "table"]) == 0
    shown = capsys.readouterr().out
    assert "measure-vit: " in shown
    assert ", alone, after engines-vit" in shown
    assert "pixels" not in shown
