"""G2: a reader that follows never misses an event, however late its writer commits."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from cleanup_scheduler.ledger import Ledger, open_ledger

from tests.databases import execute, postgres_ledger
from tests.ledger.conftest import PRODUCERS
from tests.ledger.samples import opened

WRITERS = 8
EACH = 40
APPEND = (
    "SELECT cleanup_append(ARRAY[%s], '{RunFinished}', '{1}', '{r}',"
    """ '{""}', '{t}', '{p}', '{x}', NULL, NULL)"""
)


def delayed_inserts(url: str, statement: str, name: str) -> None:
    """One writer: each of its transactions stays open a little between its insert and its commit."""
    patience = random.Random(name)  # noqa: S311 - a delay, no secret
    with psycopg.connect(url) as connection:
        for number in range(EACH):
            connection.execute(statement.encode(), [f"{name}-{number}"])
            time.sleep(patience.random() * 0.004)
            connection.commit()


def follow(next_batch: Callable[[int], list[tuple[int, str]]], writers: list[threading.Thread]) -> set[str]:
    """Follow by the highest position seen until the writers are done; what was seen."""
    seen: set[str] = set()
    position = 0
    over = False
    while not over:
        over = not any(writer.is_alive() for writer in writers)
        while batch := next_batch(position):
            position = batch[-1][0]
            seen.update(event_id for _, event_id in batch)
    return seen


def missed(url: str, statement: str, next_batch: Callable[[int], list[tuple[int, str]]]) -> int:
    """How many of the events that eight delayed writers stored a following reader did not see."""
    names = [f"w{number}" for number in range(WRITERS)]
    writers = [threading.Thread(target=delayed_inserts, args=(url, statement, name)) for name in names]
    for writer in writers:
        writer.start()
    seen = follow(next_batch, writers)
    for writer in writers:
        writer.join()
    return WRITERS * EACH - len(seen)


def test_a_reader_of_the_ledger_misses_nothing_where_a_plain_cursor_does() -> None:
    with postgres_ledger() as url, open_ledger(url, timeout_seconds=30) as ledger:
        execute(url, "CREATE TABLE plain (id bigserial PRIMARY KEY, event_id text)")
        with psycopg.connect(url, autocommit=True) as reader:
            query = b"SELECT id, event_id FROM plain WHERE id > %s ORDER BY id"
            plain = missed(
                url,
                "INSERT INTO plain (event_id) VALUES (%s)",
                lambda position: reader.execute(query, [position]).fetchall(),
            )
        assert plain > 0  # else this test proves nothing

        def read(position: int) -> list[tuple[int, str]]:
            return [(one.position, one.event_id) for one in ledger.read(position)]

        assert missed(url, APPEND, read) == 0
        assert [one.position for one in ledger.read()] == list(range(1, WRITERS * EACH + 1))


def test_an_insert_past_the_function_cannot_make_a_reader_miss_it_either() -> None:
    insert = (
        "INSERT INTO events (event_id, type, version, run_id, scope_id, time, producer, payload)"
        " VALUES (%s, 'RunFinished', 1, 'r', '', 't', 'p', '{}')"
    )
    with postgres_ledger() as url, open_ledger(url, timeout_seconds=30) as ledger:

        def read(position: int) -> list[tuple[int, str]]:
            return [(one.position, one.event_id) for one in ledger.read(position)]

        assert missed(url, insert, read) == 0


def test_a_reader_of_sqlite_misses_nothing_while_a_commit_is_delayed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with open_ledger(url) as ledger:

        def write(name: str) -> None:
            with open_ledger(url, timeout_seconds=30) as mine:
                for number in range(EACH):
                    mine.append(opened(f"{name}-{number}"))

        def delay() -> None:
            connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, timeout=30)
            for _ in range(10):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO meta VALUES (hex(randomblob(9)), '')")
                time.sleep(0.01)
                connection.execute("COMMIT")
            connection.close()

        writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
        writers.append(threading.Thread(target=delay))
        for writer in writers:
            writer.start()
        seen = follow(lambda after: [(one.position, one.event_id) for one in ledger.read(after)], writers)
        for writer in writers:
            writer.join()
        assert len(seen) == 4 * EACH


def test_a_projection_that_follows_folds_every_event(ledger: Ledger, ledger_url: str) -> None:
    def write(name: str) -> None:
        with open_ledger(ledger_url, timeout_seconds=30) as mine:
            for number in range(EACH):
                mine.append(opened(f"{name}-{number}"))

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    with open_ledger(ledger_url, timeout_seconds=30) as other:
        one, two = ledger.projection(), other.projection()
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            one.catch_up()
            two.catch_up()
        for writer in writers:
            writer.join()
        one.catch_up()
        two.catch_up()
        assert len(one.open_scopes()) == 4 * EACH
        assert [scope for _, scope in one.open_scopes()] == [scope for _, scope in two.open_scopes()]


@PRODUCERS
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_following_hands_out_every_event_once_in_order(ledger: Ledger, batch: int) -> None:
    ledger.append(*(opened(f"s{number}") for number in range(20)))
    assert [one.position for one in ledger.follow(batch=batch)] == list(range(1, 21))
