"""What many coroutines ask at the same time is asked once: one commit, one list, one replay for all of them.

An ask is answered by a call that began after the ask was made, never by an older one. One call at a time:
whoever asks meanwhile is in the next. Refuses to wait for more to come: alone, an ask costs what it always
did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class Batches(Generic[Ask, Answer]):
    """``answer`` takes asks and returns as many answers, in their order.

    When it raises one of ``each_alone``, every ask of that batch is asked again on its own, so that one that
    is refused spoils no other; what else it raises is raised to all of them.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer]]],
        *,
        max_weight: int = 500,
        weight: Callable[[Ask], int] = lambda _: 1,
        each_alone: tuple[type[Exception], ...] = (),
    ) -> None:
        self._answer, self._each_alone = answer, each_alone
        self._max_weight, self._weight = max_weight, weight
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, ask: Ask) -> Answer:
        """The answer to this one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((ask, future))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        await asyncio.sleep(0)  # whoever is ready to ask in this turn of the loop joins
        while self._waiting:
            await self._answer_some(self._next())

    def _next(self) -> list[tuple[Ask, asyncio.Future[Answer]]]:
        """The oldest, as many as fit; one at least."""
        weight = 0
        for count, (ask, _) in enumerate(self._waiting):
            weight += self._weight(ask)
            if count and weight > self._max_weight:
                break
        else:
            count = len(self._waiting)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _answer_some(self, batch: list[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer([ask for ask, _ in batch])
        except self._each_alone as error:
            if len(batch) == 1:
                _fail(batch, error)
            for one in batch if len(batch) > 1 else ():
                await self._answer_some([one])
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits for this batch
            _fail(batch, error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # done: its coroutine was cancelled while the batch was on its way
                    future.set_result(answer)


def _fail(batch: Sequence[tuple[object, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
