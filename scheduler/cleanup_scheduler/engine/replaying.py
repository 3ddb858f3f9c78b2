"""The worker's picture of the ledger: replays what is new and says what there is to do now.

One replay at a time; plans are copies, so that what is worked on does not change under anybody's hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from datetime import datetime

import msgspec

from cleanup_scheduler.domain.policy import PolicyRules
from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.engine.abandoning import Dead, abandon_dead_runs
from cleanup_scheduler.engine.batching import Batches
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.engine.planning import ScopePlan, plan_scope
from cleanup_scheduler.engine.sharing import Sharing
from cleanup_scheduler.ledger import Ledger, Projection


class Replay:
    """The folded state, kept up to date, and the plans made of it."""

    def __init__(
        self,
        projection: Projection,
        ledger: Ledger,
        rules: PolicyRules,
        clock: Clock,
        *,
        cluster: str,
        producer: str,
    ) -> None:
        self._ledger, self._rules, self._clock = ledger, rules, clock
        self._cluster, self._producer = cluster, producer
        self.projection = projection
        self.sharing = Sharing(self.projection.open_scopes, rules, clock)
        self._replaying = asyncio.Lock()
        self._plans = Batches(self._plan_some)

    async def plan(self, run_id: str, scope_id: str) -> ScopePlan:
        """What is to be done for one scope, as of now."""
        return await self._plans.ask((run_id, scope_id))

    async def _plan_some(self, asks: Sequence[tuple[str, str]]) -> Sequence[ScopePlan]:
        """One replay for all who want to know at the same time."""
        async with self._replaying:
            await self._catch_up()
            now, state = self._clock.now(), self.projection
            return [
                self._plan(state.run(run_id), state.scope(scope_id, run_id), now) for run_id, scope_id in asks
            ]

    async def plan_all(
        self, only: Container[str] | None, *, dry_run: bool = False
    ) -> tuple[list[ScopePlan], list[str]]:
        """What is to be done for all open scopes, or for ``only`` these; and the runs that were found dead.

        A dry run appends nothing: it supposes the deaths that it finds.
        """
        dead = await Dead.look(self._ledger) if only is None else None
        async with self._replaying:
            await self._catch_up()
            deaths: dict[str, datetime] = {}
            if dead is not None:
                now = self._clock.now()
                found = dead.among(self.projection.open_runs(), now)
                deaths = {run.run_id: last for run, last in found}
                if found and not dry_run:
                    await abandon_dead_runs(self._ledger, found, self._clock, self._producer)
                    await self._catch_up()
            now = self._clock.now()
            plans = [
                self._plan(_suppose_dead(run, deaths, now) if dry_run else run, scope, now)
                for run, scope in self.projection.open_scopes()
                if only is None or scope.scope_id in only
            ]
        return [plan for plan in plans if not plan.idle], list(deaths)

    async def _catch_up(self) -> None:
        await asyncio.to_thread(self.projection.catch_up)
        self.sharing.refresh(self.projection.position)

    def _plan(self, run: Run, scope: Scope, now: datetime) -> ScopePlan:
        return plan_scope(run, scope, self._rules, now, cluster=self._cluster)


def _suppose_dead(run: Run, deaths: dict[str, datetime], now: datetime) -> Run:
    if run.run_id not in deaths:
        return run
    return msgspec.structs.replace(run, abandoned_at=now, last_heartbeat=deaths[run.run_id])
