"""`cleanup-cli explain job/x`: what happened to a resource and what the policy says now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.options import format_option, global_options, target_argument
from cleanup_scheduler_cli.report import why
from cleanup_scheduler_cli.session import Session
from cleanup_scheduler_cli.times import age, clock_time

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.domain.events import StoredEvent
    from cleanup_scheduler.ledger import Ledger, Projection
    from cleanup_scheduler.reports import Explanation, Found

    from cleanup_scheduler_cli.output import Output

_BATCH = 1000
_WORDS = {
    "wait": "it waits",
    "clean": "it is due: the next pass of a worker cleans it",
    "keep": "it is kept",
    "preserve": "it is preserved",
    "done": "nothing more happens to it by itself",
}


@click.command()
@target_argument
@click.option("--run", metavar="RUN", help="Which run, where the name was used in several.")
@format_option("table", "json", "yaml")
@global_options
@click.pass_obj
def explain(session: Session, target: tuple[str, ...], run: str | None, form: str) -> None:
    """What happened to TARGET (job/NAME, `jobs NAME`, a uid), and what the policy says of it now."""
    from cleanup_scheduler import reports

    with session.ledger() as ledger:
        now = ledger.now()
        projection = ledger.projection()
        projection.catch_up()
        stories = [
            reports.explain(_events(ledger, scope.run_id), run_, scope, resource, session.rules, now)
            for run_, scope, resource in _entries(session, projection, target, run)
        ]
    out = session.out
    with out.paged():
        if form == "json":
            out.json(stories)
        elif form == "yaml":
            out.yaml(stories)
        else:
            for story in stories:
                _print(out, story, now)


def _entries(
    session: Session, projection: Projection, words: tuple[str, ...], run: str | None
) -> list[Found]:
    from cleanup_scheduler.reports import resolve_target

    target = resolve_target(projection, words, namespace=session.namespace, run=run)
    if target.kind == "resource":
        return target.resources
    entries = [(run_, scope, r) for run_, scope in target.scopes for r in scope.own()]
    if target.kind == "run":
        raise UsageError(
            f"{target.title} is not one resource", hint=f"`cleanup-cli report {words[0]}` shows all of it"
        )
    return entries


def _events(ledger: Ledger, run_id: str) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    while batch := ledger.read(events[-1].position if events else 0, limit=_BATCH, run_id=run_id):
        events.extend(batch)
    return events


def _print(out: Output, story: Explanation, now: datetime) -> None:
    resource = story.resource
    out.line(f"{resource.short} in namespace {resource.ref.namespace}: {resource.standing}", bold=True)
    out.line(f"  {why(resource, now)}")
    out.line(f"  test    {story.test_id or 'none'} ({story.outcome or 'running'})")
    out.line(f"  run     {story.run_id} {story.run_name}")
    out.line(f"  level   {story.level}{f', from {story.level_source}' if story.level_source else ''}")
    if resource.uid:
        out.line(f"  uid     {resource.uid}")
    until = f" until {clock_time(story.until)} ({age(story.until, now)})" if story.until else ""
    reason = f"{story.reason or 'as said above'} [{story.rule or 'settled'}]"
    out.line(f"  now     {_WORDS[story.action]}{until}: {reason}")
    out.line()
    out.table(
        ("TIME", "EVENT", "WHAT HAPPENED", "SAID BY"),
        [
            (clock_time(moment.time), moment.position, moment.what, moment.producer)
            for moment in story.timeline
        ],
        indent=2,
    )
    out.line()
