"""Everything that needs a GPU, on all GPUs of one host and within a time (``lane_jobs``).

A lane is a GPU with its share of the cores. Each runs a job at a time, in the order of the list, or
of ``--only``. A job that measures what a neighbour disturbs runs alone: no other one starts that
would not be over before its turn. So all is over sooner where the table is asked for last, whose
engines others are built beside; asked for first, it is there soonest. What was done for the same
commit is not done again. So where a host goes away, another one goes on with the results of the
first; engines are built again if they are needed.

    python -m scripts.bench.lanes results --until 1500 --tactic-sources=-cublas,-cublas-lt,-cudnn
    python -m scripts.bench.lanes --list
    python -m scripts.bench.lanes results --only tune-vit table

``results/lanes.json`` says what ran, for how long and with which exit code; ``results/status.txt``
the same for reading, while it goes on. A name of a job in ``results/stop`` ends it, or lets it not
begin. It exits with 1 if a job failed, or was not reached.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scripts.bench.lane_jobs import jobs_of
from scripts.bench.lane_schedule import Job, Running, chosen, startable
from scripts.summarize import current_commit
from trtqat.files import write_atomically
from trtqat.host.gpu import describe_gpus

ROOT = Path(__file__).parents[2]
_LOOK_S = 0.5
# What a job that is told to end gets before it is killed.
_GRACE_S = 5.0


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
        seconds: How long it ran.
        gpu: On which.
        commit: Of what.
        host: Where.
    """

    code: int
    seconds: float
    gpu: int
    commit: str
    host: str


def main(given: Sequence[str] | None = None) -> int:
    """Runs the jobs.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        0 if all succeeded.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("runs/lanes"))
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds from now")
    parser.add_argument(
        "--only", nargs="*", metavar="JOB", help="in this order; and before each what it needs"
    )
    parser.add_argument("--gpus", type=int, help="default: all of this host")
    parser.add_argument("--tactic-sources", default="", help="as trtqat build takes them")
    parser.add_argument("--list", action="store_true", help="says what there is, and runs nothing")
    arguments = parser.parse_args(given)
    jobs = jobs_of(arguments.tactic_sources)
    if arguments.list:
        print("\n".join(map(str, chosen(jobs, arguments.only))))
        return 0
    gpus = arguments.gpus or len(describe_gpus()[0])
    if not gpus:
        parser.error("There is no GPU here.")
    lanes = Lanes(arguments.results.absolute(), jobs, arguments.only, gpus, arguments.until)
    return lanes.run()


class Lanes:
    """Jobs of one host, and what became of them.

    Attributes:
        done: By name of the job.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        names: Sequence[str] | None,
        gpus: int,
        until_s: float,
        look_s: float = _LOOK_S,
    ) -> None:
        """Takes up what the folder holds of the same commit.

        Args:
            folder: For results and logs; it is made.
            jobs: All there are, the most urgent first.
            names: Of those that are wanted; None for all.
            gpus: How many lanes there are.
            until_s: Seconds from now until all is to be over.
            look_s: How often jobs are looked at.
        """
        self._folder, self._gpus, self._look_s = folder, gpus, look_s
        self._began = time.monotonic()
        self._until_s = until_s
        self._commit, self._host = current_commit(), _host()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, tuple[Running, float]] = {}
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        here = {job.name for job in jobs if job.prepares}
        self.done = {
            name: each
            for name, each in read_done(folder).items()
            if each.commit == self._commit
            and each.code == 0
            and (name not in here or each.host == self._host)
        }
        self._jobs = chosen(jobs, names, self.done)

    def run(self) -> int:
        """Until nothing is left that can be started; 0 if all jobs succeeded."""
        try:
            while self._step():
                time.sleep(self._look_s)
        finally:
            for name in list(self._processes):
                self._end(name)
            self._write()
        return int(any(job.name not in self.done or self.done[job.name].code for job in self._jobs))

    def _step(self) -> bool:
        now = time.monotonic()
        left_s = self._until_s - (now - self._began)
        stopped = self._stopped()
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._note(name, process.returncode)
            elif name in stopped or left_s <= 0:
                self._end(name)
        running = [replace(each, seconds=now - since) for each, since in self._started.values()]
        names = {each.job.name for each in running} | set(self.done) | stopped
        waiting = [job for job in self._jobs if job.name not in names]
        succeeded = frozenset(name for name, each in self.done.items() if each.code == 0)
        for each in startable(waiting, running, succeeded, self._gpus, left_s):
            self._start(each)
        self._write()
        return bool(self._processes)

    def _start(self, each: Running) -> None:
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": str(each.gpu),
            "COMMIT": self._commit,
            "PYTHON": sys.executable,
            "RESULTS": str(self._folder),
            # 8.6.0 cannot read what another graph's compiled subgraphs left in one.
            "TIMING_CACHE": str(self._folder / f"{each.job.name}.cache"),
        }
        if each.job.all_gpus:
            environment.pop("CUDA_VISIBLE_DEVICES")
        with (self._folder / "logs" / f"{each.job.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*self._cores(each), "bash", "-euo", "pipefail", "-c", each.job.command],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[each.job.name] = process
        self._started[each.job.name] = (each, time.monotonic())

    def _cores(self, each: Running) -> list[str]:
        """The share of a lane; all where a job is alone, or where there are fewer than lanes."""
        share = (os.cpu_count() or 1) // self._gpus
        if each.job.alone or not share or shutil.which("taskset") is None:
            return []
        return ["taskset", "-c", f"{each.gpu * share}-{(each.gpu + 1) * share - 1}"]

    def _end(self, name: str) -> None:
        process = self._processes[name]
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        # What it started may be there still.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self._note(name, process.wait())

    def _note(self, name: str, code: int) -> None:
        self._processes.pop(name)
        each, since = self._started.pop(name)
        seconds = round(time.monotonic() - since, 1)
        self.done[name] = Done(code, seconds, each.gpu, self._commit, self._host)

    def _stopped(self) -> set[str]:
        file = self._folder / "stop"
        return set(file.read_text().split()) if file.exists() else set()

    def _write(self) -> None:
        content = {name: asdict(each) for name, each in self.done.items()}
        write_atomically(self._folder / "lanes.json", json.dumps(content, indent=1).encode())
        lines = [f"{time.monotonic() - self._began:.0f} s"]
        for each, since in self._started.values():
            seconds = time.monotonic() - since
            lines.append(f"runs  {each.job.name}, GPU {each.gpu}, {seconds:.0f} s")
        for name, each_done in self.done.items():
            how = "done " if each_done.code == 0 else f"failed with {each_done.code}"
            lines.append(f"{how} {name}, GPU {each_done.gpu}, {each_done.seconds:.0f} s")
        seen = self._started.keys() | self.done.keys()
        lines += [f"waits {job.name}" for job in self._jobs if job.name not in seen]
        write_atomically(self._folder / "status.txt", ("\n".join(lines) + "\n").encode())


def read_done(folder: Path) -> Mapping[str, Done]:
    """What a folder holds of an earlier run."""
    file = folder / "lanes.json"
    if not file.exists():
        return {}
    return {name: Done(**each) for name, each in json.loads(file.read_text()).items()}


def _host() -> str:
    """A host since it was started: what was built before need not be there."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else platform.node()


if __name__ == "__main__":
    sys.exit(main())
