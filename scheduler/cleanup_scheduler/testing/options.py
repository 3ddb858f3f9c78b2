"""What can be set on an embedded cluster; the defaults suit tests, not likeness to a slow real cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cleanup_scheduler.testing.jobs import DEFAULT_BACKOFF_SECONDS
from cleanup_scheduler.testing.lists import DEFAULT_SNAPSHOT_SECONDS
from cleanup_scheduler.testing.store import DEFAULT_HISTORY_EVENTS


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """``parallel_starts``: processes that start at one time; ``max_running_pods``: more wait as Pending;
    ``continue_seconds``: how long a continue token is good; ``history_events``: how many events of a kind a
    watch can go back; ``job_backoff_seconds``: how long the Job controller waits after the first failed pod.
    """

    parallel_starts: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    max_running_pods: int = 250
    continue_seconds: float = DEFAULT_SNAPSHOT_SECONDS
    history_events: int = DEFAULT_HISTORY_EVENTS
    job_backoff_seconds: float = DEFAULT_BACKOFF_SECONDS
