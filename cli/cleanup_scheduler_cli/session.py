"""What one invocation knows: the global options, the settings that follow from them, the ledger.

Opens nothing before a command asks for it, so that `--help` and completion stay fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cleanup_scheduler.errors import UsageError

from cleanup_scheduler_cli.output import Output

if TYPE_CHECKING:
    from cleanup_scheduler.domain.policy import PolicyRules
    from cleanup_scheduler.ledger import Ledger
    from cleanup_scheduler.reports import RunReport
    from cleanup_scheduler.settings import Loaded


class Session:
    """Made once per invocation; commands get it as their first argument."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.no_color = False

    @cached_property
    def out(self) -> Output:
        """Where data and talk go."""
        return Output(no_color=self.no_color)

    @cached_property
    def loaded(self) -> Loaded:
        """The settings, with the options over them."""
        from cleanup_scheduler.settings import load_settings

        return load_settings(options=self.options)

    @property
    def rules(self) -> PolicyRules:
        """What the policy reads."""
        return self.loaded.settings.policy_rules()

    @property
    def namespace(self) -> str | None:
        """What ``-n`` said; None looks everywhere."""
        return self.options.get("namespace")

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger in use. A command that reads does not make one where there is none."""
        from cleanup_scheduler.ledger import open_ledger

        self.refuse_absent_default()
        settings = self.loaded.settings
        with open_ledger(
            self.loaded.ledger_url,
            timeout_seconds=settings.ledger_timeout_seconds,
            max_event_bytes=settings.max_event_bytes,
        ) as ledger:
            yield ledger

    def refuse_absent_default(self) -> None:
        """Looking at a folder that has no ledger yet must not make one."""
        loaded = self.loaded
        if not loaded.settings.ledger_url and not (loaded.state_folder / "ledger.db").exists():
            raise UsageError(
                f"there is no ledger in {loaded.state_folder} yet",
                hint="run the tests first, or name a ledger with --ledger URL",
            )


def reports_of(
    session: Session, ledger: Ledger, *, since: str | None = None, run: str | None = None
) -> list[RunReport]:
    """The runs (or the one called ``run``) as reports, up to date with the ledger's head, newest first."""
    from cleanup_scheduler.reports import report_run, resolve_run

    from cleanup_scheduler_cli.times import parse_since

    now = ledger.now()
    start = parse_since(since, now) if since else None
    projection = ledger.projection()
    projection.catch_up()
    alive = {beat.id for beat in ledger.heartbeats("run") if beat.alive}
    chosen = [resolve_run(projection, run)] if run else projection.all_runs(since=start)
    return [
        report_run(
            each,
            projection.scopes_of(each.run_id),
            session.rules,
            now,
            alive=alive,
            namespace=session.namespace,
        )
        for each in chosen
    ]
