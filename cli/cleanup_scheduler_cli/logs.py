"""`cleanup-cli logs job/x`: from the archive, as kubectl would have shown it while the pods were there."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final

import click
from cleanup_scheduler.errors import UnknownName, UsageError

from cleanup_scheduler_cli.options import global_options, since_option, target_argument
from cleanup_scheduler_cli.session import Session
from cleanup_scheduler_cli.text import safe_log
from cleanup_scheduler_cli.times import parse_since

if TYPE_CHECKING:
    from datetime import datetime

    from cleanup_scheduler.domain.state import ArchivedLog
    from cleanup_scheduler.ledger import Ledger
    from cleanup_scheduler.reports import Found, LogSelection

_NOTHING_TO_SHOW: Final = 1
# what the kubelet puts in front of each line when it is asked for timestamps
_STAMP: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) ?")


@click.command()
@target_argument
@click.option(
    "-c", "--container", default="", metavar="NAME", help="This container; default: the pod's first."
)
@click.option("--all-containers", is_flag=True, help="All containers of each pod.")
@click.option("-p", "--previous", is_flag=True, help="The log before the container's last restart.")
@click.option("--timestamps", is_flag=True, help="Each line with its time.")
@click.option("--prefix", is_flag=True, help="The pod and container before each line, also when it is one.")
@click.option(
    "--tail",
    "tail_lines",
    type=click.IntRange(min=-1),
    default=-1,
    metavar="LINES",
    help="Only the last lines of each container; -1: all.",
)
@click.option("--run", metavar="RUN", help="Which run, where the name was used in several.")
@since_option("Only lines written since then")
@global_options
@click.pass_context
def logs(
    context: click.Context,
    target: tuple[str, ...],
    container: str,
    all_containers: bool,  # noqa: FBT001  click passes options by name
    previous: bool,  # noqa: FBT001
    timestamps: bool,  # noqa: FBT001
    prefix: bool,  # noqa: FBT001
    tail_lines: int,
    run: str | None,
    since: str | None,
) -> None:
    """The archived logs of TARGET (job/NAME, `jobs NAME`, a pod, a uid), also after its pods are gone.

    Lines carry their pod and container in front when there are several. Exits 1 when nothing was archived,
    and says why.
    """
    session = context.ensure_object(Session)
    with session.ledger() as ledger:
        start = parse_since(since, ledger.now()) if since else None
        _, scope, resource = _newest(session, ledger, target, run)
        from cleanup_scheduler.reports import select_logs

        chosen = select_logs(
            scope, resource, container=container, all_containers=all_containers, previous=previous
        )
        if container and container not in chosen.containers:
            raise UnknownName(
                f"{resource.ref.short} has no archived log of a container {container!r}",
                hint=f"it has: {', '.join(chosen.containers) or 'none'}",
            )
        _say_what_is_left_out(session, chosen, explicit=bool(container))
        several = len({(log.pod, log.container) for log in chosen.logs}) > 1
        shape = _Shape(start, timestamps=timestamps, prefix=prefix or several, tail_lines=tail_lines)
        with session.out.paged():
            shown = [_show(session, ledger, log, shape) for log in chosen.logs]
    if not any(shown):
        _say_why_nothing(session, chosen, resource.ref.short, resource.ref.namespace, previous=previous)
        context.exit(_NOTHING_TO_SHOW)


@dataclass(frozen=True)
class _Shape:
    """Which lines are wanted, and what stands in front of them. ``tail_lines`` -1: all."""

    start: datetime | None
    _: KW_ONLY
    timestamps: bool
    prefix: bool
    tail_lines: int


def _show(session: Session, ledger: Ledger, log: ArchivedLog, shape: _Shape) -> bool:
    """Print one log; False when the archive has it no more, and that is said."""
    try:
        body = ledger.archived(log.archive_id)
    except UnknownName as error:
        session.out.say(f"pod/{log.pod}, container {log.container}: {error}")
        return False
    shaped = _shape(body, log, shape)
    if session.out.terminal:
        session.out.text(safe_log(shaped))
    else:
        session.out.raw(shaped)
    return True


def _newest(session: Session, ledger: Ledger, words: tuple[str, ...], run: str | None) -> Found:
    from cleanup_scheduler.reports import resolve_target

    projection = ledger.projection()
    projection.catch_up()
    target = resolve_target(projection, words, namespace=session.namespace, run=run)
    if target.kind != "resource":
        names = [r.ref.short for _, scope in target.scopes for r in scope.own()]
        if len(set(names)) != 1:
            raise UsageError(
                f"{target.title} is not one resource",
                hint=f"it tracked: {', '.join(names[:10]) or 'nothing'}",
            )
        target = resolve_target(projection, names[:1], namespace=session.namespace, run=run)
    others = {(r.uid, scope.scope_id) for _, scope, r in target.resources[1:]}
    if others:
        session.out.say(
            f"{target.title} was used {len(others) + 1} times; this is the newest (--run names another)"
        )
    return target.resources[0]


def _shape(body: bytes, log: ArchivedLog, shape: _Shape) -> bytes:
    """The lines wanted, with or without their time, with or without their origin in front."""
    front = f"[pod/{log.pod}/{log.container}] ".encode() if shape.prefix else b""
    start = shape.start
    lines = body.splitlines(keepends=True)
    stamped = bool(lines) and all(_STAMP.match(line) for line in lines if line.strip())
    if start is not None and not stamped:
        raise UsageError(f"the log of pod {log.pod} was archived without times", hint="leave --since out")
    shown = []
    for line in lines:
        match = _STAMP.match(line) if stamped else None
        if start is not None and match is not None and _time_of(match) < start:
            continue
        shown.append(front + (line if shape.timestamps or match is None else line[match.end() :]))
    if shape.tail_lines >= 0:
        shown = shown[max(0, len(shown) - shape.tail_lines) :]
    if shown and not shown[-1].endswith(b"\n"):
        shown.append(b"\n")
    return b"".join(shown)


def _time_of(match: re.Match[bytes]) -> datetime:
    from datetime import datetime

    whole, fraction, zone = (part.decode() if part else "" for part in match.groups())
    return datetime.fromisoformat(f"{whole}{fraction[:7]}{zone}")


def _say_what_is_left_out(session: Session, chosen: LogSelection, *, explicit: bool) -> None:
    if chosen.other_containers and not explicit:
        shown = dict.fromkeys(log.container for log in (*chosen.logs, *chosen.missing))
        session.out.say(
            f"showing container {', '.join(shown)}; there are also {', '.join(chosen.other_containers)} "
            "(-c NAME or --all-containers)"
        )
    for log in chosen.missing:
        session.out.say(f"pod/{log.pod}, container {log.container}: not archived: {log.missing}")
    for log in chosen.logs:
        if log.truncated:
            where = f"pod/{log.pod}, container {log.container}"
            session.out.say(f"{where}: not all of it was archived ({log.size_bytes} bytes are)")


def _say_why_nothing(
    session: Session, chosen: LogSelection, short: str, namespace: str, *, previous: bool
) -> None:
    if chosen.missing or chosen.logs:
        return  # each was told by itself
    if previous:
        session.out.say(f"{short}: no log of an earlier run of its containers was archived")
    elif chosen.pods_without:
        names = ", ".join(pod.ref.short for pod in chosen.pods_without)
        session.out.say(
            f"{short}: nothing is archived yet of {names}; logs are archived before pods go. "
            f"Try: kubectl logs {short} -n {namespace}"
        )
    else:
        session.out.say(f"{short}: no worker has seen a pod of it. Try: kubectl logs {short} -n {namespace}")
