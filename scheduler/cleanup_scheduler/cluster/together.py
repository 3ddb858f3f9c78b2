"""Several requests at once, ended together: the first failure stops the others and is the one that is raised.

``asyncio.gather`` would leave the others running behind the caller's back, ``asyncio.TaskGroup`` would wrap
the error in a group that no caller expects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Got = TypeVar("Got")


async def together(calls: Iterable[Coroutine[Any, Any, Got]]) -> list[Got]:
    """Their results, in order."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
