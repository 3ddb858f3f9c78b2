"""The contract of append, read and follow, on both databases, and as the role that tests have."""

from __future__ import annotations

import hashlib
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.errors import EventRefused
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler.ledger.chain import GENESIS, canonical, link

from tests.ledger.conftest import PRODUCERS
from tests.ledger.samples import NOON, event, job, opened, outcome, started, tracked, whole_test

pytestmark = PRODUCERS


def test_what_was_appended_is_read_back_as_it_was_said(ledger: Ledger) -> None:
    said = [started(), opened("s1"), tracked("s1", "job-ü"[:4] + "1"), outcome("s1", "failed")]
    positions = ledger.append(*said)
    assert positions == [1, 2, 3, 4]
    for new, stored in zip(said, ledger.read(), strict=True):
        for name in ("event_id", "time", "producer", "payload", "run_id", "scope_id", "type"):
            assert getattr(stored, name) == getattr(new, name)
        assert (stored.version, stored.problem) == (1, "")


def test_text_survives_byte_by_byte(ledger: Ledger) -> None:
    odd = "ü\u0000\t\n'\"\\%s:name?💥\u2028"
    ledger.append(event(e.HoldRequested(who="eve", why=odd), scope="s1"))
    payload = ledger.read()[0].payload
    assert isinstance(payload, e.HoldRequested)
    assert payload.why == odd


def test_a_repeated_append_stores_once_and_returns_the_old_position(ledger: Ledger) -> None:
    first, second = opened("s1"), opened("s2")
    assert ledger.append(first) == [1]
    assert ledger.append(second, first, second) == [2, 1, 2]
    assert ledger.append(first) == [1]
    assert [stored.event_id for stored in ledger.read()] == [first.event_id, second.event_id]


def test_an_append_stores_all_or_nothing(ledger: Ledger) -> None:
    with pytest.raises(EventRefused):
        ledger.append(opened("s1"), opened("line\nbreak"))
    assert ledger.read() == []
    assert ledger.append() == []


def test_a_reader_starts_where_it_says_and_takes_no_more_than_it_asks_for(ledger: Ledger) -> None:
    ledger.append(*(opened(f"s{number}", run=f"run-{number % 2}") for number in range(10)))
    assert [stored.position for stored in ledger.read(3, limit=4)] == [4, 5, 6, 7]
    assert [stored.position for stored in ledger.read(run_id="run-1")] == [2, 4, 6, 8, 10]
    assert [stored.position for stored in ledger.read(2, scope_id="s4")] == [5]
    assert [stored.position for stored in ledger.follow(6, batch=2)] == [7, 8, 9, 10]
    assert ledger.read(10) == []


def test_following_ends_at_the_head_of_the_moment_it_began(ledger: Ledger) -> None:
    ledger.append(opened("s1"), opened("s2"))
    seen = []
    for stored in ledger.follow(batch=1):
        seen.append(stored.position)
        ledger.append(opened(f"s{len(seen) + 2}"))
    assert seen == [1, 2]


def test_the_chain_covers_every_event_in_the_order_given(ledger: Ledger) -> None:
    assert (ledger.head().position, ledger.head().hash) == (0, GENESIS.hex())
    ledger.append(*whole_test("s1"))
    ledger.append(event(e.HoldRequested(who="ü", why="💥\n"), scope="s1"))
    last = GENESIS
    for stored in ledger.read():
        assert stored.payload is not None
        body = e.encode(stored.payload)
        time = "2026-01-31T12:00:00.000001Z"
        last = link(
            last,
            canonical(stored.position, stored.event_id, stored.type, 1, "run-1", "s1", time, "test", body),
        )
    assert ledger.head().position == 5
    assert ledger.head().hash == last.hex()


def test_the_canonical_bytes_are_what_the_documentation_says(database: str) -> None:
    body = b'{"who":"eve"}'
    text = b"7\nid\nHoldRequested\n1\nrun\nscope\ntime\nproducer\n" + body
    assert canonical(7, "id", "HoldRequested", 1, "run", "scope", "time", "producer", body) == text
    assert link(GENESIS, text) == hashlib.sha256(bytes(32) + text).digest()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"event_id": "not-an-id"}, "32 hexadecimal digits"),
        ({"run_id": "a\nb"}, "run_id"),
        ({"scope_id": "x" * 256}, "scope_id"),
        ({"producer": "tab\there"}, "producer"),
        ({"time": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"time": NOON + timedelta(days=365_000)}, "in the future"),
        ({"payload": e.HoldRequested(who="eve", why="x" * 2_000_000)}, "at most 1000000"),
        ({"payload": e.HoldRequested(who="\ud800")}, "cannot be encoded"),
        ({"payload": e.Event()}, "not a type of event"),
    ],
)
def test_a_malformed_event_is_refused_with_the_reason(
    ledger: Ledger, broken: dict[str, object], reason: str
) -> None:
    with pytest.raises(EventRefused, match=reason):
        ledger.append(msgspec.structs.replace(opened("s1"), **broken))
    assert ledger.head().position == 0


def test_the_size_limit_is_a_setting(ledger_url: str) -> None:
    with open_ledger(ledger_url, max_event_bytes=100) as small:
        with pytest.raises(EventRefused, match="at most 100"):
            small.append(event(e.HoldRequested(who="x" * 100)))
        assert small.append(event(e.HoldRequested(who="eve"))) == [1]


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    def append_some(name: str) -> None:
        for number in range(25):
            ledger.append(opened(f"{name}-{number}"))

    threads = [threading.Thread(target=append_some, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = ledger.read()
    assert [one.position for one in stored] == list(range(1, 151))
    assert len({one.scope_id for one in stored}) == 150


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_appends_on_connections_of_its_own(ledger: Ledger) -> None:
    ledger.append(opened("parent"))
    child = os.fork()
    if child == 0:
        try:
            ledger.append(opened("child"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ledger.append(opened("parent-again"))
    assert [stored.scope_id for stored in ledger.read()] == ["parent", "child", "parent-again"]


def test_ids_of_ledgers_differ_and_stay(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    with open_ledger(ledger_url) as again, open_ledger(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert len(ledger.ledger_id) == 32
        assert again.ledger_id == ledger.ledger_id != other.ledger_id


def test_a_resource_event_keeps_its_address(ledger: Ledger) -> None:
    ledger.append(tracked("s1", "evaluation-job-1"))
    payload = ledger.read()[0].payload
    assert isinstance(payload, e.ResourceTracked)
    assert payload.resource == job("evaluation-job-1")
