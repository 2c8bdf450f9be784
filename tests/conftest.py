from __future__ import annotations

import gc
import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.translations import keep_translations

if importlib.util.find_spec("hypothesis") is not None:  # the tests of a GPU need none of it
    from hypothesis import HealthCheck, settings

    # Both go by the clock of the host, and a busy one is no fault of what is tested. Examples are
    # other ones in every run: what fifty do not find, those of the next run may.
    settings.register_profile(
        "any host",
        deadline=None,
        max_examples=50,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("any host")


# By how many objects, and how often then, Python's collector of cycles runs.
_SELDOM = (20_000, 20, 20)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of models this small mostly wait for each other, above all on a busy host."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_configure() -> None:
    # A shell lets what it starts in the background ignore Ctrl-C, and so would the commands that
    # the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart() -> None:
    gc.disable()  # what is imported and collected stays


def pytest_collection_finish() -> None:
    # PyTorch and 8,000 tests are some million objects that stay. The collector would look at all
    # of them again and again, for a tenth of the time of the tests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_SELDOM)
    gc.enable()


def pytest_runtest_setup() -> None:
    keep_translations()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu", action="store_true", help="tests/gpu fails instead of skipping"
    )
    parser.addoption(
        "--tactic-sources", default="", help="for every build in tests/gpu, as trtqat build has it"
    )
    parser.addoption(
        "--timing-cache",
        default="",
        help="file that the builds of tests/gpu share, also across processes; default: one of its "
        "own for each run",
    )
    parser.addoption(
        "--vgg-runs", default="runs/vgg16", help="folder with a trained VGG-16 for tests/gpu"
    )
    parser.addoption(
        "--vgg-data", default="runs/data", help="folder with the images that it was trained on"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent / "gpu"
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which latency and throughput are measured."""
    from trtqat.evaluation import latency, timed

    made = Clock()
    monkeypatch.setattr(latency, "time", made)
    monkeypatch.setattr(timed, "time", made)
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
