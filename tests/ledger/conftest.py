"""Every test of the ledger's contract runs on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cleanup_scheduler.ledger import Ledger, open_ledger

from tests.databases import DATABASES, fresh_ledger


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """``sqlite`` or ``postgresql``."""
    return str(request.param)


@pytest.fixture
def ledger_url(database: str, tmp_path: Path) -> Iterator[str]:
    """A fresh ledger's URL."""
    with fresh_ledger(database, tmp_path) as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A fresh, open ledger."""
    with open_ledger(ledger_url) as opened:
        yield opened
