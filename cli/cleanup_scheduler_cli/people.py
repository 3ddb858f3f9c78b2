"""`release`, `hold`, `unhold`, `retry`: what a person decides, appended as events with who and why.

Refuses to act on the cluster: a worker does, and when none is alive the answer says how to start one.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.options import global_options, target_argument
from cleanup_scheduler_cli.session import Session

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.domain.events import HumanEvent, NewEvent
    from cleanup_scheduler.domain.resources import Level, ResourceRef
    from cleanup_scheduler.domain.state import Resource, Run, Scope
    from cleanup_scheduler.ledger import Ledger
    from cleanup_scheduler.reports import Target

# makes the payload for the whole scope or run (None) or for one resource
Say = Callable[["ResourceRef | None"], "HumanEvent"]
_why = click.option(
    "--why", default="", metavar="TEXT", help="The reason; it stands in the ledger and in reports."
)
_run = click.option("--run", metavar="RUN", help="Which run, where the target fits several.")


@click.command()
@target_argument
@click.option("--level", type=click.Choice(("pods", "all")), help="Default: the test's own level.")
@_why
@_run
@global_options
@click.pass_obj
def release(
    session: Session, target: tuple[str, ...], level: Level | None, why: str, run: str | None
) -> None:
    """Clean TARGET up now, whatever its test's outcome; what was given up is tried again.

    TARGET is job/NAME, `jobs NAME`, a uid, a test id, or a run id. A hold is stronger: lift it first.
    """
    from cleanup_scheduler.domain.events import ReleaseRequested

    who = whoami()
    with session.ledger() as ledger:
        found = _resolve(session, ledger, target, run)
        events = _about_each(
            found,
            ledger.now(),
            who,
            lambda ref: ReleaseRequested(who=who, why=why, resource=ref, level=level),
        )
        if not events:
            session.out.line(f"{found.title}: nothing of it is left")
            return
        _warn_of_holds(session, found)
        ledger.append(*events)
        session.out.line(f"{found.title}: released")
        _say_who_acts(session, ledger)


@click.command()
@target_argument
@_why
@_run
@global_options
@click.pass_obj
def hold(session: Session, target: tuple[str, ...], why: str, run: str | None) -> None:
    """Never clean TARGET up until the hold is lifted with `cleanup-cli unhold`.

    TARGET is job/NAME, `jobs NAME`, a uid, a test id, or a run id.
    """
    from cleanup_scheduler.domain.events import HoldRequested

    who = whoami()
    with session.ledger() as ledger:
        found = _resolve(session, ledger, target, run)
        events = _about_whole(
            found, ledger.now(), who, lambda ref: HoldRequested(who=who, why=why, resource=ref)
        )
        if not events:
            session.out.line(f"{found.title}: nothing of it is left to hold")
            return
        ledger.append(*events)
    session.out.line(f"{found.title}: held by {who}")


@click.command()
@target_argument
@_why
@_run
@global_options
@click.pass_obj
def unhold(session: Session, target: tuple[str, ...], why: str, run: str | None) -> None:
    """Lift the hold on TARGET: the policy decides again, and what is due is cleaned.

    A hold on a test or a run is lifted by the name of that test or run.
    """
    from cleanup_scheduler.domain.events import HoldLifted

    who = whoami()
    with session.ledger() as ledger:
        found = _resolve(session, ledger, target, run)
        holder = _holder_above(found)
        if holder:
            raise UsageError(f"{found.title} is held through its {holder}", hint=f"unhold the {holder}")
        events = _about_whole(
            found, ledger.now(), who, lambda ref: HoldLifted(who=who, why=why, resource=ref)
        )
        if not events or not _is_held(found):
            session.out.line(f"{found.title}: not held")
            return
        ledger.append(*events)
        session.out.line(f"{found.title}: no longer held")
        _say_who_acts(session, ledger)


@click.command()
@target_argument
@_why
@_run
@global_options
@click.pass_obj
def retry(session: Session, target: tuple[str, ...], why: str, run: str | None) -> None:
    """Try again what failed or was given up of TARGET, now and from the first attempt.

    TARGET is job/NAME, `jobs NAME`, a uid, a test id, or a run id.
    """
    from cleanup_scheduler.domain.events import ReleaseRequested

    who = whoami()
    with session.ledger() as ledger:
        found = _resolve(session, ledger, target, run)
        events = _about_failed(
            found, ledger.now(), who, lambda ref: ReleaseRequested(who=who, why=why, resource=ref)
        )
        if not events:
            session.out.line(f"{found.title}: nothing of it failed")
            return
        _warn_of_holds(session, found)
        ledger.append(*events)
        session.out.line(f"{found.title}: {len(events)} to be tried again")
        _say_who_acts(session, ledger)


def whoami() -> str:
    """user@host, as the ledger records it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose uid has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _resolve(session: Session, ledger: Ledger, words: tuple[str, ...], run: str | None) -> Target:
    from cleanup_scheduler.reports import resolve_target, still_there

    projection = ledger.projection()
    projection.catch_up()
    target = resolve_target(projection, words, namespace=session.namespace, run=run)
    target.resources = still_there(target)
    return target


