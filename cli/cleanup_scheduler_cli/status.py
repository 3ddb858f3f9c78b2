"""`cleanup-cli status`: who is alive and what they are doing, what is due, and when something will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from cleanup_scheduler_cli.options import format_option, global_options
from cleanup_scheduler_cli.session import Session
from cleanup_scheduler_cli.times import age, clock_time, span

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.domain.policy import PolicyRules
    from cleanup_scheduler.ledger import Heartbeat, Ledger

_NOBODY_TO_DO_IT = 1


@click.command()
@format_option("table", "json", "yaml")
@global_options
@click.pass_context
def status(context: click.Context, form: str) -> None:
    """Who is alive, what workers are doing, what is due now, and when something will be due by itself.

    Exits 1 when something is due and no worker is alive to do it.
    """
    session = context.ensure_object(Session)
    with session.ledger() as ledger:
        found = look(ledger, session.rules)
    out = session.out
    if form == "json":
        out.json(found)
    elif form == "yaml":
        out.yaml(found)
    else:
        _print(session, found)
    if found.due and not any(sign.alive for sign in found.workers):
        context.exit(_NOBODY_TO_DO_IT)


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """The last sign of life of a worker or run. ``doing``: a worker's own words at that moment."""

    id: str
    alive: bool
    age_seconds: float
    lease_seconds: float
    info: str
    doing: str


class Status(msgspec.Struct, kw_only=True):
    """What holds at ``at``. ``head`` is the newest event's position."""

    at: datetime
    ledger: str
    head: int
    workers: list[Sign]
    runs: list[Sign]
    open_scopes: int
    due: list[str]
    next_due_at: datetime | None


def look(ledger: Ledger, rules: PolicyRules) -> Status:
    """Ask the ledger."""
    from cleanup_scheduler.domain.policy import next_due
    from cleanup_scheduler.reports import ScopeView

    now = ledger.now()
    projection = ledger.projection()
    projection.catch_up()
    scopes = projection.open_scopes()
    open_runs = {run.run_id for run in projection.open_runs()}
    times = (next_due(run, scope, rules, now) for run, scope in scopes)
    return Status(
        at=now,
        ledger=str(ledger.url),
        head=ledger.head().position,
        workers=[_sign(beat) for beat in ledger.heartbeats("worker")],
        runs=[_sign(beat) for beat in ledger.heartbeats("run") if beat.id in open_runs],
        open_scopes=len(scopes),
        due=[
            resource.ref.short
            for view in (ScopeView(run, scope, rules, now) for run, scope in scopes)
            for resource in view.scope.own()
            if view.standing(resource)[0] == "due"
        ],
        next_due_at=min((at for at in times if at is not None and at > now), default=None),
    )


def _sign(beat: Heartbeat) -> Sign:
    return Sign(
        id=beat.id,
        alive=beat.alive,
        age_seconds=round(beat.age_seconds, 3),
        lease_seconds=beat.lease_seconds,
        info=beat.info,
        doing=beat.doing,
    )


def _print(session: Session, found: Status) -> None:
    out = session.out
    out.line(f"ledger {found.ledger}, {found.head} events")
    rows = [
        (kind, sign.id, "alive" if sign.alive else "silent", f"{span(sign.age_seconds)} ago", sign.info)
        for kind, signs in (("worker", found.workers), ("run", found.runs))
        for sign in signs
    ]
    if rows:
        out.table(("KIND", "ID", "STATE", "LAST SIGN", "SERVES"), rows)
    else:
        out.line("no worker and no run has shown a sign of life")
    for sign in found.workers:
        if sign.alive and sign.doing:
            out.line(sign.doing)
    due = f": {', '.join(found.due[:5])}{' …' if len(found.due) > 5 else ''}" if found.due else ""
    out.line(f"{len(found.due)} due now{due}")
    if found.next_due_at:
        out.line(f"next by itself: {clock_time(found.next_due_at)} ({age(found.next_due_at, found.at)})")
    if found.due and not any(sign.alive for sign in found.workers):
        out.say("no worker is alive: `cleanup-scheduler run --once` does what is due")
