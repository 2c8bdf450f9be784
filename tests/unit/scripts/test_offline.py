"""scripts.bench.offline: what limits, the table, its arguments, and queries in flight."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import offline
from scripts.bench.offline_figures import (
    MLPERF_IMAGES_PER_SECOND,
    OfflineFigures,
    Spread,
    beside_mlperf,
    make_table,
    spread_of,
)
from scripts.bench.offline_measuring import Effort, Pipeline, batch_ranges, measure
from scripts.bench.quiet import in_own_process
from trtqat.errors import InferenceError, MissingError, UsageError
from trtqat.host.environment import Environment, describe_environment
from trtqat.plan.profiles import BatchRange


def same(value: float) -> Spread:
    return Spread(value, value, value)


# 32 images in 1 ms each, 4.8 MB over the bus in 0.1 ms, 0.05 ms of the host.
ROW = OfflineFigures(
    batch_size=32,
    profile=0,
    mode="CUDA graph",
    input_bytes=4_800_000,
    output_bytes=128_000,
    in_flight=4,
    compute_ms=same(1.0),
    h2d_ms=same(0.1),
    d2h_ms=same(0.01),
    launch_ms=same(0.05),
    images_per_second=same(31_900),
    telemetry=None,
)


def test_the_figures_of_a_batch() -> None:
    assert ROW.gpu_images_per_second == pytest.approx(32_000)
    assert ROW.bus_images_per_second == pytest.approx(320_000)
    assert ROW.host_images_per_second == pytest.approx(640_000)
    assert ROW.h2d_gb_per_second == pytest.approx(48)
    assert ROW.share == pytest.approx(0.996875)


@pytest.mark.parametrize(
    ("changed", "limit"),
    [
        ({}, "GPU"),
        ({"images_per_second": same(30_000)}, "none alone"),
        ({"h2d_ms": same(2.0), "images_per_second": same(15_900)}, "bus"),
        ({"d2h_ms": same(2.0), "images_per_second": same(15_900)}, "bus"),
        # Half of what the GPU can, and far from what the bus allows.
        ({"h2d_ms": same(0.9), "images_per_second": same(16_000)}, "none alone"),
        ({"launch_ms": same(4.0), "images_per_second": same(7_900)}, "host"),
    ],
)
def test_what_limits(changed: dict[str, Any], limit: str) -> None:
    assert replace(ROW, **changed).limit == limit


def test_repeats_far_apart_are_not_steady() -> None:
    assert spread_of([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)
    assert spread_of([1.0, 1.02]).is_steady
    assert not spread_of([1.0, 1.05]).is_steady
    assert ROW.is_steady
    assert not replace(ROW, images_per_second=Spread(36_000, 40_000, 50_000)).is_steady
    assert not replace(ROW, compute_ms=Spread(1.0, 1.0, 1.1)).is_steady


def test_the_table_says_what_limits() -> None:
    slow_bus = replace(
        ROW, batch_size=64, h2d_ms=same(4.0), images_per_second=Spread(14_000, 15_900, 16_000)
    )
    head, rule, first, second, *notes = make_table([ROW, slow_bus]).splitlines()
    cells = [[each.strip() for each in line.strip("|").split("|")] for line in (first, second)]
    assert len({line.count("|") for line in (head, rule, first, second)}) == 1
    assert cells[0][:3] == ["32", "1.000", "32,000"]
    assert cells[0][-3:] == ["99.7 %", "GPU", "yes"]
    assert cells[1][0] == "64"
    assert cells[1][-2:] == ["bus", "no"]
    assert "14,000 … 16,000" in second
    assert any("95 %" in note for note in notes)


def test_beside_the_submission_stands_the_best_of_each() -> None:
    large = replace(ROW, batch_size=512, compute_ms=same(8.0), images_per_second=same(30_000))
    sentence = beside_mlperf([ROW, large])
    assert f"{MLPERF_IMAGES_PER_SECOND:,.0f} images/s" in sentence
    assert "in device memory 64,000 images/s at batch 512 (72.8 %)" in sentence
    assert "from host memory 31,900 images/s at batch 32 (36.3 %)" in sentence


class TestSizes:
    STATIC = tuple(BatchRange(size, size, size) for size in (32, 128, 1024))

    def test_what_the_plan_takes_of_the_powers_of_two(self) -> None:
        assert offline.chosen_sizes(self.STATIC, None, "m") == (32, 128, 1024)
        assert offline.chosen_sizes([BatchRange(1, 8, 256)], None, "m") == (32, 64, 128, 256)

    def test_what_was_asked_for(self) -> None:
        assert offline.chosen_sizes([BatchRange(1, 8, 8)], (1, 3, 8), "m") == (1, 3, 8)

    def test_what_it_does_not_take_is_named(self) -> None:
        with pytest.raises(UsageError, match="'m' takes batches of 32, 128 and 1024, not 64, 256"):
            offline.chosen_sizes(self.STATIC, (32, 64, 256), "m")

    def test_a_plan_of_small_batches(self) -> None:
        with pytest.raises(UsageError, match="1 to 8"):
            offline.chosen_sizes([BatchRange(1, 8, 8)], None, "m")


class TestCommand:
    """The command, with everything but the GPU's part."""

    @pytest.fixture
    def fails_at(self) -> set[int]:
        """Batch sizes that do not run."""
        return set()

    @pytest.fixture
    def calls(self, fails_at: set[int], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        called: list[tuple[Any, ...]] = []
        answers: dict[Callable[..., Any], Any] = {
            batch_ranges: (BatchRange(32, 32, 32), BatchRange(64, 64, 64)),
            describe_environment: Environment("Linux", "3.10", "cpu", {}),
        }

        def answer(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            called.append((function, *args, *kwargs.values()))
            if function is measure:
                if args[1] in fails_at:
                    raise InferenceError("Out of memory.")
                return replace(ROW, batch_size=args[1])
            return answers.get(function)

        monkeypatch.setattr(offline, "in_own_process", answer)
        return called

    def test_a_plan(
        self,
        calls: list[tuple[Any, ...]],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COMMIT", "abc")
        plan, output = tmp_path / "m.engine", tmp_path / "figures.json"
        plan.write_bytes(b"plan")
        given = [str(plan), "--repeats", "7", "--in-flight", "2", "--json", str(output)]
        assert offline.main([*given, "--beside-mlperf"]) == 0
        effort = Effort(repeats=7, seconds=0.5, in_flight=2)
        assert [call for call in calls if call[0] is measure] == [
            (measure, plan, 32, effort),
            (measure, plan, 64, effort),
        ]
        found = json.loads(output.read_text())
        assert found["schema"] == offline.SCHEMA
        assert found["commit"] == "abc"
        assert found["environment"]["python"] == "3.10"
        assert found["effort"] == {"repeats": 7, "seconds": 0.5, "in_flight": 2}
        assert found["mlperf_images_per_second"] == MLPERF_IMAGES_PER_SECOND
        assert [row["batch_size"] for row in found["batches"]] == [32, 64]
        assert found["batches"][0]["limit"] == "GPU"
        assert found["batches"][0]["compute_ms"] == {"min": 1.0, "median": 1.0, "max": 1.0}
        printed = capsys.readouterr().out
        assert "| 64 |" in printed
        assert "MLPerf" in printed

    def test_a_graph_is_built_for_each_batch(
        self, calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        graph, built = Path("m.onnx"), Path("runs/offline/m.engine")
        graph.write_bytes(b"graph")
        built.parent.mkdir(parents=True)
        built.write_bytes(b"plan")
        command = [str(graph), "--batch", "32,64", "--tactic-sources=-cudnn"]
        assert offline.main([*command, "--timing-cache", "t"]) == 0
        assert calls[0][1:] == (graph, built, "32,64", "-cudnn", "t")
        assert [call[1] for call in calls if call[0] is measure] == [built, built]

    def test_what_was_measured_stays_when_one_fails(
        self, calls: list[tuple[Any, ...]], fails_at: set[int], tmp_path: Path
    ) -> None:
        plan, output = tmp_path / "m.engine", tmp_path / "figures.json"
        plan.write_bytes(b"plan")
        fails_at.add(64)
        assert offline.main([str(plan), "--json", str(output)]) == InferenceError.exit_code
        assert [row["batch_size"] for row in json.loads(output.read_text())["batches"]] == [32]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["nowhere.engine"], "no file 'nowhere.engine'"),
            ([__file__, "--batch", "7"], "takes batches of 32 and 64, not 7"),
            ([__file__, "--json", "/nowhere/figures.json"], "/nowhere"),
        ],
    )
    def test_what_the_user_got_wrong(
        self,
        given: list[str],
        said: str,
        calls: list[tuple[Any, ...]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert offline.main(given) == UsageError.exit_code
        assert said in capsys.readouterr().err
        assert not any(call[0] is measure for call in calls)

    @pytest.mark.parametrize("sizes", ["", "32,", "0", "32,32", "a"])
    def test_batches_that_are_none(self, sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            offline.main([__file__, "--batch", sizes])
        assert "no batch sizes" in capsys.readouterr().err


def _fail(problem: str) -> None:
    raise MissingError(problem, "Install it.")


def test_an_error_comes_out_of_its_process() -> None:
    with pytest.raises(MissingError, match=r"No GPU\. Install it\.") as caught:
        in_own_process(_fail, "No GPU.")
    assert caught.value.exit_code == MissingError.exit_code


class FakeSession:
    """A session that refuses a second query, and keeps in which order all of them came."""

    def __init__(self, number: int, order: list[tuple[str, int]]) -> None:
        self.number, self.order, self.is_pending = number, order, False

    def submit(self) -> None:
        assert not self.is_pending
        self.is_pending = True
        self.order.append(("submit", self.number))

    def collect(self) -> None:
        assert self.is_pending
        self.is_pending = False
        self.order.append(("collect", self.number))


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_all_sessions_are_kept_busy_in_turns(in_flight: int) -> None:
    order: list[tuple[str, int]] = []
    sessions = [FakeSession(number, order) for number in range(in_flight)]
    found = Pipeline(sessions).run(0)  # type: ignore[arg-type]
    assert found.queries_per_second > 0
    assert found.launch_ms > 0
    assert not any(session.is_pending for session in sessions)
    submitted = [number for what, number in order if what == "submit"]
    # Answers are taken in the order of the queries, and each session has its share.
    assert submitted == [number for what, number in order if what == "collect"]
    assert min(map(submitted.count, range(in_flight))) >= 5
    # As many as there are sessions are in flight before the first answer is waited for.
    assert order[:in_flight] == [("submit", number) for number in range(in_flight)]
    assert order[in_flight] == ("collect", 0)
