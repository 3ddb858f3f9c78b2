"""The contract of claims, heartbeats, shared time and the archive, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from cleanup_scheduler.errors import ClaimLost, UnknownName
from cleanup_scheduler.ledger import Claim, Ledger, open_ledger

from tests.databases import postgres_ledger, wait_until
from tests.ledger.samples import opened, outcome


def test_a_scope_is_claimed_by_one_holder_at_a_time(ledger: Ledger) -> None:
    claim = ledger.claim("s1", holder="a", lease_seconds=60)
    assert claim == Claim(scope_id="s1", holder="a", token=1, lease_seconds=60)
    assert ledger.claim("s1", holder="b", lease_seconds=60) is None
    assert ledger.claim("s1", holder="a", lease_seconds=60) is None
    assert ledger.claim("s2", holder="b", lease_seconds=60) is not None


def test_a_claim_given_back_is_granted_again_with_a_higher_token(ledger: Ledger) -> None:
    first = ledger.claim("s1", holder="a", lease_seconds=60)
    assert first is not None
    ledger.release(first)
    second = ledger.claim("s1", holder="b", lease_seconds=60)
    assert second is not None
    assert second.token == first.token + 1
    ledger.release(first)  # too late to matter
    assert ledger.claim("s1", holder="c", lease_seconds=60) is None


def test_a_claim_whose_lease_ran_out_goes_to_the_next(ledger: Ledger) -> None:
    stale = ledger.claim("s1", holder="a", lease_seconds=0.05)
    assert stale is not None
    granted = wait_until(lambda: ledger.claim("s1", holder="b", lease_seconds=60))
    assert granted.token == 2
    with pytest.raises(ClaimLost):
        ledger.renew(stale, lease_seconds=60)


def test_a_renewed_claim_stays(ledger: Ledger) -> None:
    claim = ledger.claim("s1", holder="a", lease_seconds=0.2)
    assert claim is not None
    renewed = ledger.renew(claim, lease_seconds=60)
    assert (renewed.token, renewed.lease_seconds) == (1, 60)
    started = datetime.now(UTC)
    wait_until(lambda: datetime.now(UTC) - started > timedelta(seconds=0.3))
    assert ledger.claim("s1", holder="b", lease_seconds=60) is None


def test_the_database_refuses_what_a_stale_holder_writes(ledger: Ledger) -> None:
    stale = ledger.claim("s1", holder="a", lease_seconds=60)
    assert stale is not None
    assert ledger.append(opened("s1"), claims=[stale]) == [1]
    ledger.release(stale)
    with pytest.raises(ClaimLost):
        ledger.append(outcome("s1"), claims=[stale])
    fresh = ledger.claim("s1", holder="b", lease_seconds=60)
    assert fresh
    with pytest.raises(ClaimLost):
        ledger.append(outcome("s1"), claims=[stale])
    assert ledger.head().position == 1
    assert ledger.append(outcome("s1"), claims=[fresh]) == [2]


def test_many_workers_claiming_at_once_never_share_a_scope(ledger_url: str) -> None:
    granted: list[tuple[str, int]] = []

    def work(name: str) -> None:
        with open_ledger(ledger_url, timeout_seconds=30) as mine:
            for number in range(30):
                claim = mine.claim(f"s{number}", holder=name, lease_seconds=60)
                if claim is not None:
                    granted.append((claim.scope_id, claim.token))

    with open_ledger(ledger_url):
        workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert sorted(granted) == sorted((f"s{number}", 1) for number in range(30))


def test_many_scopes_are_claimed_renewed_and_given_back_at_once(ledger: Ledger) -> None:
    assert ledger.claim("s2", holder="a", lease_seconds=60)
    granted = ledger.claim_many(["s3", "s1", "s2", "s1"], holder="b", lease_seconds=60)
    assert granted == {
        scope: Claim(scope_id=scope, holder="b", token=1, lease_seconds=60) for scope in ("s1", "s3")
    }
    assert ledger.claim_many(granted, holder="c", lease_seconds=60) == {}
    ledger.release(granted["s1"])
    renewed = ledger.renew_many(granted.values(), lease_seconds=90)
    assert renewed == {"s3": Claim(scope_id="s3", holder="b", token=1, lease_seconds=90)}
    ledger.release_many(granted.values())
    again = ledger.claim_many(["s1", "s2", "s3"], holder="c", lease_seconds=60)
    assert {scope: claim.token for scope, claim in again.items()} == {"s1": 2, "s3": 2}
    ledger.release_many(granted.values())  # too late to matter
    assert ledger.renew_many(granted.values(), lease_seconds=60) == {}
    assert set(ledger.renew_many(again.values(), lease_seconds=60)) == {"s1", "s3"}
    assert (ledger.claim_many([], holder="c", lease_seconds=60), ledger.renew_many([], lease_seconds=60)) == (
        {},
        {},
    )


def test_a_stale_holder_of_many_renews_and_gives_back_nothing_of_the_next_ones(ledger: Ledger) -> None:
    stale = ledger.claim_many(["s1", "s2"], holder="a", lease_seconds=0.05)
    fresh: dict[str, Claim] = {}

    def all_taken_over() -> bool:
        fresh.update(ledger.claim_many(["s1", "s2"], holder="a", lease_seconds=60))
        return len(fresh) == 2

    wait_until(all_taken_over)
    assert ledger.renew_many(stale.values(), lease_seconds=60) == {}
    ledger.release_many(stale.values())
    assert ledger.claim_many(["s1", "s2"], holder="b", lease_seconds=60) == {}


def test_workers_that_claim_overlapping_batches_at_once_never_share_a_scope(ledger_url: str) -> None:
    ids = [f"s{number:03}" for number in range(200)]
    granted: list[tuple[str, int]] = []
    failed: list[BaseException] = []

    def work(name: str, order: list[str]) -> None:
        try:
            with open_ledger(ledger_url, timeout_seconds=30) as mine:
                for start in range(0, len(order), 25):
                    claims = mine.claim_many(order[start : start + 50], holder=name, lease_seconds=60)
                    granted.extend((claim.scope_id, claim.token) for claim in claims.values())
                    assert mine.renew_many(claims.values(), lease_seconds=60) == claims
        except BaseException as error:
            failed.append(error)
            raise

    with open_ledger(ledger_url):
        orders = [ids, ids[::-1], ids[100:] + ids[:100], ids[::2] + ids[1::2]]
        workers = [
            threading.Thread(target=work, args=(f"w{number}", order)) for number, order in enumerate(orders)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert failed == []
    assert sorted(granted) == sorted((scope_id, 1) for scope_id in ids)


@pytest.mark.parametrize("call", ["claim_many", "renew_many", "release_many"])
def test_postgresql_locks_claims_in_the_order_of_their_ids(call: str) -> None:
    """Else two workers with overlapping batches would wait for each other."""
    with postgres_ledger() as url, open_ledger(url, timeout_seconds=20) as ledger:
        claims = ledger.claim_many(["s2", "s1"], holder="a", lease_seconds=60)
        reverse = [claims["s2"], claims["s1"]]
        if call == "claim_many":
            ledger.release_many(reverse)
        calls: dict[str, Callable[[], object]] = {
            "claim_many": lambda: ledger.claim_many(["s2", "s1"], holder="b", lease_seconds=60),
            "renew_many": lambda: ledger.renew_many(reverse, lease_seconds=60),
            "release_many": lambda: ledger.release_many(reverse),
        }
        with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as looker:
            first.execute("SELECT 1 FROM claims WHERE scope_id = 's1' FOR UPDATE")
            waiting = threading.Thread(target=calls[call])
            waiting.start()
            wait_until(lambda: looker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
            looker.execute("SELECT 1 FROM claims WHERE scope_id = 's2' FOR UPDATE NOWAIT")
            first.commit()
            waiting.join(20)
            assert not waiting.is_alive()


def test_a_heartbeat_tells_its_age_by_the_databases_clock(ledger: Ledger) -> None:
    ledger.beat("run", "r1", lease_seconds=60, info="here")
    ledger.beat("worker", "w1", lease_seconds=60, info="kind-ci", doing="works on 2 scopes")
    (worker,) = ledger.heartbeats("worker")
    assert (worker.info, worker.doing) == ("kind-ci", "works on 2 scopes")
    ledger.beat("worker", "w1", lease_seconds=60, info="kind-ci")
    assert ledger.heartbeats("worker")[0].doing == ""
    (beat,) = ledger.heartbeats("run")
    assert (beat.id, beat.lease_seconds, beat.info, beat.alive) == ("r1", 60, "here", True)
    assert 0 <= beat.age_seconds < 30
    assert abs(beat.at - ledger.now()) < timedelta(seconds=30)


def test_silence_longer_than_the_lease_means_dead(ledger: Ledger) -> None:
    ledger.beat("run", "r1", lease_seconds=0.01)
    wait_until(lambda: not ledger.heartbeats("run")[0].alive)
    ledger.beat("run", "r1", lease_seconds=60)
    assert ledger.heartbeats("run")[0].alive
    ledger.unbeat("run", "r1")
    assert ledger.heartbeats("run") == []


def test_shared_time_is_handed_out_piece_by_piece(ledger: Ledger) -> None:
    began = time.monotonic()
    waits = [ledger.take_time("kind-ci", 1000) for _ in range(3)]
    slack = time.monotonic() - began
    assert [wait + slack >= 1000 * number for number, wait in enumerate(waits)] == [True] * 3
    assert [wait <= 1000 * number for number, wait in enumerate(waits)] == [True] * 3
    assert ledger.take_time("kind-other", 1000) == 0, "names have nothing to do with each other"


def test_shared_time_that_went_by_unused_is_gone(ledger: Ledger) -> None:
    """A worker that took it and died holds nothing; and it cannot be saved up for a burst."""
    assert ledger.take_time("kind-ci", 0.05) == 0
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > 0.2)
    assert ledger.take_time("kind-ci", 1000) == 0
    assert ledger.take_time("kind-ci", 1000) > 900


def test_shared_time_taken_by_a_clock_that_was_set_back_is_free_again(ledger: Ledger) -> None:
    ledger.take_time("kind-ci", 1)
    with ledger.backend.writing() as connection:
        connection.exec_driver_sql("UPDATE timeshares SET taken_until_seconds = taken_until_seconds + 3600")
    assert ledger.take_time("kind-ci", 1) == 0


def test_no_two_of_many_workers_get_the_same_piece_of_time(ledger_url: str) -> None:
    waits: list[float] = []

    def work() -> None:
        with open_ledger(ledger_url, timeout_seconds=30) as mine:
            waits.extend(mine.take_time("kind-ci", 1000) for _ in range(10))

    with open_ledger(ledger_url):
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert sorted(round(wait / 1000) for wait in waits) == list(range(40))


def test_an_archived_log_comes_back_byte_by_byte(ledger: Ledger) -> None:
    body = bytes(range(256)) * 1000
    archive_id = ledger.archive(body, run_id="r1", scope_id="s1")
    assert ledger.archived(archive_id) == body
    assert ledger.archived(ledger.archive(b"", run_id="r1", scope_id="s1")) == b""
    with pytest.raises(UnknownName, match="'nothing'"):
        ledger.archived("nothing")


def test_an_append_under_several_claims_is_stored_only_while_all_of_them_are_held(ledger: Ledger) -> None:
    held = ledger.claim_many(["s1", "s2"], holder="a", lease_seconds=60)
    both = [held["s1"], held["s2"]]
    assert ledger.append(opened("s1"), opened("s2"), claims=both) == [1, 2]
    ledger.release(held["s2"])
    with pytest.raises(ClaimLost):
        ledger.append(outcome("s1"), outcome("s2"), claims=both)
    assert ledger.head().position == 2
    assert ledger.append(outcome("s1"), claims=[held["s1"]]) == [3]
