"""`cleanup-cli demo`: builds the place, tells the story, judges the end."""

from __future__ import annotations

import signal
import time
from types import FrameType

import click

from cleanup_scheduler_cli.options import global_options
from cleanup_scheduler_cli.session import Session

_PATIENCE_SECONDS = 60.0


@click.command()
@click.option("--keep", is_flag=True, help="Keep the demo's folder, with its ledger, for a look of your own.")
@global_options
@click.pass_obj
def demo(session: Session, keep: bool) -> int:  # noqa: FBT001  click passes options by name
    """See the whole idea work on a small cluster made for the occasion, in about 20 s.

    Needs no Kubernetes, touches nothing of yours, leaves nothing behind. Exits 0 only if the cluster and the
    ledger are in the end as they should be.
    """
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return perform(session, keep=keep, patience_seconds=_PATIENCE_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, before)


def perform(session: Session, *, keep: bool = False, patience_seconds: float) -> int:
    """The demo; its exit code."""
    from cleanup_scheduler_cli.demo.place import make_place
    from cleanup_scheduler_cli.demo.stage import Stage
    from cleanup_scheduler_cli.demo.story import tell

    began = time.monotonic()
    with make_place(keep=keep) as place:
        stage = Stage(place.folder, place.environment, place.guard, color=session.out.color)
        try:
            differences = tell(stage, place, patience_seconds=patience_seconds * place.slowness)
        finally:
            stage.close()
        stage.act("The end, as the cluster, its audit record and the ledger see it")
        for difference in differences:
            stage.say(f"WRONG: {difference}")
        if not differences:
            stage.say(
                "As it should be: no pod left; Jobs kept and gone as their levels say; the orphan found;"
            )
            stage.say("every deletion was in the ledger before it reached the cluster; every log is kept.")
        if keep:
            stage.say(f"Kept: {place.folder} (try: cd there, cleanup-cli report)")
        stage.say(f"{time.monotonic() - began:.1f} s")
    return 1 if differences else 0


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
