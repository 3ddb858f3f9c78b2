"""The worker keeps the archive of logs within its retention and its size."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from cleanup_scheduler.engine.housekeeping import keep_the_archive_small
from cleanup_scheduler.errors import UnknownName
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

from tests.databases import DATABASES
from tests.engine.conftest import MakeWorld
from tests.engine.processes import daemon
from tests.engine.world import until
from tests.ledger.samples import whole_test


@pytest.mark.parametrize("database", DATABASES, indirect=True)
@pytest.mark.parametrize(
    ("settings", "age_days", "left"),
    [
        (Settings(), 89, 3),
        (Settings(), 91, 0),
        (Settings(archive_retention_days=0), 91, 3),
        (Settings(archive_retention_days=1e30), 91, 3),
        (Settings(archive_max_bytes=2 * len(zlib.compress(bytes(20)))), 1, 2),
        (Settings(archive_max_bytes=0, archive_retention_days=0), 1, 3),
    ],
)
async def test_the_archive_keeps_what_the_settings_say(
    ledger: Ledger, settings: Settings, age_days: int, left: int
) -> None:
    ledger.append(*whole_test("s1"))
    ledger.projection().catch_up()
    logs = [ledger.archive(bytes([n]) * 20, run_id="run-1", scope_id="s1") for n in range(3)]
    older = sa.text("UPDATE archive SET stored_seconds = stored_seconds - :seconds")
    ledger.backend.write(lambda connection: connection.execute(older, {"seconds": age_days * 86400.0}))
    assert await keep_the_archive_small(ledger, settings) == 3 - left
    for log in logs[3 - left :]:
        ledger.archived(log)
    for log in logs[: 3 - left]:
        with pytest.raises(UnknownName, match="pruned"):
            ledger.archived(log)


async def test_a_daemon_prunes_the_archive(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        w.ledger.append(*whole_test("s1"))
        log = w.ledger.archive(b"long ago", run_id="run-1", scope_id="s1")
        with daemon(w, tmp_path, archive_max_bytes="1") as process:

            async def pruned() -> bool:
                return "1 logs left the archive" in process.log

            await until(pruned)
        with pytest.raises(UnknownName, match="larger than 1 bytes"):
            w.ledger.archived(log)
