"""`cleanup-cli ledger …`: the ledger's housekeeping.

Refuses to do anything to events but what leaves the rest verifiable.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.options import global_options
from cleanup_scheduler_cli.session import Session
from cleanup_scheduler_cli.times import parse_duration


@click.group()
@global_options
def ledger() -> None:
    """Rebuild, export, import or prune the ledger."""


@ledger.command()
@global_options
@click.pass_obj
def rebuild(session: Session) -> None:
    """Throw away the state that is kept beside the events, and fold every event again.

    Nothing is lost by it, and workers may go on.
    """
    with session.ledger() as opened:
        session.out.line(f"{opened.rebuild(several_processes=True)} events folded")


@ledger.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--no-logs", is_flag=True, help="Leave the archived logs out.")
@global_options
@click.pass_obj
def export(session: Session, file: Path, no_logs: bool) -> None:  # noqa: FBT001  click passes options by name
    """Write the ledger to FILE as JSON lines; `-` is stdout.

    `cleanup-cli ledger import` reads it, on SQLite and PostgreSQL alike, with the hash chain intact.
    """
    from cleanup_scheduler.ledger.exchange import export as export_ledger

    with session.ledger() as opened, _writing(file) as stream:
        head = export_ledger(opened, stream, logs=not no_logs)
    session.out.say(f"{head.position} events written; head {head.position}:{head.hash}")


@ledger.command(name="import")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@global_options
@click.pass_obj
def import_(session: Session, file: Path | None) -> None:
    """Read FILE (an export; `-` is stdin) into the ledger, all or nothing.

    Without FILE: read the events that wait in this checkout's journal, written while the ledger was out of
    reach.
    """
    from cleanup_scheduler.ledger import Journal, open_ledger
    from cleanup_scheduler.ledger.exchange import import_lines

    loaded = session.loaded
    if file is None:
        with session.ledger() as opened:
            drained = Journal(loaded.journal_folder).drain(opened)
        session.out.line(f"{drained.stored} events from the journal, {drained.refused} refused")
        return
    with (
        _reading(file) as stream,
        open_ledger(loaded.ledger_url, timeout_seconds=loaded.settings.ledger_timeout_seconds) as opened,
    ):
        imported = import_lines(opened, stream)
    session.out.line(f"{imported.stored} events stored, {imported.known} known already, {imported.logs} logs")


@ledger.command()
@click.option("--older-than", metavar="DURATION", help="Runs that ended longer ago and left nothing: 90d.")
@click.option(
    "--logs-older-than", metavar="DURATION", help="Archived logs that are older; their events stay."
)
@click.option(
    "--logs-max-bytes", type=click.IntRange(0), metavar="N", help="The oldest logs until the rest fits."
)
@click.option("--dry-run", is_flag=True, help="Only count the runs that --older-than would remove.")
@global_options
@click.pass_obj
def prune(
    session: Session,
    older_than: str | None,
    logs_older_than: str | None,
    logs_max_bytes: int | None,
    dry_run: bool,  # noqa: FBT001  click passes options by name
) -> None:
    """Make the ledger smaller, on purpose and on the record.

    A checkpoint is committed before anything goes, so that `cleanup-cli verify` still verifies the rest. Runs
    that are open, hold something, or ended with something given up stay.
    """
    from cleanup_scheduler.ledger.housekeeping import prune as prune_runs

    if older_than is None and logs_older_than is None and logs_max_bytes is None:
        raise UsageError("prune what?", hint="give --older-than, --logs-older-than or --logs-max-bytes")
    if dry_run and older_than is None:
        raise UsageError("--dry-run counts runs", hint="give --older-than too, or leave it out")
    age = parse_duration("--older-than", older_than) if older_than else None
    logs_age = parse_duration("--logs-older-than", logs_older_than) if logs_older_than else None
    with session.ledger() as opened:
        if age is not None:
            done = prune_runs(opened, older_than=age, dry_run=dry_run)
            word = "would go" if dry_run else "removed"
            session.out.line(f"{done.runs} runs {word}, with {done.events} events and {done.logs} logs")
        if not dry_run and (logs_age is not None or logs_max_bytes is not None):
            gone = opened.prune_archive(older_than=logs_age, max_total_bytes=logs_max_bytes)
            session.out.line(f"{gone} archived logs removed")


@ledger.command()
@global_options
@click.pass_obj
def roles(session: Session) -> None:
    """Print the SQL that makes PostgreSQL roles with just the rights that tests, workers and people need."""
    from cleanup_scheduler.ledger import postgresql_roles

    session.out.text(postgresql_roles())


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    try:
        with file.open("xb") as stream:
            yield stream
    except FileExistsError as error:
        raise UsageError(f"{file} exists", hint="name another file, or remove it") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
