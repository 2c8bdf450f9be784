"""scripts.bench.in_flight: what is measured in one process, and what in processes of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scripts.bench.throughput
from scripts.bench import in_flight as module
from scripts.bench.in_flight import in_flight, throughput

PLAN = Path("m.engine")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a process was started for; each answers with its arguments."""
    made: list[tuple[Any, ...]] = []

    def in_its_place(function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        made.append((function.__name__, *args))
        return {"of": args}

    monkeypatch.setattr(module, "in_own_process", in_its_place)
    return made


def test_each_number_of_queries_has_a_process_of_its_own(calls: list[tuple[Any, ...]]) -> None:
    """Sessions that another number had opened would slow it."""
    found = in_flight(PLAN, 32, 0.5, own_streams=True)
    assert len(calls) == len(found) >= 4
    for count, each in found.items():
        assert each == {"of": (PLAN, 32, count, 0.5, False, True)}


def test_one_query_at_a_time_has_another_one(calls: list[tuple[Any, ...]]) -> None:
    found = throughput(PLAN, 8, 0.5)
    assert found["of"] == (PLAN, 8, 0.5)
    assert [*found["in_flight"]] == [call[3] for call in calls[1:]]
    assert len({call[0] for call in calls}) == 2


def test_where_something_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'cuda'")

    monkeypatch.setenv("COMMIT", "abc")
    monkeypatch.setattr(scripts.bench.throughput, "in_own_process", missing)
    output = tmp_path / "o.json"
    assert scripts.bench.throughput.main(["m.engine", "--output", str(output)]) == 4
    assert "'m.engine' is not measured here: No module named 'cuda'." in capsys.readouterr().err
    assert not output.exists()
