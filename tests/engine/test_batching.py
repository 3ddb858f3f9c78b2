"""Asks that come at the same time share a call; one that is refused spoils no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.engine.batching import Batches
from cleanup_scheduler.engine.journal import Commits, Journal
from cleanup_scheduler.errors import ClaimLost, LedgerUnavailable
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.testing.clock import ManualClock


class Squares:
    """Answers with squares and remembers what it was asked at once; 13 is unlucky."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(numbers))
        self.asked.set()
        await self.may_go_on.wait()
        if 13 in numbers:
            raise ValueError("13")
        return [number * number for number in numbers]


async def test_what_is_asked_at_the_same_time_is_one_call_and_each_gets_its_own_answer() -> None:
    squares = Squares()
    batches = Batches(squares)
    assert await asyncio.gather(*map(batches.ask, range(5))) == [0, 1, 4, 9, 16]
    assert squares.calls == [[0, 1, 2, 3, 4]]


async def test_who_asks_while_a_call_is_under_way_is_answered_by_one_that_began_later() -> None:
    squares = Squares()
    batches = Batches(squares)
    squares.may_go_on.clear()
    first = asyncio.create_task(batches.ask(1))
    await squares.asked.wait()
    others = [asyncio.create_task(batches.ask(number)) for number in (2, 3)]
    squares.may_go_on.set()
    assert await asyncio.gather(first, *others) == [1, 4, 9]
    assert squares.calls == [[1], [2, 3]]


async def test_a_batch_takes_what_fits_in_order_and_one_at_least() -> None:
    squares = Squares()
    batches = Batches(squares, max_weight=5, weight=lambda number: number)
    await asyncio.gather(*map(batches.ask, (2, 3, 1, 9, 1)))
    assert squares.calls == [[2, 3], [1], [9], [1]]


async def test_one_that_is_refused_spoils_no_other() -> None:
    squares = Squares()
    batches = Batches(squares, each_alone=(ValueError,))
    answers = await asyncio.gather(*map(batches.ask, (1, 13, 2)), return_exceptions=True)
    assert answers[0] == 1
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 4


async def test_any_other_error_is_everybodys() -> None:
    batches = Batches(Squares())
    answers = await asyncio.gather(*map(batches.ask, (1, 13)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]


async def test_a_cancelled_ask_leaves_the_others_their_answers() -> None:
    squares = Squares()
    batches = Batches(squares)
    squares.may_go_on.clear()
    asked = [asyncio.create_task(batches.ask(number)) for number in (1, 2)]
    await squares.asked.wait()
    asked[0].cancel()
    squares.may_go_on.set()
    assert await asked[1] == 4


def journals(ledger: Ledger, commits: Commits, *scope_ids: str) -> list[Journal]:
    claims = ledger.claim_many(scope_ids, holder="me", lease_seconds=60)
    return [
        Journal(
            ledger,
            ManualClock(),
            "worker:me",
            run_id="run",
            scope_id=scope_id,
            claim=lambda scope_id=scope_id: claims[scope_id],  # type: ignore[misc]
            commits=commits,
        )
        for scope_id in scope_ids
    ]


async def test_the_scopes_of_a_worker_share_a_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls = ledger.append, list[int]()

    def counted(*events: e.NewEvent, **more: Any) -> list[int]:
        calls.append(len(events))
        return append(*events, **more)

    monkeypatch.setattr(ledger, "append", counted)
    some = journals(ledger, Commits(ledger), "a", "b")
    await asyncio.gather(*(journal.append(e.RunFinished()) for journal in some))
    assert calls == [2]
    assert {event.scope_id for event in ledger.follow()} == {"a", "b"}


async def test_a_claim_that_was_lost_spoils_only_what_is_appended_under_it(ledger: Ledger) -> None:
    mine, lost = journals(ledger, Commits(ledger), "mine", "lost")
    ledger.backend.write(lambda c: c.exec_driver_sql("UPDATE claims SET token = 7 WHERE scope_id = 'lost'"))
    answers = await asyncio.gather(
        mine.append(e.RunFinished()), lost.append(e.RunFinished()), return_exceptions=True
    )
    assert answers[0] is None
    assert isinstance(answers[1], ClaimLost)
    assert [event.scope_id for event in ledger.follow()] == ["mine"]


async def test_a_stale_claim_does_not_hide_behind_a_newer_one_on_the_same_scope(ledger: Ledger) -> None:
    commits = Commits(ledger)
    [stale] = journals(ledger, commits, "mine")
    ledger.backend.write(lambda c: c.exec_driver_sql("UPDATE claims SET holder = '', expires_seconds = 0"))
    [newer] = journals(ledger, commits, "mine")
    answers = await asyncio.gather(
        stale.append(e.RunFinished()), newer.append(e.RunFinished()), return_exceptions=True
    )
    assert isinstance(answers[0], ClaimLost)
    assert answers[1] is None
    assert ledger.head().position == 1


async def test_a_ledger_that_is_away_fails_all_appends_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def away(*_events: object, **_more: object) -> None:
        nonlocal calls
        calls += 1
        raise LedgerUnavailable("away")

    some = journals(ledger, Commits(ledger), "a", "b")
    monkeypatch.setattr(ledger, "append", away)
    answers = await asyncio.gather(*(j.append(e.RunFinished()) for j in some), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LedgerUnavailable, LedgerUnavailable]
    assert calls == 1
