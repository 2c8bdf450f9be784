"""Jobs on the GPUs of one host: which may run now, and on which GPU."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

# So many jobs that share run on one GPU.
SHARING = 4


@dataclass(frozen=True)
class Job:
    """A command, and when it may run.

    Attributes:
        name: As logs and options call it.
        command: For bash, in the repository's root. It finds RESULTS, a folder, TIMING_CACHE and
            PYTHON in its environment.
        seconds: What it took; it is not started where less is left.
        after: Names of jobs that must have succeeded.
        alone: Whether nothing else may run meanwhile; it has the first GPU.
        all_gpus: Whether it sees the others, too.
        shares: Whether others that share may run on its GPU: it measures nothing.
        prepares: Whether what it makes lies on that host alone, for the jobs behind it.
    """

    name: str
    command: str
    seconds: float
    after: tuple[str, ...] = ()
    alone: bool = False
    all_gpus: bool = False
    shares: bool = False
    prepares: bool = False

    def __str__(self) -> str:
        alone = ", alone" if self.alone else ""
        after = f", after {', '.join(self.after)}" if self.after else ""
        return f"{self.name}: {self.seconds:.0f} s{alone}{after}"


@dataclass(frozen=True)
class Running:
    """A job that runs.

    Attributes:
        job: Which one.
        gpu: On which.
        seconds: For how long already.
    """

    job: Job
    gpu: int
    seconds: float = 0.0

    @property
    def left_s(self) -> float:
        """How long it will take from now, as far as its job says; at least a moment."""
        return max(self.job.seconds - self.seconds, 1.0)


def startable(
    waiting: Sequence[Job],
    running: Sequence[Running],
    done: frozenset[str],
    gpus: int,
    left_s: float,
) -> list[Running]:
    """What is to be started now.

    Args:
        waiting: Jobs, the most urgent first.
        running: What runs now.
        done: Names of what succeeded, or is not to be waited for.
        gpus: How many lanes there are.
        left_s: Until when a job has to be over.

    Returns:
        Jobs with their GPUs.
    """
    now = list(running)
    # Until when others may run, where a job waits for all of them to end.
    until_s = left_s
    for job in waiting:
        if any(each.job.alone for each in now):
            break
        if job.seconds > left_s:
            continue
        if job.alone and done.union(each.job.name for each in now).issuperset(job.after):
            if not now:
                now.append(Running(job, 0))
                break
            until_s = min(until_s, max(each.left_s for each in now))
        if job.alone or not done.issuperset(job.after):
            continue
        gpu = _gpu_for(job, now, gpus)
        if gpu is not None and job.seconds <= until_s:
            now.append(Running(job, gpu))
    return now[len(running) :]


def _gpu_for(job: Job, now: Sequence[Running], gpus: int) -> int | None:
    """The one with the fewest jobs on which this one may run; None if there is none."""
    there = {gpu: [each.job for each in now if each.gpu == gpu] for gpu in range(gpus)}
    may_run = [
        gpu
        for gpu, jobs in there.items()
        if not jobs or (len(jobs) < SHARING and job.shares and all(each.shares for each in jobs))
    ]
    return min(may_run, key=lambda gpu: len(there[gpu]), default=None)


def chosen(
    jobs: Sequence[Job], names: Sequence[str] | None, done: Container[str] = ()
) -> tuple[Job, ...]:
    """Jobs by their names, and those that they come after; all without names.

    Args:
        jobs: All there are.
        names: Of those that are wanted, the most urgent first; None for all, as they are listed.
        done: Names of those that need not run.

    Returns:
        As they were asked for, each behind what it comes after. What prepares others is among them
        only if one of these is.

    Raises:
        SystemExit: There is no such job.
    """
    by_name = {job.name: job for job in jobs}
    found: dict[str, Job] = {}

    def choose(name: str) -> None:
        if name not in by_name:
            raise SystemExit(f"There is no job '{name}'. There are: {', '.join(by_name)}.")
        if name not in done:
            for each in by_name[name].after:
                choose(each)
            found.setdefault(name, by_name[name])

    for name in [job.name for job in jobs if not job.prepares] if names is None else names:
        choose(name)
    return tuple(found.values())
