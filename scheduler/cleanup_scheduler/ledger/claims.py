"""Claims: who may act on a scope, for how long, and the token that tells a late one that it is too late.

A claim is granted by the database in one statement and belongs to nobody else until its lease is over, not
even to another part of the same worker. Ages are measured by the database's clock.
"""

from __future__ import annotations

import sqlalchemy as sa

from cleanup_scheduler.errors import ClaimLost
from cleanup_scheduler.ledger.backend import Backend
from cleanup_scheduler.ledger.records import Claim


def grant(backend: Backend, scope_id: str, *, holder: str, lease_seconds: float) -> Claim | None:
    """The claim, or None while it is held."""
    now = backend.now_seconds
    statement = sa.text(
        f"INSERT INTO claims (scope_id, token, holder, expires_seconds)"
        f" VALUES (:scope_id, 1, :holder, {now} + :lease)"
        f" ON CONFLICT (scope_id) DO UPDATE SET token = claims.token + 1, holder = excluded.holder,"
        f" expires_seconds = excluded.expires_seconds"
        f" WHERE claims.holder = '' OR claims.expires_seconds < {now} RETURNING token"
    )
    values = {"scope_id": scope_id, "holder": holder, "lease": lease_seconds}
    row = backend.write(lambda connection: connection.execute(statement, values).fetchone())
    if row is None:
        return None
    return Claim(scope_id=scope_id, holder=holder, token=row[0], lease_seconds=lease_seconds)


def renew(backend: Backend, claim: Claim, *, lease_seconds: float) -> Claim:
    """The same claim with a new lease; raises :class:`ClaimLost`."""
    statement = sa.text(
        f"UPDATE claims SET expires_seconds = {backend.now_seconds} + :lease"
        " WHERE scope_id = :scope_id AND token = :token AND holder <> ''"
    )
    values = {"scope_id": claim.scope_id, "token": claim.token, "lease": lease_seconds}
    if backend.write(lambda connection: connection.execute(statement, values).rowcount) != 1:
        raise ClaimLost(
            f"the claim on scope {claim.scope_id} is no longer held",
            hint="another worker acts on this scope now",
        )
    return Claim(scope_id=claim.scope_id, holder=claim.holder, token=claim.token, lease_seconds=lease_seconds)


def release(backend: Backend, claim: Claim) -> None:
    """Give the claim back; nothing happens when it is no longer held."""
    statement = sa.text(
        "UPDATE claims SET holder = '' WHERE scope_id = :scope_id AND token = :token AND holder <> ''"
    )
    values = {"scope_id": claim.scope_id, "token": claim.token}
    backend.write(lambda connection: connection.execute(statement, values).rowcount)
