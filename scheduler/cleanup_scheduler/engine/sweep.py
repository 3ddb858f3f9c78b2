"""Finds what crashed runs left in the cluster and nobody tracked, and says so in the ledger.

It deletes nothing: what it finds goes the normal way, policy, guard and claim included. Paged, metadata only,
constant memory. Refuses to conclude anything from an empty ledger, a label of another ledger, or a run that
this ledger does not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from cleanup_scheduler.domain.events import RunFinished, RunStarted
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import LEDGER_LABEL
from cleanup_scheduler.engine.aging import AgeRule, aged, spoken_for
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.engine.journal import Journal
from cleanup_scheduler.engine.leases import Leases
from cleanup_scheduler.engine.lookup import Lookup
from cleanup_scheduler.engine.orphans import (
    SWEPT_KINDS,
    Lifetimes,
    Orphan,
    is_root,
    labels_of,
    window_orphan,
)
from cleanup_scheduler.engine.report import Item, PassReport, describe
from cleanup_scheduler.errors import (
    ClaimLost,
    ClusterError,
    ClusterUnavailable,
    CredentialsRefused,
    LedgerError,
)
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")
_MEMORY: Final = timedelta(days=30)  # runs older than this leave nothing that is still worth looking for
_AT_ONCE: Final = 500  # as the API server's pages
_RUN_OVER: Final = "nobody tracked it, and the run that left it is over"
_WHY: Final = {
    "label": _RUN_OVER,
    "window": _RUN_OVER,
    "age": "nobody tracked it, and it ended longer ago than age_hours",
}


class Sweep:
    """The sweep of one cluster for one ledger."""

    def __init__(
        self, ledger: Ledger, api: Api, settings: Settings, clock: Clock, leases: Leases, producer: str
    ) -> None:
        self._ledger, self._api, self._settings = ledger, api, settings
        self._clock, self._leases, self._producer = clock, leases, producer
        self._seen = 0
        self._left_out: list[str] = []

    async def run(self, report: PassReport, *, force: bool = False, dry_run: bool = False) -> None:
        """Look once; what is found is in the report and, unless it is a dry run, in the ledger."""
        held = None
        try:
            if (await asyncio.to_thread(self._ledger.head)).position == 0:
                return  # an empty ledger knows nobody: nothing can be an orphan of nobody
            held = None if dry_run else await self._leases.claim(f"sweep:{self._api.cluster.name}")
            if held is None and not dry_run:
                return  # another worker sweeps this cluster now
            orphans = await self._find()
            report.left_out += self._left_out
            self._note(report, orphans)
            if self._brake(report, orphans, force=force) or dry_run:
                return
            await self._append(orphans)
        except (OutOfReach, LedgerError) as error:
            if not isinstance(error, ClaimLost):
                report.out_of_reach = str(error)
        finally:
            if held is not None:
                await self._leases.release(held)

    async def _find(self) -> list[Orphan]:
        self._seen, self._left_out = 0, []
        lookup = await asyncio.to_thread(self._lookup)
        namespaces = sorted({run.namespace for run in lookup.runs if run.namespace} | {self._home})
        found: dict[str, Orphan] = {}
        for namespace in namespaces:
            if not self._allowed(namespace):
                continue
            async for orphan in self._labelled(lookup, namespace):
                found[orphan.seen.uid] = orphan
            async for orphan in self._windowed(lookup, namespace):
                found.setdefault(orphan.seen.uid, orphan)
            async for orphan in self._aged(lookup, namespace):
                found.setdefault(orphan.seen.uid, orphan)
        return list(found.values())

    @property
    def _home(self) -> str:
        return self._api.cluster.namespace

    def _allowed(self, namespace: str) -> bool:
        rules = self._settings
        return namespace not in rules.protected_namespaces and (
            not rules.allowed_namespaces or namespace in rules.allowed_namespaces
        )

    def _lookup(self) -> Lookup:
        projection = self._ledger.projection()  # one to ask, and to throw away with what was asked
        projection.catch_up()
        since = self._clock.now() - _MEMORY
        runs = {run.run_id: run for run in (*projection.open_runs(), *projection.all_runs(since=since))}
        cluster = self._api.cluster.name
        return Lookup(projection, [run for run in runs.values() if run.cluster == cluster])

    async def _labelled(self, lookup: Lookup, namespace: str) -> AsyncIterator[Orphan]:
        ours = self._ledger.ledger_id

        def is_ours(seen: ObservedObject) -> bool:
            return labels_of(seen).ledger_id == ours

        async for some in self._untracked(lookup, namespace, f"{LEDGER_LABEL}={ours}", is_ours):
            for orphan in await asyncio.to_thread(lookup.by_label, some):
                yield orphan

    async def _windowed(self, lookup: Lookup, namespace: str) -> AsyncIterator[Orphan]:
        if not self._settings.selector or not any(run.abandoned_at for run in lookup.runs):
            return
        lifetimes = Lifetimes(lookup.runs, namespace)

        def is_of_a_dead_run(seen: ObservedObject) -> bool:
            """Not what says itself whose it is."""
            return lifetimes.dead_one_at(seen.created_at) is not None and not labels_of(seen).ledger_id

        async for some in self._untracked(lookup, namespace, self._settings.selector, is_of_a_dead_run):
            for seen in some:
                if run := lifetimes.dead_one_at(seen.created_at):
                    yield window_orphan(seen, run, await asyncio.to_thread(lookup.scopes_of, run))

    async def _aged(self, lookup: Lookup, namespace: str) -> AsyncIterator[Orphan]:
        rule = AgeRule(self._api, self._settings, self._clock.now())
        if not rule.selector:
            return
        lifetimes = Lifetimes(lookup.runs, namespace)
        run_id = new_id()  # of the run that they are put into: whose they were nobody knows

        def may_be(seen: ObservedObject) -> bool:
            return rule.may_match(seen) and not spoken_for(lifetimes.at(seen.created_at))

        async for some in self._untracked(lookup, namespace, rule.selector, may_be):
            for seen in some:
                if await rule.ended_long_ago(seen):
                    alive = lifetimes.at(seen.created_at)
                    orphan = aged(seen, run_id, await asyncio.to_thread(lookup.with_scopes, alive))
                    if orphan is not None:
                        yield orphan

    async def _untracked(
        self, lookup: Lookup, namespace: str, selector: str, may_be: Callable[[ObservedObject], bool]
    ) -> AsyncIterator[list[ObservedObject]]:
        """What may be an orphan and nobody tracked; the ledger is asked about many at once."""
        some: list[ObservedObject] = []
        async for seen in self._roots(namespace, selector):
            if may_be(seen):
                some.append(seen)
            if len(some) == _AT_ONCE:
                yield await asyncio.to_thread(lookup.untracked, some)
                some = []
        if some:
            yield await asyncio.to_thread(lookup.untracked, some)

    async def _roots(self, namespace: str, selector: str) -> AsyncIterator[ObservedObject]:
        for kind in SWEPT_KINDS:
            try:
                async for seen in self._api.cluster.list(kind, namespace, label_selector=selector):
                    self._seen += 1
                    if is_root(seen) and seen.deletion_timestamp is None:
                        yield seen
            except (ClusterUnavailable, CredentialsRefused) as error:
                raise OutOfReach(f"the sweep stopped: {error.message}", hint=error.hint) from error
            except ClusterError as error:
                self._leave_out(f"the sweep left out {kind} in namespace {namespace}: {error}")

    def _leave_out(self, problem: str) -> None:
        """Once in a sweep, however many rules wanted to look there."""
        if problem not in self._left_out:
            self._left_out.append(problem)
            logger.warning("%s", problem)

    def _note(self, report: PassReport, orphans: list[Orphan]) -> None:
        for orphan in orphans:
            event = orphan.event
            item = Item(
                what="orphan",
                ref=event.resource,
                uid=event.uid,
                run_id=orphan.run_id,
                scope_id=orphan.scope_id,
                test_id=event.likely_test,
                rule=f"orphan-{event.rule}",
                reason=_WHY[event.rule],
            )
            report.items.append(item)
            logger.info("%s", describe(item), extra={"item": item})

    def _brake(self, report: PassReport, orphans: list[Orphan], *, force: bool) -> bool:
        """Whether it is too much to be meant."""
        count, share = self._settings.brake_max_deletions, self._settings.brake_max_share_percent
        too_many = len(orphans) > count
        too_much = 100.0 * len(orphans) > share * self._seen
        if force or not (too_many or too_much):
            return False
        limit = f"brake_max_deletions = {count}" if too_many else f"brake_max_share_percent = {share:g}"
        report.brake = (
            f"{len(orphans)} orphans among {self._seen} objects, more than {limit} allows; "
            "none was touched (look with `cleanup-scheduler run --once --dry-run`, then add --force)"
        )
        logger.warning("%s", report.brake)
        return True

    async def _append(self, orphans: list[Orphan]) -> None:
        for run_id, namespace in {
            (orphan.run_id, orphan.seen.ref.namespace) for orphan in orphans if orphan.event.rule == "age"
        }:
            name, cluster = "found by the age rule", self._api.cluster.name
            started = RunStarted(name=name, mode="sweep", cluster=cluster, namespace=namespace)
            journal = Journal(self._ledger, self._clock, self._producer, run_id=run_id)
            await journal.append(started, RunFinished())
        for orphan in orphans:
            journal = Journal(
                self._ledger, self._clock, self._producer, run_id=orphan.run_id, scope_id=orphan.scope_id
            )
            await journal.append(orphan.event)
