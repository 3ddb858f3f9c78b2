"""``/healthz`` and ``/readyz`` over HTTP, for a kubelet or a load balancer: one line of JSON each.

Answers from what the worker knows already (:class:`Vitals`); that it answers at all shows that the event
loop turns. Refuses everything but these two questions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from cleanup_scheduler.engine.vitals import Vitals
from cleanup_scheduler.errors import UsageError

logger = logging.getLogger("cleanup_scheduler.engine")


@asynccontextmanager
async def served(vitals: Vitals, host: str, port: int) -> AsyncGenerator[None]:
    """Answer on ``host`` and ``port`` (0: any free one, named in the log) until the block ends."""
    app = web.Application()
    app.router.add_get("/healthz", lambda _: _answer("live", [why] if (why := vitals.stuck()) else []))
    app.router.add_get("/readyz", lambda _: _answer("ready", vitals.unready()))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        logger.info("health is answered on %s", ", ".join(f"{a[0]}:{a[1]}" for a in runner.addresses))
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        raise UsageError(
            f"health cannot be answered on {host} port {port}: {why}",
            hint="choose another --health-port or --health-host",
        ) from error


async def _answer(what: str, reasons: list[str]) -> web.Response:
    body: dict[str, Any] = {what: not reasons}
    if reasons:
        body["why"] = reasons
    return web.json_response(body, status=503 if reasons else 200)
