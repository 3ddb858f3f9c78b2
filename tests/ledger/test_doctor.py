"""What the doctor sees, on both databases: well when it is well, and each trouble by its name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cleanup_scheduler.ledger import Journal, Ledger, doctor
from cleanup_scheduler.ledger.doctor import Finding, examine

from tests.databases import execute
from tests.ledger.samples import opened
from tests.ledger.test_projection import replayed
from tests.ledger.test_tampering import tamper


def states(findings: list[Finding]) -> dict[str, str]:
    """The state of each check."""
    return {finding.check: finding.state for finding in findings}


def is_durable(ledger: Ledger) -> bool:
    """As this server is set up."""
    return all(
        ledger.backend.scan(f"SHOW {name}", ())[0][0] == "on"
        for name in ("fsync", "synchronous_commit", "full_page_writes")
    )


def test_a_healthy_ledger_has_no_problem(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    ledger.append(opened("s1"))
    found = states(examine(ledger_url, tmp_path / "journal"))
    if ledger_url.startswith("sqlite"):
        assert set(found) == {
            "schema", "triggers", "clock", "state", "file system", "SQLite", "WAL", "integrity", "journal",
        }  # fmt: skip
    else:
        assert set(found) == {
            "schema", "triggers", "clock", "state", "server", "encoding", "durability", "rights", "sessions",
            "journal",
        }  # fmt: skip
        # the tests' own server does not sync its commits; another one may
        assert found.pop("durability") == ("ok" if is_durable(ledger) else "problem")
    assert "problem" not in found.values()
    assert replayed(ledger).position == 1


def test_a_ledger_that_cannot_be_opened_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database at all, whatever its name says" * 100)
    Journal(tmp_path / "journal").add(opened("s1"))
    findings = examine(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "journal")
    assert states(findings) == {"open": "problem", "journal": "warning"}
    assert "not an SQLite database" in findings[0].detail
    assert "1 events wait" in findings[1].detail


def test_a_missing_trigger_is_a_problem(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    if ledger_url.startswith("sqlite"):
        execute_sqlite(ledger_url, "DROP TRIGGER events_no_update")
    else:
        execute(ledger_url, "ALTER TABLE events DISABLE TRIGGER events_no_change")
    (finding,) = [one for one in examine(ledger_url, tmp_path) if one.check == "triggers"]
    assert finding.state == "problem"
    assert "events_no_" in finding.detail


def execute_sqlite(url: str, statement: str) -> None:
    """As anybody with the file may."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_cut_off_end_is_a_problem(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    ledger.append(opened("s1"), opened("s2"))
    ledger.projection().catch_up()
    tamper(ledger, "DELETE FROM events WHERE position = 2")
    (finding,) = [one for one in examine(ledger_url, tmp_path) if one.check == "state"]
    assert (finding.state, "cut off" in finding.detail) == ("problem", True)


def test_refused_lines_of_a_journal_are_a_problem(ledger_url: str, tmp_path: Path) -> None:
    (tmp_path / "refused.jsonl").write_text("x\n")
    (finding,) = [one for one in examine(ledger_url, tmp_path) if one.check == "journal"]
    assert finding.state == "problem"


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 6, 9), "ok"), ((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok")],
)
def test_sqlite_versions_with_the_wal_reset_bug_are_named(
    version: tuple[int, int, int], state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    found = states(examine(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path))
    assert found["SQLite"] == state


def test_a_ledger_out_of_wal_mode_and_a_wal_that_grew_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert states(examine(url, tmp_path))["WAL"] == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_WAL_BYTES", -1)
        assert states(examine(url, tmp_path))["WAL"] == "warning"
    execute_sqlite(url, "PRAGMA journal_mode = DELETE")
    assert states(examine(url, tmp_path))["WAL"] == "problem"


def test_a_clock_that_differs_is_seen(
    ledger: Ledger, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Ledger.now
    from datetime import timedelta

    monkeypatch.setattr(Ledger, "now", lambda self: real(self) + timedelta(minutes=3))
    (finding,) = [one for one in examine(ledger_url, tmp_path) if one.check == "clock"]
    assert (finding.state, finding.detail) == ("warning", finding.detail)
    assert "180.0 s" in finding.detail or "179.9 s" in finding.detail
