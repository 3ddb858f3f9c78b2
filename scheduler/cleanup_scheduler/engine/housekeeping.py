"""What a worker does beside cleaning: the archive of logs stays within its retention and its size, and what
tests said while the ledger was out of reach gets into it. Refuses to touch the logs of what is still worked
on, preserved or held: somebody may want to read them.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Final

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger import Journal, Ledger
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")
HOUSEKEEPING_SECONDS: Final = 3600.0
JOURNALS_SECONDS: Final = 10.0
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


async def drain_journals(ledger: Ledger, folder: Path) -> int:
    """Append what waits in the journals of this checkout; how many events did. What cannot be stored now
    stays where it is, for the next time."""
    try:
        drained = await asyncio.to_thread(Journal(folder).drain, ledger)
    except (CleanupSchedulerError, OSError) as error:
        logger.warning("the journals in %s were not drained: %s", folder, error)
        return 0
    if drained.stored:
        logger.info("%s events from the journals in %s are in the ledger now", drained.stored, folder)
    if drained.refused:
        logger.warning("the ledger refused %s lines of the journals in %s", drained.refused, folder)
    return drained.stored
