"""Replay, decide, act: one pass, the sweep, the daemon. Knows the ledger and the cluster, neither's client.

Importing it costs little; the clients come with what is opened and connected. Refuses to delete what the
policy and the guard did not both allow, and anything whose uid was not committed to the ledger first.
"""

from __future__ import annotations

from cleanup_scheduler.engine.clock import Clock, LedgerClock
from cleanup_scheduler.engine.report import Item, PassReport, describe
from cleanup_scheduler.engine.worker import Worker

__all__ = ["Clock", "Item", "LedgerClock", "PassReport", "Worker", "describe"]
