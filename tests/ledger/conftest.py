"""Every test of the ledger's contract runs on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cleanup_scheduler.ledger import Ledger, open_ledger

from tests.databases import DATABASES, fresh_ledger, role_of

PRODUCERS = pytest.mark.parametrize("database", [*DATABASES, "producer"], indirect=True)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """``sqlite`` or ``postgresql``; ``producer`` is PostgreSQL as the role that may only append and read."""
    return str(request.param)


@pytest.fixture
def ledger_url(database: str, tmp_path: Path) -> Iterator[str]:
    """A fresh ledger's URL."""
    if database == "producer":
        with fresh_ledger("postgresql", tmp_path) as owner, role_of(owner, "cleanup_producer") as url:
            yield url
    else:
        with fresh_ledger(database, tmp_path) as url:
            yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A fresh, open ledger."""
    with open_ledger(ledger_url) as opened:
        yield opened
