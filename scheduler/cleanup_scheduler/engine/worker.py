"""The worker: replay, decide, claim, act, append; one pass at a time or on and on.

Everything it needs to know is in the ledger and the cluster: it may die at any moment and another goes on.
Refuses to act without a claim, on a plan made before the claim, and beyond the brake.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Final

import msgspec

from cleanup_scheduler.cluster import Cluster
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.engine.clock import Clock, LedgerClock
from cleanup_scheduler.engine.confirming import Confirmer
from cleanup_scheduler.engine.dry import DryRun
from cleanup_scheduler.engine.journal import Commits, Journal
from cleanup_scheduler.engine.leases import Held, Leases
from cleanup_scheduler.engine.logs import Archive, LogKeeper
from cleanup_scheduler.engine.planning import ScopePlan
from cleanup_scheduler.engine.replaying import Replay
from cleanup_scheduler.engine.report import PassReport
from cleanup_scheduler.engine.scopes import ScopeRunner
from cleanup_scheduler.engine.sweep import Sweep
from cleanup_scheduler.engine.work import Work
from cleanup_scheduler.errors import ClaimLost, LedgerUnavailable
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")
_SCOPES_AT_ONCE: Final = 500
_SCOPES_NAMED: Final = 3
_LEAST_FOR_A_SHARE: Final = 10
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 5.0


def new_worker_id() -> str:
    """Names this process among workers: its host and a part of its own."""
    return f"{socket.gethostname()[:60]}-{new_id()[-12:]}"


class _Quiet(msgspec.Struct):
    """A scope whose last work changed nothing is looked at again after a growing pause."""

    signature: int
    pause_seconds: float
    until: float


class Worker:
    """Serves one cluster from one ledger. Several may, at the same time; claims divide the scopes."""

    def __init__(
        self,
        ledger: Ledger,
        cluster: Cluster,
        settings: Settings,
        *,
        worker_id: str = "",
        clock: Clock | None = None,
        several_processes: bool = False,
    ) -> None:
        """``several_processes``: a long replay may start some, see :meth:`Ledger.projection`."""
        self.ledger, self.settings = ledger, settings
        self.worker_id = worker_id or new_worker_id()
        self.clock = clock or LedgerClock(ledger)
        self.producer = f"worker:{self.worker_id}"
        self.api = Api(cluster, concurrency=settings.concurrency)
        self.rules = settings.policy_rules()
        self.replay = Replay(
            ledger.projection(several_processes=several_processes),
            ledger,
            self.rules,
            self.clock,
            cluster=cluster.name,
            producer=self.producer,
        )
        self._confirmer = Confirmer(self.api)
        self._commits = Commits(ledger)
        self._archive = Archive(ledger)
        self._leases = Leases(
            ledger, self.clock, holder=self.worker_id, lease_seconds=settings.claim_lease_seconds
        )
        self._sweep = Sweep(ledger, self.api, settings, self.clock, self._leases, self.producer)
        self._scope_slots = asyncio.Semaphore(_SCOPES_AT_ONCE)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._quiet: dict[str, _Quiet] = {}

    # ---- passes ------------------------------------------------------------------------------------------

    async def run_once(
        self, scope_ids: Iterable[str] | None = None, *, force: bool = False, dry_run: bool = False
    ) -> PassReport:
        """One pass over everything, or over these scopes only; returns when all of it was acted upon.

        Over everything, it also looks for runs that died. What could not be done is in the report; nothing
        is raised for a resource, a claim or an outage.
        """
        report = PassReport(started_at=self.clock.now())
        await self.start_pass(report, scope_ids, force=force, dry_run=dry_run, patient=False)
        await self.drain()
        report.finished_at = self.clock.now()
        return report

    async def start_pass(
        self,
        report: PassReport,
        scope_ids: Iterable[str] | None = None,
        *,
        force: bool = False,
        dry_run: bool = False,
        patient: bool = True,
    ) -> None:
        """Replay, decide and start to work on what is due; :meth:`drain` waits for it.

        ``patient``: scopes in which nothing moved the last time are left in peace for a moment.
        """
        only = None if scope_ids is None else set(scope_ids)
        self.api.retry()
        try:
            await self.clock.refresh()
            plans, report.abandoned_runs = await self.replay.plan_all(only, dry_run=dry_run)
            plans = [plan for plan in plans if plan.scope.scope_id not in self._working]
            plans = [plan for plan in plans if not (patient and self._is_quiet(plan))]
            braked = self._under_the_brake(plans, report, force=force, whole=only is None)
            if dry_run:
                await self._look_only(plans, report)
                return
        except (LedgerUnavailable, OutOfReach) as error:
            report.out_of_reach = str(error)
            return
        for plan in braked:
            self._start(plan, report)

    async def sweep(
        self, *, force: bool = False, dry_run: bool = False, report: PassReport | None = None
    ) -> PassReport:
        """Find what crashed runs left and nobody tracked; the next pass does with it what the policy says."""
        report = report or PassReport(started_at=self.clock.now())
        self.api.retry()
        await self._sweep.run(report, force=force, dry_run=dry_run)
        report.finished_at = self.clock.now()
        return report

    async def drain(self, *, timeout_seconds: float | None = None) -> bool:
        """Wait for what was started; after the time-out it is stopped and its claims given back.

        With a time-out nobody waits for the cluster to let go of anything: that can be confirmed later. True
        when all of it came to its own end.
        """
        tasks = list(self._working.values())
        if not tasks:
            return True
        if timeout_seconds is not None:
            self._confirmer.hurry()
        _, left = await asyncio.wait(tasks, timeout=timeout_seconds)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        return not left

    def _under_the_brake(
        self, plans: list[ScopePlan], report: PassReport, *, force: bool, whole: bool
    ) -> list[ScopePlan]:
        """Everything, or, when it is too much to be meant, only what deletes nothing."""
        deletions = sum(plan.deletions for plan in plans)
        limit = "" if force else self._limit_exceeded(deletions, whole=whole)
        if not limit:
            return plans
        report.brake = (
            f"{deletions} resources are due, more than {limit} allows in one pass; nothing was deleted "
            "(look with `cleanup-scheduler run --once --dry-run`, then add --force)"
        )
        logger.warning("%s", report.brake)
        return [plan for plan in plans if plan.deletions == 0]

    def _limit_exceeded(self, deletions: int, *, whole: bool) -> str:
        """The share is that of all that open scopes still have; it says nothing of few, or of one test."""
        count, share = self.settings.brake_max_deletions, self.settings.brake_max_share_percent
        if deletions > count:
            return f"brake_max_deletions = {count}"
        if not whole or deletions < _LEAST_FOR_A_SHARE or share >= 100:
            return ""
        open_scopes = self.replay.projection.open_scopes()
        seen = sum(resource.status != "gone" for _, scope in open_scopes for resource in scope.own())
        return f"brake_max_share_percent = {share:g} of {seen}" if 100.0 * deletions > share * seen else ""

    async def _look_only(self, plans: list[ScopePlan], report: PassReport) -> None:
        dry = DryRun(self.api, self.rules, self.ledger.ledger_id, self.replay.sharing.veto, report)
        for plan in plans:
            await dry.look(plan)

    def describe(self) -> str:
        """What it is doing, in one line."""
        scopes, working = self.replay.projection.scopes, list(self._working)
        tests = [scopes[scope_id].test_id for scope_id in working[:_SCOPES_NAMED] if scope_id in scopes]
        more = ["…"] if len(working) > _SCOPES_NAMED else []
        named = f" ({', '.join(tests + more)})" if tests else ""
        return (
            f"worker {self.worker_id}: works on {len(working)} of {len(scopes)} open scopes{named}, "
            f"is at position {self.replay.projection.position}"
        )

    # ---- one scope ---------------------------------------------------------------------------------------

    def _start(self, plan: ScopePlan, report: PassReport) -> None:
        scope_id = plan.scope.scope_id
        task = asyncio.create_task(self._work_on(plan, report))
        self._working[scope_id] = task
        task.add_done_callback(lambda _: self._working.pop(scope_id, None))

    async def _work_on(self, plan: ScopePlan, report: PassReport) -> None:
        """Claim and work through one scope; whatever ends that early is said in the report."""
        scope_id = plan.scope.scope_id
        try:
            async with self._scope_slots:
                await self._claim_and_run(plan, report)
        except ClaimLost as error:
            logger.warning("stopped working on scope %s: %s", scope_id, error)
            report.claimed_elsewhere.append(scope_id)
        except (OutOfReach, LedgerUnavailable) as error:
            report.out_of_reach = str(error)
        except Exception as error:
            # a defect of ours that one scope hits must not keep the others waiting; it is shown in full
            logger.exception("unexpected while working on scope %s", scope_id)
            report.unexpected.append(f"unexpected {type(error).__name__} in scope {scope_id}: {error}")
            self._hush(plan)

    async def _claim_and_run(self, plan: ScopePlan, report: PassReport) -> None:
        run_id, scope_id = plan.scope.run_id, plan.scope.scope_id
        held = await self._leases.claim(scope_id)
        if held is None:
            report.claimed_elsewhere.append(scope_id)
            self._hush(plan)
            return
        try:
            fresh = await self.replay.plan(run_id, scope_id)
            if fresh.idle:
                return
            work = self._work(fresh, held, report)
            await ScopeRunner(work, lambda: self.replay.plan(run_id, scope_id)).run()
            if work.journal.appended:
                self._quiet.pop(scope_id, None)
            else:
                self._hush(plan)
        finally:
            await self._leases.release(held)

    def _work(self, plan: ScopePlan, held: Held, report: PassReport) -> Work:
        run_id, scope_id = plan.scope.run_id, plan.scope.scope_id
        return Work(
            plan,
            held=held,
            journal=Journal(
                self.ledger,
                self.clock,
                self.producer,
                run_id=run_id,
                scope_id=scope_id,
                claim=lambda: held.claim,
                commits=self._commits,
            ),
            api=self.api,
            keeper=LogKeeper(self.api, self._archive, self.settings, run_id=run_id, scope_id=scope_id),
            confirmer=self._confirmer,
            clock=self.clock,
            settings=self.settings,
            ledger_id=self.ledger.ledger_id,
            shared_with=lambda resource, uid: self.replay.sharing.veto(scope_id, resource, uid),
            report=report,
        )

    # ---- peace and quiet ---------------------------------------------------------------------------------

    def _is_quiet(self, plan: ScopePlan) -> bool:
        quiet = self._quiet.get(plan.scope.scope_id)
        return (
            quiet is not None and quiet.signature == plan.signature and self.clock.monotonic() < quiet.until
        )

    def _hush(self, plan: ScopePlan) -> None:
        before = self._quiet.get(plan.scope.scope_id)
        same = before is not None and before.signature == plan.signature
        pause = (
            min(before.pause_seconds * 2, _LONGEST_PAUSE_SECONDS) if before and same else _FIRST_PAUSE_SECONDS
        )
        until = self.clock.monotonic() + pause
        self._quiet[plan.scope.scope_id] = _Quiet(plan.signature, pause, until)
