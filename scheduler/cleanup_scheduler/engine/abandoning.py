"""Finds runs that died: their heartbeat is older than their lease, by the ledger's clock.

Refuses to call a run dead that has just started, or one that ended between two looks.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from cleanup_scheduler.domain.events import RunAbandoned
from cleanup_scheduler.domain.state import Run
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.engine.journal import Journal
from cleanup_scheduler.engine.report import printable
from cleanup_scheduler.ledger import Heartbeat, Ledger

logger = logging.getLogger("cleanup_scheduler.engine")


class Dead:
    """The runs whose death is known before the state was replayed: :meth:`among` compares in that order.

    A run that ends appends its end first and takes its heartbeat away afterwards. So heartbeats are read
    first, the state second: who is open in the second and silent in the first is dead.
    """

    def __init__(self, heartbeats: list[Heartbeat]) -> None:
        self._heartbeats = {heartbeat.id: heartbeat for heartbeat in heartbeats}

    @classmethod
    async def look(cls, ledger: Ledger) -> Dead:
        return cls(await asyncio.to_thread(ledger.heartbeats, "run"))

    def among(self, runs: list[Run], now: datetime) -> list[tuple[Run, datetime]]:
        """The dead, with their last sign of life."""
        found = []
        for run in runs:
            heartbeat = self._heartbeats.get(run.run_id)
            if heartbeat is not None:
                if heartbeat.age_seconds > heartbeat.lease_seconds:
                    found.append((run, heartbeat.at))
            elif run.started_at is None or now > run.started_at + timedelta(seconds=run.lease_seconds):
                found.append((run, run.started_at or now))
        return found


async def abandon_dead_runs(
    ledger: Ledger, dead: list[tuple[Run, datetime]], clock: Clock, producer: str
) -> None:
    """Append RunAbandoned for each, with its last sign of life."""
    for run, last_heartbeat in dead:
        journal = Journal(ledger, clock, producer, run_id=run.run_id)
        await journal.append(RunAbandoned(last_heartbeat=last_heartbeat))
        logger.warning(
            "run %s (%s) is dead: its last sign of life was at %s",
            run.run_id,
            printable(run.name),
            last_heartbeat,
        )
