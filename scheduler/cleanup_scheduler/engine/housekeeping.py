"""Keeps the archive of logs within its retention and its size. Refuses to touch the logs of what is still
worked on, preserved or held: somebody may want to read them.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")
HOUSEKEEPING_SECONDS: Final = 3600.0
_LONGEST_RETENTION_DAYS: Final = 36_500.0


async def keep_the_archive_small(ledger: Ledger, settings: Settings) -> int:
    """Remove what the settings no longer keep; how many logs went. A ledger that refuses is tried again the
    next time."""
    if not (settings.archive_retention_days or settings.archive_max_bytes):
        return 0
    days, size = settings.archive_retention_days, settings.archive_max_bytes
    try:
        removed = await asyncio.to_thread(
            ledger.prune_archive,
            older_than=timedelta(days=min(days, _LONGEST_RETENTION_DAYS)) if days else None,
            max_total_bytes=size or None,
            settled_only=True,
        )
    except CleanupSchedulerError as error:
        logger.warning("the archive of logs was not looked through: %s", error)
        return 0
    if removed:
        logger.info(
            "%s logs left the archive: archive_retention_days = %g, archive_max_bytes = %s",
            removed,
            days,
            size,
        )
    return removed
