"""`cleanup-cli report`: what was freed, kept, preserved until when, given up, and why; dead letters first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.options import format_option, global_options, since_option
from cleanup_scheduler_cli.session import Session, reports_of
from cleanup_scheduler_cli.times import age, clock_time

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.reports import Counts, ResourceReport, RunReport, ScopeReport, Summary

    from cleanup_scheduler_cli.output import Output

FOUND_SOMETHING_WRONG = 1
_STATUS_WIDTH = 9
_NEEDS_ATTENTION = ("failed", "deleting", "due", "waiting", "preserved")
CSV_HEADER = (
    "run_id", "run", "test", "attempt", "outcome", "level", "cluster", "namespace", "kind", "name", "uid",
    "origin", "status", "rule", "reason", "until", "retry_at", "gone_at", "attempts", "logs",
    "running_pods", "cpu_millicores", "memory_bytes",
)  # fmt: skip


@click.command()
@click.argument("run", required=False)
@format_option("table", "wide", "json", "yaml", "name", "csv")
@since_option("Only runs that started since then")
@global_options
@click.pass_context
def report(context: click.Context, run: str | None, form: str, since: str | None) -> None:
    """What became of what the tests tracked, dead letters first.

    Without RUN: the sums, one line per run, and what is not settled. With RUN (an id, its beginning, or
    `last`): every resource of that run, and why it stands where it stands. Exits 1 when something was given
    up.
    """
    from cleanup_scheduler.reports import summarise

    session = context.ensure_object(Session)
    if run and since:
        raise UsageError("RUN and --since exclude each other", hint="give one of them")
    with session.ledger() as ledger:
        summary = summarise(
            reports_of(session, ledger, since=since, run=run), at=ledger.now(), ledger=str(ledger.url)
        )
    with session.out.paged():
        _print(session.out, summary, form, one_run=bool(run))
    if summary.dead_letters:
        context.exit(FOUND_SOMETHING_WRONG)


def _print(out: Output, summary: Summary, form: str, *, one_run: bool) -> None:
    match form:
        case "json":
            out.json(summary)
        case "yaml":
            out.yaml(summary)
        case "csv":
            out.csv(CSV_HEADER, _csv_rows(summary))
        case "name":
            for name in dict.fromkeys(
                resource.short for run in summary.runs for scope in run.scopes for resource in scope.resources
            ):
                out.line(name)
        case _:
            print_summary(out, summary, details=one_run or form == "wide", wide=form == "wide")


def print_summary(out: Output, summary: Summary, *, details: bool, wide: bool = False) -> None:
    """The report for people. ``details``: every resource of every run; ``wide``: also what was found."""
    from cleanup_scheduler_cli.runs import table_of_runs

    _dead_letters(out, summary)
    if not summary.runs:
        out.say("No run has been recorded.")
        return
    _sums(out, summary)
    if details:
        for run in summary.runs:
            _run(out, run, summary.at, wide=wide)
        return
    out.line()
    table_of_runs(out, summary.runs, summary.at, wide=wide)
    _attention(out, summary)
    out.line()
    out.line("`cleanup-cli report RUN` shows each resource of a run, and why.")


def _dead_letters(out: Output, summary: Summary) -> None:
    if not summary.dead_letters:
        return
    out.line(f"GIVEN UP ({len(summary.dead_letters)}): nothing more happens to these by itself", bold=True)
    for letter in summary.dead_letters:
        resource = letter.resource
        out.line(
            f"  {resource.short} in namespace {resource.ref.namespace}, of {letter.test_id or 'no test'}"
        )
        out.line(f"    {resource.reason}")
        out.line(f"    when the cause is mended: cleanup-cli retry {resource.uid or resource.short}")
    out.line()


def _sums(out: Output, summary: Summary) -> None:
    """One line per origin; each adds up to its first number."""
    for counts, what in (
        (summary.tracked, "tracked by tests"),
        (summary.orphans, "left by crashed runs and tracked by nobody"),
        (summary.found, "found through those (pods)"),
    ):
        if counts.total or counts is summary.tracked:
            out.line(f"{counts.total} {what}: {sums(counts)}")
    if str(summary.occupied):
        seen = age(summary.occupied.at, summary.at)
        out.line(f"What is preserved or held takes up {summary.occupied}, as last seen {seen}")


def sums(counts: Counts) -> str:
    """``5 gone, 1 preserved``: what is not zero."""
    from cleanup_scheduler.reports.model import STANDINGS

    parts = [f"{counts.of(s)} {s.replace('-', ' ')}" for s in reversed(STANDINGS) if counts.of(s)]
    return ", ".join(parts) or "nothing"


def _attention(out: Output, summary: Summary) -> None:
    rows = [
        (
            resource.short,
            resource.ref.namespace,
            scope.test_id,
            resource.standing,
            str(resource.occupied or ""),
            why(resource, summary.at),
        )
        for run in summary.runs
        for scope in run.scopes
        for resource in scope.resources
        if resource.standing in _NEEDS_ATTENTION
    ]
    if not rows:
        return
    out.line()
    out.line("NOT SETTLED", bold=True)
    out.table(("RESOURCE", "NAMESPACE", "TEST", "STATUS", "HOLDS", "WHY"), rows)
    preserved = next((row[0] for row in rows if row[3] == "preserved"), None)
    if preserved is not None:
        out.line()
        out.line(f"To look at one:      cleanup-cli logs {preserved}")
        out.line(f"When you are done:   cleanup-cli release {preserved}")


def _run(out: Output, run: RunReport, now: datetime, *, wide: bool) -> None:
    out.line()
    out.line(f"RUN {run.run_id} {run.name}", bold=True)
    out.line(f"  {_life(run, now)}")
    if run.held_by:
        out.line(f"  held by {run.held_by}{f': {run.held_why}' if run.held_why else ''}")
    rules = Counter(
        f"{resource.standing} by {resource.rule}"
        for scope in run.scopes
        for resource in scope.resources
        if resource.rule
    )
    if rules:
        out.line(f"  {', '.join(f'{number} {rule}' for rule, number in rules.most_common())}")
    width = max((len(short) for scope in run.scopes for short in _names(scope, wide=wide)), default=0)
    for scope in run.scopes:
        if scope.resources:
            out.line()
            out.line(f"  {_test_line(scope)}")
            out.table((), _rows(scope, now, width, wide=wide), indent=4)


def _names(scope: ScopeReport, *, wide: bool) -> Iterator[str]:
    for resource in scope.resources:
        yield resource.short
        yield from (f"  {part.short}" for part in resource.found if wide)


def _test_line(scope: ScopeReport) -> str:
    attempt = f", attempt {scope.attempt}" if scope.attempt > 1 else ""
    forced = ", forced" if scope.forced else ""
    held = f", held by {scope.held_by}" if scope.held_by else ""
    test = scope.test_id or "no test"
    return f"{test}  ({scope.outcome or 'running'}{attempt}, level {scope.level}{forced}{held})"


def _life(run: RunReport, now: datetime) -> str:
    where = f"on {run.host} (pid {run.pid}), " if run.host else ""
    began = f"started {age(run.started_at, now)}, " if run.started_at else ""
    match run.condition:
        case "finished":
            return f"{where}{began}finished with exit code {run.exit_code}"
        case "died":
            return f"{where}{began}died; last heartbeat {clock_time(run.last_heartbeat)}"
        case "silent":
            return f"{where}{began}no fresh heartbeat; a worker will give it up for dead"
        case _:
            return f"{where}{began}running"


def _rows(scope: ScopeReport, now: datetime, width: int, *, wide: bool) -> Iterator[tuple[object, ...]]:
    for resource in scope.resources:
        yield (
            resource.short.ljust(width),
            resource.standing.ljust(_STATUS_WIDTH),
            _why_and_what(resource, now),
        )
        for part in resource.found if wide else ():
            yield f"  {part.short}".ljust(width), part.standing.ljust(_STATUS_WIDTH), why(part, now)


def _why_and_what(resource: ResourceReport, now: datetime) -> str:
    """Why, and in a few words what was found through it and archived of it."""
    from cleanup_scheduler.domain.resources import singular
    from cleanup_scheduler.domain.state import HOLD

    counts = Counter((part.standing, singular(part.ref.kind)) for part in resource.found)
    logs = resource.all_logs
    missing = sum(1 for log in logs if log.missing)
    parts = [
        why(resource, now),
        f"holds {resource.occupied}" if resource.occupied and str(resource.occupied) else "",
        f"may go before that: {resource.unsafe}" if resource.unsafe else "",
        "left by its run, tracked by nobody" if resource.orphan and not resource.tracked else "",
        *(f"{_plural(number, kind)} {standing}" for (standing, kind), number in counts.items()),
        f"{_plural(len(logs) - missing, 'log')} archived" if len(logs) > missing else "",
        f"{_plural(missing, 'log')} missing" if missing else "",
        f"held by {resource.held_by}" if resource.held_by and resource.rule != HOLD else "",
    ]
    return "; ".join(part for part in parts if part)


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def why(resource: ResourceReport, now: datetime) -> str:
    """The reason, the rule behind it, and the time that matters for it."""
    times = {
        "preserved": resource.until and f"until {clock_time(resource.until)} ({age(resource.until, now)})",
        "waiting": resource.until and f"until {clock_time(resource.until)} ({age(resource.until, now)})",
        "failed": resource.retry_at
        and f"again {age(resource.retry_at, now)}, attempt {resource.attempts + 1}",
        "gone": resource.gone_at and age(resource.gone_at, now),
    }
    reason = ": ".join(part for part in (times.get(resource.standing), resource.reason) if part)
    return f"{reason} [{resource.rule}]".strip() if resource.rule else reason


def _csv_rows(summary: Summary) -> Iterator[tuple[object, ...]]:
    from cleanup_scheduler.reports.runs import walk

    for run in summary.runs:
        for scope in run.scopes:
            for resource in walk(scope.resources):
                ref = resource.ref
                origin = "tracked" if resource.tracked else "orphan" if resource.orphan else "found"
                yield (
                    run.run_id, run.name, scope.test_id, scope.attempt, scope.outcome, scope.level,
                    ref.cluster, ref.namespace, ref.kind, ref.name, resource.uid, origin, resource.standing,
                    resource.rule, resource.reason, clock_time(resource.until), clock_time(resource.retry_at),
                    clock_time(resource.gone_at), resource.attempts, len(resource.logs),
                    *_occupied_columns(resource),
                )  # fmt: skip


def _occupied_columns(resource: ResourceReport) -> tuple[object, ...]:
    occupied = resource.occupied
    if occupied is None:
        return ("", "", "")
    return (occupied.running_pods, occupied.cpu_millicores, occupied.memory_bytes)
