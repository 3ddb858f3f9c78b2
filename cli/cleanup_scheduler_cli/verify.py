"""`cleanup-cli verify` and `cleanup-cli doctor`: is the ledger what it was, and is all well around it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.options import format_option, global_options
from cleanup_scheduler_cli.session import Session

if TYPE_CHECKING:
    from cleanup_scheduler.ledger import Head

FOUND_SOMETHING_WRONG: Final = 1
_HASH_DIGITS: Final = 64


@click.command()
@click.option(
    "--head", metavar="POSITION:HASH", help="A head printed earlier: the ledger must still contain it."
)
@format_option("table", "json", "yaml")
@global_options
@click.pass_context
def verify(context: click.Context, head: str | None, form: str) -> None:
    """Recompute the hash chain: was an event changed, removed, inserted, or the end cut off?

    Prints the head; keep it somewhere else, and give it to --head later. Exits 1 at the first position that
    does not fit, or when an event cannot be read.
    """
    from cleanup_scheduler.ledger.verifying import verify as verify_ledger

    session = context.ensure_object(Session)
    expected = _parse_head(head) if head else None
    with session.ledger() as ledger:
        found = verify_ledger(ledger, expected=expected)
    out = session.out
    if form == "json":
        out.json(found)
    elif form == "yaml":
        out.yaml(found)
    else:
        for problem in found.broken:
            out.line(f"BROKEN at position {problem.position}: {problem.what}")
        for problem in found.unreadable:
            out.line(f"cannot be read at position {problem.position}: {problem.what}")
        out.line(f"{found.events} events {'fit' if found.intact else 'were looked at'}")
        out.line(f"head {found.head.position}:{found.head.hash}")
    if not found.intact or found.unreadable:
        context.exit(FOUND_SOMETHING_WRONG)


def _parse_head(text: str) -> Head:
    from cleanup_scheduler.ledger import Head

    position, _, digits = text.partition(":")
    is_hash = len(digits) == _HASH_DIGITS and all(digit in "0123456789abcdef" for digit in digits)
    if not (position.isascii() and position.isdigit() and is_hash):
        raise UsageError(f"--head {text!r} is no head", hint="write it as `cleanup-cli verify` printed it")
    return Head(position=int(position), hash=digits)


@click.command()
@format_option("table", "json", "yaml")
@global_options
@click.pass_context
def doctor(context: click.Context, form: str) -> None:
    """Look at the ledger and its surroundings: what is well, what may bite later, what is wrong.

    Exits 1 when something is wrong.
    """
    session = context.ensure_object(Session)
    session.refuse_absent_default()
    from cleanup_scheduler.ledger.doctor import examine

    loaded = session.loaded
    findings = examine(
        loaded.ledger_url,
        loaded.journal_folder,
        timeout_seconds=loaded.settings.ledger_timeout_seconds,
    )
    out = session.out
    if form == "json":
        out.json(findings)
    elif form == "yaml":
        out.yaml(findings)
    else:
        rows = [
            (finding.check, finding.state, f"{finding.detail}{f' ({finding.hint})' if finding.hint else ''}")
            for finding in findings
        ]
        out.table(("CHECK", "STATE", "DETAIL"), rows)
    if any(finding.state == "problem" for finding in findings):
        context.exit(FOUND_SOMETHING_WRONG)
