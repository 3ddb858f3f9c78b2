"""Export and import: between the databases and back, the chain intact; nothing that does not fit gets in."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cleanup_scheduler.errors import EventRefused, UsageError
from cleanup_scheduler.ledger import Journal, Ledger, open_ledger
from cleanup_scheduler.ledger.exchange import Imported, export, import_lines
from cleanup_scheduler.ledger.verifying import verify

from tests.databases import fresh_ledger
from tests.ledger.samples import opened, started, whole_test
from tests.ledger.test_tampering import tamper


@pytest.fixture
def other(database: str, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on the other database."""
    kind = "postgresql" if database == "sqlite" else "sqlite"
    (tmp_path / "other").mkdir()
    with fresh_ledger(kind, tmp_path / "other") as url, open_ledger(url) as opened_ledger:
        yield opened_ledger


def exported(ledger: Ledger) -> list[bytes]:
    """The lines of an export."""
    stream = io.BytesIO()
    export(ledger, stream)
    return stream.getvalue().splitlines(keepends=True)


def fill(ledger: Ledger) -> str:
    """Some events and a log; the log's id."""
    ledger.append(started(), *whole_test("s1"), opened("s2"))
    return ledger.archive(b"hello\n" * 100, run_id="run-1", scope_id="s1")


def test_a_ledger_moves_to_the_other_database_and_back(
    ledger: Ledger, other: Ledger, database: str, tmp_path: Path
) -> None:
    log = fill(ledger)
    lines = exported(ledger)
    assert import_lines(other, lines) == Imported(stored=6, logs=1)
    assert other.head() == ledger.head()
    assert other.ledger_id == ledger.ledger_id
    assert verify(other, expected=ledger.head()).intact
    assert other.read() == ledger.read()
    assert other.archived(log) == b"hello\n" * 100
    (tmp_path / "back").mkdir()
    with fresh_ledger(database, tmp_path / "back") as url, open_ledger(url) as back:
        import_lines(back, exported(other))
        assert exported(back) == lines
        assert back.append(opened("goes-on")) == [7]
        assert verify(back).intact


def test_importing_again_adds_what_is_new(ledger: Ledger, other: Ledger) -> None:
    fill(ledger)
    import_lines(other, exported(ledger))
    ledger.append(opened("s3"))
    assert import_lines(other, exported(ledger)) == Imported(stored=1, known=6)
    assert other.head() == ledger.head()


def test_a_ledger_with_other_events_is_left_alone(ledger: Ledger, other: Ledger) -> None:
    fill(ledger)
    other.append(opened("mine"))
    with pytest.raises(UsageError, match=r"line 1: .*events of its own.*empty ledger"):
        import_lines(other, exported(ledger))
    lines = exported(ledger)
    with pytest.raises(UsageError, match=r"line 1: .*another event at position 1"):
        import_lines(other, lines[1:])
    assert [one.scope_id for one in other.read()] == ["mine"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b"job-1", b"job-2"), *lines[4:]], "line 4.*position 3"),
        (lambda lines: [*lines[:3], *lines[4:]], "events 3 to 3 are missing"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "line 5.*position 3 comes after"),
        (lambda lines: [*lines[:3], b"garbage\n", *lines[3:]], "line 4.*no event"),
        (lambda lines: [lines[0].replace(b'"version":1', b'"version":7'), *lines[1:]], "line 1.*version 7"),
    ],
)
def test_an_export_that_was_changed_is_refused_whole(
    ledger: Ledger, other: Ledger, change: object, reason: str
) -> None:
    fill(ledger)
    assert callable(change)
    with pytest.raises(EventRefused, match=reason):
        import_lines(other, change(exported(ledger)))
    assert other.head().position == 0
    assert other.append(opened("s1")) == [1]
    assert verify(other).intact


def test_what_cannot_be_read_moves_along(ledger: Ledger, other: Ledger) -> None:
    fill(ledger)
    tamper(ledger, "UPDATE events SET payload = 'not\n json' WHERE position = 3")
    with pytest.raises(EventRefused, match="position 3"):
        import_lines(other, exported(ledger))
    assert len(exported(ledger)) == 8


def test_a_journal_is_imported_as_new_events(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(opened("s0"))
    journal = Journal(tmp_path / "journal")
    journal.add(opened("s1"), opened("s2"))
    (file,) = journal.folder.glob("*.jsonl")
    assert import_lines(ledger, file.read_bytes().splitlines(keepends=True)) == Imported(stored=2)
    assert [one.scope_id for one in ledger.read()] == ["s0", "s1", "s2"]


def test_an_empty_ledger_exports_its_header_only(ledger: Ledger, other: Ledger) -> None:
    (line,) = exported(ledger)
    assert msgspec.json.decode(line)["head_position"] == 0
    assert import_lines(other, [line]) == Imported()
