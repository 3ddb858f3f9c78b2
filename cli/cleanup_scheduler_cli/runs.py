"""`cleanup-cli runs`: one line per run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cleanup_scheduler_cli.options import format_option, global_options, since_option
from cleanup_scheduler_cli.session import Session, reports_of
from cleanup_scheduler_cli.times import age, clock_time

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.reports import RunReport

    from cleanup_scheduler_cli.output import Output

_NAME_WIDTH = 40
HEADER = (
    "RUN",
    "NAME",
    "STATE",
    "STARTED",
    "TESTS",
    "TRACKED",
    "GONE",
    "KEPT",
    "PRESERVED",
    "OPEN",
    "GIVEN-UP",
)


@click.command()
@format_option("table", "wide", "json", "yaml", "name", "csv")
@since_option("Only runs that started since then")
@global_options
@click.pass_obj
def runs(session: Session, form: str, since: str | None) -> None:
    """The runs in the ledger, newest first.

    STATE is running, silent (no heartbeat, not yet given up for dead), finished or died.
    """
    with session.ledger() as ledger:
        found = reports_of(session, ledger, since=since)
        now = ledger.now()
    out = session.out
    with out.paged():
        match form:
            case "json":
                out.json([_without_scopes(run) for run in found])
            case "yaml":
                out.yaml([_without_scopes(run) for run in found])
            case "name":
                for run in found:
                    out.line(run.run_id)
            case "csv":
                out.csv([name.lower() for name in HEADER], [run_row(run, None) for run in found])
            case _:
                table_of_runs(out, found, now, wide=form == "wide")


def table_of_runs(out: Output, found: list[RunReport], now: datetime, *, wide: bool) -> None:
    """The table that `runs` and `report` show."""
    header = [*HEADER, "WHERE"] if wide else HEADER
    rows = []
    for run in found:
        run_id, name, *rest = run_row(run, now)
        where = [f"{run.host} pid {run.pid}"] if wide else []
        rows.append((run_id, name if wide else _short(str(name)), *rest, *where))
    out.table(header, rows)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"


def run_row(run: RunReport, now: datetime | None) -> tuple[object, ...]:
    """One line; with ``now`` the start is an age, without it a time."""
    counts = run.tracked
    orphans = f" +{run.orphans.total}" if run.orphans.total else ""
    return (
        run.run_id,
        run.name,
        run.condition,
        age(run.started_at, now) if now else clock_time(run.started_at),
        run.tests,
        f"{counts.total}{orphans}",
        counts.gone + run.orphans.gone,
        counts.kept + run.orphans.kept,
        counts.preserved + run.orphans.preserved,
        counts.open + run.orphans.open,
        counts.given_up + run.orphans.given_up,
    )


def _without_scopes(run: RunReport) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(run)
    return {name: value for name, value in fields.items() if name != "scopes"}
