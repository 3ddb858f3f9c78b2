"""Claims: who may act on a scope, for how long, and the token that tells a late one that it is too late.

A claim is granted by the database and belongs to nobody else until its lease is over, not even to another
part of the same worker. Many go in one statement, always in the order of their ids, so that two workers
never wait for each other crosswise. Ages are measured by the database's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cleanup_scheduler.ledger.backend import Backend, chunks
from cleanup_scheduler.ledger.records import Claim

_AT_ONCE: Final = 500


def grant(
    backend: Backend, scope_ids: Collection[str], *, holder: str, lease_seconds: float
) -> dict[str, Claim]:
    """The claims on those of the scopes that nobody holds."""
    sql = (
        "INSERT INTO claims (scope_id, token, holder, expires_seconds)"
        f" SELECT scope_id, 1, :holder, {backend.now_seconds} + :lease FROM {backend.pairs_table}"
        " WHERE true ORDER BY scope_id"
        " ON CONFLICT (scope_id) DO UPDATE SET token = claims.token + 1, holder = excluded.holder,"
        " expires_seconds = excluded.expires_seconds"
        f" WHERE claims.holder = '' OR claims.expires_seconds < {backend.now_seconds}"
        " RETURNING scope_id, token"
    )
    pairs = [(scope_id, 1) for scope_id in dict.fromkeys(scope_ids)]
    rows = _write(backend, sql, pairs, holder=holder, lease=lease_seconds)
    return {
        scope_id: Claim(scope_id=scope_id, holder=holder, token=token, lease_seconds=lease_seconds)
        for scope_id, token in rows
    }


def renew(backend: Backend, claims: Collection[Claim], *, lease_seconds: float) -> dict[str, Claim]:
    """Those that are still held, with a new lease from now."""
    sql = (
        f"UPDATE claims SET expires_seconds = {backend.now_seconds} + :lease"
        f" FROM ({_held(backend)}) AS held WHERE claims.scope_id = held.scope_id"
        " RETURNING claims.scope_id, claims.token"
    )
    before = {claim.scope_id: claim for claim in claims}
    return {
        scope_id: Claim(
            scope_id=scope_id, holder=before[scope_id].holder, token=token, lease_seconds=lease_seconds
        )
        for scope_id, token in _write(backend, sql, _pairs(claims), lease=lease_seconds)
    }


def release(backend: Backend, claims: Collection[Claim]) -> None:
    """Give claims back; nothing happens to those that are no longer held."""
    sql = (
        f"UPDATE claims SET holder = '' FROM ({_held(backend)}) AS held"
        " WHERE claims.scope_id = held.scope_id RETURNING claims.scope_id"
    )
    _write(backend, sql, _pairs(claims))


def _held(backend: Backend) -> str:
    """Those of the pairs that are still held, their rows locked in order."""
    return (
        f"SELECT c.scope_id FROM claims AS c JOIN {backend.pairs_table}"
        " ON c.scope_id = pairs.scope_id AND c.token = pairs.token"
        f" WHERE c.holder <> '' ORDER BY c.scope_id{backend.lock_rows}"
    )


def _pairs(claims: Collection[Claim]) -> list[tuple[str, int]]:
    return [(claim.scope_id, claim.token) for claim in claims]


def _write(backend: Backend, sql: str, pairs: Sequence[tuple[str, int]], **values: Any) -> list[Any]:
    statement, found = sa.text(sql), list[Any]()
    for some in chunks(pairs, _AT_ONCE):
        bound = values | backend.pairs_values(some)
        found += backend.write(lambda connection: connection.execute(statement, bound).fetchall())  # noqa: B023
    return found
