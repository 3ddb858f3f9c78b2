"""What one pass did, left and why: typed, so that a test, a message and an exit code can be made of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from cleanup_scheduler.domain.resources import ResourceRef

What = Literal[
    "gone", "deleting", "kept", "preserved", "failed", "given-up", "waiting", "orphan", "would-delete"
]
EXIT_DONE: Final = 0
EXIT_FOUND_WRONG: Final = 1
EXIT_BRAKE: Final = 3
EXIT_OUT_OF_REACH: Final = 4


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One resource and what became of it in this pass."""

    what: What
    ref: ResourceRef
    uid: str = ""
    run_id: str = ""
    scope_id: str = ""
    test_id: str = ""
    rule: str = ""
    reason: str = ""
    until: datetime | None = None


def describe(item: Item) -> str:
    """One line: what became of what, of which uid, for which test and run, by which rule and why."""
    words = [f"{item.what} {item.ref}"]
    words += [f"uid {item.uid}"] if item.uid else []
    words += [f"of {printable(item.test_id)}"] if item.test_id else []
    words += [f"in run {item.run_id}"] if item.run_id else []
    why = f"{item.rule}: {item.reason}" if item.rule and item.reason else item.rule or item.reason
    words += [f"({printable(why)})"] if why else []
    words += [f"until {item.until:%Y-%m-%d %H:%M:%S} UTC"] if item.until else []
    return " ".join(words)


def printable(text: str) -> str:
    """Names, labels and messages come from anywhere: no control characters reach a terminal or a log."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class PassReport(msgspec.Struct, kw_only=True):
    """Filled while the pass goes on. Empty texts and lists mean that nothing of the kind happened."""

    started_at: datetime
    finished_at: datetime | None = None
    items: list[Item] = []
    applied_scopes: list[str] = []
    abandoned_runs: list[str] = []
    claimed_elsewhere: list[str] = []
    unexpected: list[str] = []
    left_out: list[str] = []
    out_of_reach: str = ""
    brake: str = ""

    def of(self, *what: What) -> list[Item]:
        """The items of these sorts, in the order in which they happened."""
        return [item for item in self.items if item.what in what]

    @property
    def exit_code(self) -> int:
        """0 done, 1 something failed, was given up or could not be swept, 3 a brake, 4 the cluster or ledger
        is out of reach."""
        if self.out_of_reach:
            return EXIT_OUT_OF_REACH
        if self.brake:
            return EXIT_BRAKE
        is_wrong = self.of("failed", "given-up") or self.unexpected or self.left_out
        return EXIT_FOUND_WRONG if is_wrong else EXIT_DONE

    def joined(self, later: PassReport) -> PassReport:
        """This pass and a later one as one."""
        return PassReport(
            started_at=self.started_at,
            finished_at=later.finished_at,
            items=self.items + later.items,
            applied_scopes=self.applied_scopes + later.applied_scopes,
            abandoned_runs=self.abandoned_runs + later.abandoned_runs,
            claimed_elsewhere=self.claimed_elsewhere + later.claimed_elsewhere,
            unexpected=self.unexpected + later.unexpected,
            left_out=self.left_out + later.left_out,
            out_of_reach=later.out_of_reach or self.out_of_reach,
            brake=later.brake or self.brake,
        )

    def summary(self) -> str:
        """One line: the counts that are not zero, and what stopped the pass."""
        sorts = dict.fromkeys(item.what for item in self.items)
        parts = [f"{len(self.of(sort))} {sort}" for sort in sorts]
        if self.abandoned_runs:
            parts.append(f"{len(self.abandoned_runs)} runs found dead")
        parts += [text for text in (*self.unexpected, *self.left_out, self.brake, self.out_of_reach) if text]
        return ", ".join(parts) or "nothing to do"
