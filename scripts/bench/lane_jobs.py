"""What ``lanes`` runs, in its order, with about the seconds that each takes on an H100."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.lane_schedule import Job

# Of the README's table, with the seconds that their engines and their measuring take.
TABLE = {"vit": (540, 75), "resnet50": (375, 100), "vgg16": (275, 100), "mobilenet": (310, 85)}
# Seconds of a search within its budget; the last builds come on top.
BUDGETS_S = {"vit": 800, "mobilenet": 330, "resnet50": 330, "efficientnet": 270, "unet": 330}
_LAST_BUILDS_S = 150
# Seconds of the tests of a file, with four files on a GPU; alone on one where times are compared.
TEST_SECONDS = {
    "agreement": 760,
    "build": 760,
    "detection": 210,
    "device": 60,
    "evaluation": 390,
    "inspection": 400,
    "locate": 420,
    "networks": 1200,
    "offline": 80,
    "output_order": 370,
    "pixels": 540,
    "profiles": 570,
    "quantize": 550,
    "quantize_graphs": 490,
    "shipping": 780,
    "siblings": 150,
    "sized_profiles": 850,
    "speed_search": 900,
    "streams": 310,
    "tuned_plans": 900,
}
_TEST_SECONDS = 240
# Files whose tests compare times.
MEASURING = ("streams", "speed_search", "tuned_plans", "evaluation", "offline")
# The job that trains the VGG-16 of the tests and of the table.
TRAINING = "train-vgg16"
# The detector of scripts/tasks, untrained. 8.6.0 names no layer of it that it refuses.
_WRITE_DETECTOR = (
    "from pathlib import Path; from scripts.bench.refusals import write_graph; "
    'write_graph("the task", Path("runs/detector.onnx"))'
)


def jobs_of(tactic_sources: str = "") -> tuple[Job, ...]:
    """All jobs: the table first, then searches, bytes, tasks and tests.

    Args:
        tactic_sources: As ``trtqat build`` takes them.
    """
    option = f"--tactic-sources={tactic_sources}" if tactic_sources else ""
    parts = (_training, _table, _searches, _figures, _tests, _alone_at_last)
    return tuple(job for part in parts for job in part(option))


def _run(stages: str, models: str, option: str = "", **variables: str) -> str:
    given = {"STAGES": stages, "MODELS": models, **variables}
    words = " ".join(f"{name}={shlex.quote(each)}" for name, each in given.items())
    return f"{words} scripts/bench/run {option}".rstrip()


def _training(_option: str) -> Iterator[Job]:
    """As scripts/test-gpu does."""
    data = '"$PYTHON" -m scripts.vgg16_cifar10.prepare_data runs/data'
    train = (
        '"$PYTHON" -m scripts.vgg16_cifar10.train --data runs/data --output runs/vgg16 '
        "--epochs 12 --qat-epochs 3 --device cuda"
    )
    yield Job(TRAINING, f"{data}; {train}", 30, prepares=True, shares=True)


def _table(option: str) -> Iterator[Job]:
    """Engines on all GPUs, then each measured alone and on the first one: of one card."""
    for name, (seconds, _) in TABLE.items():
        trained = (TRAINING,) if name == "vgg16" else ()
        command = _run("graphs engines", name, option)
        yield Job(f"engines-{name}", command, seconds, trained, prepares=True)
    engines = tuple(f"engines-{name}" for name in TABLE)
    for name, (_, seconds) in TABLE.items():
        yield Job(f"measure-{name}", _run("measure", name), seconds, engines, alone=True)
    measured = tuple(f"measure-{name}" for name in TABLE)
    reports = " ".join(f'"$RESULTS/eval-{name}.json"' for name in TABLE)
    yield Job("table", f'"$PYTHON" -m scripts.bench.gains {reports}', 5, measured, alone=True)


def _searches(option: str) -> Iterator[Job]:
    for name, budget in BUDGETS_S.items():
        graph = f"[ -f runs/bench/{name}.onnx ] || {_run('graphs', name)}"
        search = _run("tune", name, option, BUDGET=f"{budget}s")
        yield Job(f"tune-{name}", f"{graph}\n{search}", budget + _LAST_BUILDS_S)


def _figures(option: str) -> Iterator[Job]:
    cache = '--timing-cache "$TIMING_CACHE"'
    # It compares numbers and times nothing, so others may run beside it.
    yield Job("locate", _run("locate", "vgg16"), 160, ("engines-vgg16",))
    names = "floats codes nchw-planes nhwc-half nhwc-bgr-half"
    pixels = f'--output "$RESULTS/pixels.json" --seconds 0.5 {option} {cache} --only {names}'
    refusals = f'--output "$RESULTS/refusals.json" {option}'
    yield Job("refusals", f'"$PYTHON" -m scripts.bench.refusals {refusals}', 300)
    write = f'mkdir -p runs; "$PYTHON" -c {shlex.quote(_WRITE_DETECTOR)}'
    search = f'"$PYTHON" -m scripts.bench.first_refused runs/detector.onnx {option}'
    yield Job("first-refused", f"{write}\n{search}", 300, shares=True)
    yield Job("pixels", f'"$PYTHON" -m scripts.bench.pixels {pixels}', 850)
    build = shlex.quote(f"{option} --timing-cache ") + '"$TIMING_CACHE"'
    for task in ("detection", "segmentation", "recognition"):
        yield Job(
            f"task-{task}",
            f"TRTQAT_BUILD_OPTIONS={build} scripts/tasks/run {task} --no-rtx\n"
            f'"$PYTHON" -m scripts.summarize runs/tasks/{task}.json '
            f'--output "$RESULTS/task-{task}.json"',
            310,
        )


def _alone_at_last(option: str) -> Iterator[Job]:
    for stage, models, seconds in (
        ("throughput", ("resnet50", "vgg16"), 280),
        ("explain", ("resnet50", "vgg16", "vit"), 200),
    ):
        engines = tuple(f"engines-{name}" for name in models)
        yield Job(stage, _run(stage, " ".join(models)), seconds, engines, alone=True)
    offline = (
        "runs/bench/resnet50-codes.onnx --batch 32,64,128,256,512,1024 --beside-mlperf "
        '--json "$RESULTS/offline-resnet50.json"'
    )
    cache = '--timing-cache "$TIMING_CACHE"'
    command = f'"$PYTHON" -m scripts.bench.offline {offline} {option} {cache}'
    yield Job("offline", command, 400, ("engines-resnet50",), alone=True)


def _tests(option: str) -> Iterator[Job]:
    """Of tests/gpu, a job for each file, the longest first; all come after the trained VGG-16."""
    pytest = '"$PYTHON" -m pytest -v --require-gpu'
    cache = '--timing-cache "$TIMING_CACHE"'
    files = (Path(__file__).parents[2] / "tests" / "gpu").glob("test_*.py")
    names = sorted(each.stem.removeprefix("test_") for each in files)
    seconds = {name: TEST_SECONDS.get(name, _TEST_SECONDS) for name in names}
    # One that is started last would be waited for.
    for name in sorted(names, key=lambda name: -seconds[name]):
        yield Job(
            f"tests-{name}",
            f"{pytest} tests/gpu/test_{name}.py {option} {cache}",
            seconds[name],
            (TRAINING,),
            all_gpus=name == "device",
            shares=name not in MEASURING,
        )
