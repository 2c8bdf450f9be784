from __future__ import annotations

import pytest

from tests.support.tuned import Card


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)
