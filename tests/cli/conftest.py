"""Each command is tried on both databases, on a ledger whose history a test tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler_cli.main import run

from tests.cli.world import Answer, Teller
from tests.databases import DATABASES, fresh_ledger

Command = Callable[..., Answer]


@pytest.fixture(params=DATABASES)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh ledger's URL."""
    with fresh_ledger(str(request.param), tmp_path) as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """The ledger that the command will open too."""
    with open_ledger(ledger_url) as opened:
        yield opened


@pytest.fixture
def tell(ledger: Ledger) -> Teller:
    """Tells the ledger a history."""
    return Teller(ledger)


@pytest.fixture
def command(
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Command:
    """Runs one command of cleanup-cli on the ledger (or another), in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def runs(*arguments: str, ledger: str = ledger_url) -> Answer:
        capfdbinary.readouterr()
        code = run([*arguments, "--ledger", ledger])
        said = capfdbinary.readouterr()
        return Answer(code, said.out, said.err.decode())

    return runs
