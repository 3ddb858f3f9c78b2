"""What pytest's summary says: what is preserved and how to get at it, and what went wrong. Short, or nothing.

Whatever a test's name or an object's name contains is untrusted text: nothing in it reaches the terminal as a
control character.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pytest_cleanup_scheduler.problems import Problem, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from cleanup_scheduler.domain.policy import PolicyRules
    from cleanup_scheduler.domain.state import Resource
    from cleanup_scheduler.ledger import Ledger

    from pytest_cleanup_scheduler.manager import ResourceManager

MOST_SHOWN: Final = 10


class Leftover(NamedTuple):
    """One resource that is still there: plain values, so that it can travel between processes."""

    what: str  # preserved, unfinished, given-up
    resource: str
    namespace: str
    test_id: str
    reason: str

    @property
    def arguments(self) -> str:
        """How every command of ours names it."""
        return f"{self.resource} -n {self.namespace}" if self.namespace else self.resource


def leftovers_of(manager: ResourceManager, ledger: Ledger, rules: PolicyRules) -> Iterator[Leftover]:
    """What is left of one scope that a person may want to know of; not what a level keeps as asked."""
    scope = manager.view.refresh(ledger)
    unfinished = {id(resource) for resource in manager.view.unfinished(rules)}
    for resource in scope.own():
        what, reason = "", resource.reason
        decision = manager.view.decision(resource, rules)
        if decision.action == "preserve" and decision.until is not None:
            what, reason = "preserved", _until_and_what_it_holds(resource, decision.until)
        elif resource.status == "given-up":
            what = "given-up"
        elif id(resource) in unfinished and manager.cleanup_level != "none":
            what = "unfinished"
        if what:
            yield Leftover(what, resource.ref.short, resource.ref.namespace, manager.test_id, reason)


def _until_and_what_it_holds(resource: Resource, until: datetime) -> str:
    words = [f"until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"]
    words += [f"holds {resource.occupied}"] if resource.occupied and str(resource.occupied) else []
    words += [f"may go before that: {resource.unsafe}"] if resource.unsafe else []
    return "; ".join(words)


def leftover_lines(leftovers: Iterable[Leftover]) -> Iterator[str]:
    """The lines about what is still there, what needs a person first."""
    found = list(leftovers)
    for what, title, after in (
        ("given-up", "could not be cleaned up", ["again:  cleanup-cli release {0}"]),
        (
            "preserved",
            "preserved because the test failed",
            ["logs:   cleanup-cli logs {0}", "free:   cleanup-cli release {0}"],
        ),
        ("unfinished", "not freed yet; `cleanup-scheduler run --once` goes on with it", []),
    ):
        of_sort = [leftover for leftover in found if leftover.what == what]
        if of_sort:
            yield f"{len(of_sort)} {title}"
        for leftover in of_sort[:MOST_SHOWN]:
            reason = f"  {leftover.reason}" if leftover.reason else ""
            yield one_line_indented(2, f"{leftover.arguments}{reason}  ({leftover.test_id})")
            for command in after:
                yield one_line_indented(6, command.format(leftover.arguments))
        if len(of_sort) > MOST_SHOWN:
            yield f"  ... and {len(of_sort) - MOST_SHOWN} more: cleanup-cli report"


def problem_lines(problems: Iterable[Problem]) -> Iterator[str]:
    """One line for each problem; a traceback below what is a defect of ours."""
    for problem in problems:
        yield f"{'error' if problem.bad_input else 'warning'}: {problem.line}"
        yield from (f"    {line}" for line in problem.detail.splitlines())


def one_line_indented(spaces: int, text: str) -> str:
    """``text`` as one harmless line."""
    return " " * spaces + one_line_keeping_gaps(text)


def one_line_keeping_gaps(text: str) -> str:
    """Like :func:`one_line`, with the gaps that make columns."""
    return "  ".join(one_line(part) for part in text.split("  ") if part)


def as_data(leftovers: Iterable[Leftover]) -> list[list[Any]]:
    """Plain lists, for another process."""
    return [list(leftover) for leftover in leftovers]


def from_data(data: Iterable[Iterable[Any]]) -> list[Leftover]:
    """What :func:`as_data` gave."""
    return [Leftover(*map(str, each)) for each in data]
