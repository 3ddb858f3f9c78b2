"""Work on a long ledger, stretch by stretch, by several processes at once; the results come in order.

This process works, too, so that it has something to do while the others start. A process that dies has done
nothing: its stretch is worked on here. Refuses to know what the work is.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final, Generic, NamedTuple, TypeVar

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.opening import open_ledger

MAX_PROCESSES: Final = 3  # each takes 60 MB
STRETCH: Final = 10_000
AHEAD: Final = 12  # results that may wait for the ones before them: what bounds the memory

_IN_HAND: Final = 2  # so that it need not wait until this process finds the time to hand it the next
_PROGRAM: Final = f"import sys; from {__name__} import serve; serve(int(sys.argv[1]))"

logger = logging.getLogger(__name__)
R = TypeVar("R")


class Stretch(NamedTuple):
    """The events after position ``after`` up to ``last``."""

    after: int
    last: int


def divide(after: int, last: int) -> list[Stretch]:
    """The events after position ``after`` up to ``last``, in stretches."""
    return [Stretch(begin, min(begin + STRETCH, last)) for begin in range(after, last, STRETCH)]


def in_processes(
    ledger: Ledger, work: Callable[[Ledger, Stretch], R], stretches: Sequence[Stretch]
) -> Generator[R, None, None]:
    """``work`` (a function of a module) on every stretch, in order. Close the iterator to end early."""
    team = _Team[R](ledger, work, stretches)
    try:
        yield from team.results()
    finally:
        team.dismiss()


class _Team(Generic[R]):
    """The stretches, who works on them, and what is done; its lock guards all of it."""

    def __init__(
        self, ledger: Ledger, work: Callable[[Ledger, Stretch], R], stretches: Sequence[Stretch]
    ) -> None:
        self._ledger, self._work, self._stretches = ledger, work, stretches
        self._changed = threading.Condition()
        self._next, self._wanted = 0, 0  # to be begun; to be given out
        self._done: dict[int, bytes | R] = {}
        self._lost: list[int] = []
        self._dismissed = False
        others = min(os.cpu_count() or 1, MAX_PROCESSES, len(stretches)) - 1
        self._members: list[_Member] = []
        try:
            for _ in range(others):
                self._members.append(_Member(self, ledger.backend.address.url))
        except OSError as error:
            logger.warning("no other process can be started, the ledger is worked on here: %s", error)

    def results(self) -> Iterator[R]:
        for number in range(len(self._stretches)):
            while not self._is_done(number):
                mine = self._take_here()
                if mine is not None:
                    self.give(mine, self._work(self._ledger, self._stretches[mine]))
            with self._changed:
                result = self._done.pop(number)
                self._wanted = number + 1
                self._changed.notify_all()
            yield pickle.loads(result) if isinstance(result, bytes) else result  # noqa: S301 - our own child's

    def _is_done(self, number: int) -> bool:
        with self._changed:
            return number in self._done

    def _take_here(self) -> int | None:
        """A stretch for this process: one that was lost, or the next; None when it had to wait instead."""
        with self._changed:
            if self._lost:
                return self._lost.pop(0)
            if self._may_begin():
                return self._begin()
            if self._wanted not in self._done:
                self._changed.wait()
            return None

    def take(self, *, wait: bool) -> tuple[int, Stretch] | None:
        """The next stretch, for another process, once its result may wait; None: not now, or no more."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._may_begin() or self._next >= len(self._stretches))
            if not self._may_begin():
                return None
            number = self._begin()
            return number, self._stretches[number]

    def _may_begin(self) -> bool:
        return self._next < min(len(self._stretches), self._wanted + AHEAD)

    def _begin(self) -> int:
        self._next += 1
        return self._next - 1

    def give(self, number: int, result: bytes | R) -> None:
        with self._changed:
            self._done[number] = result
            self._changed.notify_all()

    def lose(self, numbers: Iterable[int], error: Exception) -> None:
        """A process is gone, and so is what it was at."""
        with self._changed:
            if not self._dismissed:
                logger.warning("a process has died, its part of the ledger is worked on here: %r", error)
                self._lost += numbers
                self._changed.notify_all()

    @property
    def work(self) -> Callable[[Ledger, Stretch], R]:
        return self._work

    def dismiss(self) -> None:
        with self._changed:
            self._next, self._dismissed = len(self._stretches), True
            self._changed.notify_all()
        for member in self._members:
            member.end()


class _Member:
    """Another process, and the thread here that hands it stretches.

    A program of its own: it neither shares threads and connections, as a fork would, nor imports what this
    process was started with, as ``multiprocessing`` does.
    """

    def __init__(self, team: _Team[R], url: str) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self._pipe = Connection(ours.detach())
        self._thread = threading.Thread(target=self._hand_over, args=(team, url), daemon=True)
        self._thread.start()

    def _hand_over(self, team: _Team[R], url: str) -> None:
        given: deque[int] = deque()
        try:
            self._pipe.send((url, team.work))
            self._pipe.recv()  # it is ready: what it is given, nobody waits for while it starts
            while True:
                while len(given) < _IN_HAND and (taken := team.take(wait=not given)) is not None:
                    number, stretch = taken
                    given.append(number)
                    self._pipe.send(stretch)
                if not given:
                    return
                result = self._pipe.recv_bytes()
                team.give(given.popleft(), result)
        except (EOFError, OSError) as error:
            team.lose(given, error)

    def end(self) -> None:
        """At once, whatever it is at: it only reads."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        self._pipe.close()


def serve(socket_number: int) -> None:
    """What another process does, until nobody is there any more to ask for more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who was asked to stop ends its processes
    gc.disable()  # events and what they are folded into hold no cycles
    pipe = Connection(socket_number)
    # a ledger that cannot be read is no news: who asked meets the same error
    with suppress(EOFError, OSError, CleanupSchedulerError):
        url, work = pipe.recv()
        with open_ledger(url) as ledger:
            pipe.send(None)
            while True:
                result = work(ledger, pipe.recv())
                pipe.send_bytes(pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL))
