"""A run, a scope and the whole ledger as reports whose sums are checked before anybody sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from cleanup_scheduler.domain.occupied import Occupied, total
from cleanup_scheduler.domain.policy import PolicyRules, effective_outcome
from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.reports.model import (
    Counts,
    DeadLetter,
    ResourceReport,
    RunCondition,
    RunReport,
    ScopeReport,
    Summary,
)
from cleanup_scheduler.reports.standing import ScopeView


def report_run(
    run: Run,
    scopes: Iterable[Scope],
    rules: PolicyRules,
    now: datetime,
    *,
    alive: Collection[str] | None = None,
    namespace: str | None = None,
) -> RunReport:
    """The run with all its scopes. ``alive`` are the runs with a fresh heartbeat (None: nobody asked);
    ``namespace`` leaves out what lives elsewhere."""
    scopes = list(scopes)
    parts = [report_scope(run, scope, rules, now, namespace=namespace) for scope in scopes]
    tracked, orphans, found = _totals(scopes, namespace)
    for scope in parts:
        _count(scope, tracked, orphans, found)
    for counts, name in ((tracked, "tracked"), (orphans, "orphans"), (found, "found")):
        counts.check(f"run {run.run_id} ({name})")
    return RunReport(
        run_id=run.run_id,
        name=run.name,
        mode=run.mode,
        condition=_condition(run, alive),
        cluster=run.cluster,
        namespace=run.namespace,
        host=run.host,
        pid=run.pid,
        started_at=run.started_at,
        finished_at=run.finished_at,
        abandoned_at=run.abandoned_at,
        last_heartbeat=run.last_heartbeat,
        exit_code=run.exit_code if run.finished_at else None,
        held_by=run.held_by,
        held_why=run.held_why,
        tests=len({scope.test_id for scope in parts}),
        tracked=tracked,
        orphans=orphans,
        found=found,
        scopes=parts,
    )


def report_scope(
    run: Run, scope: Scope, rules: PolicyRules, now: datetime, *, namespace: str | None = None
) -> ScopeReport:
    """One attempt of one test, with what it tracked and what was found beside and through that."""
    return ScopeReport(
        scope_id=scope.scope_id,
        run_id=scope.run_id,
        test_id=scope.test_id,
        level=scope.level,
        level_source=scope.level_source,
        forced=scope.forced,
        attempt=scope.attempt,
        outcome=effective_outcome(run, scope),
        opened_at=scope.opened_at,
        ended_at=scope.ended_at,
        held_by=scope.held_by,
        held_why=scope.held_why,
        resources=_tree(ScopeView(run, scope, rules, now), namespace),
    )


def _tree(view: ScopeView, namespace: str | None) -> list[ResourceReport]:
    """What was tracked or swept, and under each what was found through it: each resource exactly once."""
    reports = {
        id(resource): (resource, view.report(resource))
        for resource in view.scope.resources.values()
        if namespace in (None, resource.ref.namespace)
    }
    roots: list[ResourceReport] = []
    for resource, report in reports.values():
        _, above = reports.get(id(view.owner(resource)), (None, None))
        (roots if above is None else above.found).append(report)
    return roots


def summarise(runs: Iterable[RunReport], *, at: datetime, ledger: str) -> Summary:
    """All of them together, dead letters first."""
    summary = Summary(
        at=at,
        ledger=ledger,
        dead_letters=[],
        tracked=Counts(),
        orphans=Counts(),
        found=Counts(),
        occupied=Occupied(),
        runs=[],
    )
    for run in runs:
        summary.runs.append(run)
        summary.dead_letters.extend(_dead_letters(run))
        summary.tracked.add(run.tracked)
        summary.orphans.add(run.orphans)
        summary.found.add(run.found)
    for counts, name in (
        (summary.tracked, "tracked"),
        (summary.orphans, "orphans"),
        (summary.found, "found"),
    ):
        counts.check(f"the ledger ({name})")
    summary.occupied = total(_occupied(summary.runs))
    return summary


def _occupied(runs: Iterable[RunReport]) -> Iterator[Occupied]:
    """Each object once: two tests may have tracked it."""
    seen: set[str] = set()
    for run in runs:
        for scope in run.scopes:
            for resource in walk(scope.resources):
                if resource.occupied is not None and resource.uid not in seen:
                    seen.add(resource.uid)
                    yield resource.occupied


def walk(resources: Iterable[ResourceReport]) -> Iterator[ResourceReport]:
    """Every resource, each followed by what was found through it."""
    for resource in resources:
        yield resource
        yield from walk(resource.found)


def _dead_letters(run: RunReport) -> Iterator[DeadLetter]:
    for scope in run.scopes:
        for resource in walk(scope.resources):
            if resource.standing == "given-up":
                yield DeadLetter(run_id=run.run_id, test_id=scope.test_id, resource=resource)


def _totals(scopes: Iterable[Scope], namespace: str | None) -> tuple[Counts, Counts, Counts]:
    """Tracked, orphans, found: the totals, counted from the state and not from what the report made of it."""
    tracked, orphans, found = Counts(), Counts(), Counts()
    for scope in scopes:
        for resource in scope.resources.values():
            if namespace in (None, resource.ref.namespace):
                (tracked if resource.tracked else orphans if resource.orphan else found).total += 1
    return tracked, orphans, found


def _count(scope: ScopeReport, tracked: Counts, orphans: Counts, found: Counts) -> None:
    for resource in walk(scope.resources):
        (tracked if resource.tracked else orphans if resource.orphan else found).count(resource.standing)


def _condition(run: Run, alive: Collection[str] | None) -> RunCondition:
    if run.finished_at is not None:
        return "finished"
    if run.abandoned_at is not None:
        return "died"
    return "running" if alive is None or run.run_id in alive else "silent"