def _event(payload: HumanEvent, at: datetime, who: str, run_id: str, scope_id: str = "") -> NewEvent:
    from cleanup_scheduler.domain.events import NewEvent
    from cleanup_scheduler.ids import new_id

    return NewEvent(
        event_id=new_id(),
        time=at,
        producer=f"cleanup-cli {who}",
        payload=payload,
        run_id=run_id,
        scope_id=scope_id,
    )


def _about_each(target: Target, at: datetime, who: str, say: Say) -> list[NewEvent]:
    """One event per scope in which something is left; a run has no release of its own."""
    if target.kind != "resource":
        return [
            _event(say(None), at, who, run.run_id, scope.scope_id)
            for run, scope in target.scopes
            if any(resource.status != "gone" for resource in scope.own())
        ]
    return _about_resources(target.resources, at, who, say)


def _about_whole(target: Target, at: datetime, who: str, say: Say) -> list[NewEvent]:
    """One event for a run, else one per scope."""
    if target.kind == "run" and target.run is not None:
        return [_event(say(None), at, who, target.run.run_id)]
    return _about_each(target, at, who, say)


def _about_failed(target: Target, at: datetime, who: str, say: Say) -> list[NewEvent]:
    """One event per resource that failed, or through which something was found that failed."""
    entries = target.resources or [
        (run, scope, resource) for run, scope in target.scopes for resource in scope.resources.values()
    ]
    return _about_resources(
        [(run, scope, r) for run, scope, r in entries if r.status in ("failed", "given-up")], at, who, say
    )


def _about_resources(
    entries: Iterable[tuple[Run, Scope, Resource]], at: datetime, who: str, say: Say
) -> list[NewEvent]:
    """The policy speaks of what was tracked: a word about a pod goes to the Job that it was found through."""
    spoken = {
        (
            run.run_id,
            scope.scope_id,
            resource.ref if resource.tracked or resource.orphan else resource.owner or resource.ref,
        )
        for run, scope, resource in entries
    }
    return [_event(say(ref), at, who, run_id, scope_id) for run_id, scope_id, ref in sorted(spoken)]


def _holders(target: Target) -> Iterable[tuple[str, Run | Scope | Resource]]:
    pairs = target.scopes or [(run, scope) for run, scope, _ in target.resources]
    yield from (("run", run) for run, _ in pairs)
    if target.kind == "run" and target.run is not None:
        yield ("run", target.run)
    yield from (("test", scope) for _, scope in pairs)
    yield from (("resource", resource) for _, _, resource in target.resources)


def _is_held(target: Target) -> bool:
    return any(holder.held_by for kind, holder in _holders(target) if kind == target.kind)


def _holder_above(target: Target) -> str:
    """The kind of the hold that another name lifts."""
    if _is_held(target):
        return ""
    above = {"resource": ("test", "run"), "test": ("run",), "run": ()}[target.kind]
    return next((kind for kind, holder in _holders(target) if kind in above and holder.held_by), "")


def _warn_of_holds(session: Session, target: Target) -> None:
    holders = {holder.held_by for _, holder in _holders(target) if holder.held_by}
    if holders:
        session.out.say(f"held by {', '.join(sorted(holders))}: nothing happens until `cleanup-cli unhold`")


def _say_who_acts(session: Session, ledger: Ledger) -> None:
    if not any(beat.alive for beat in ledger.heartbeats("worker")):
        session.out.say("no worker is alive: `cleanup-scheduler run --once` does it now")
