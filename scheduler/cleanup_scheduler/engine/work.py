"""One scope in work: the claim in hand, the journal, the words with which the outcome of each act is said.

Everything that changes the cluster passes :meth:`Work.check` first. Refuses to decide: the plan did that.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.backoff import retry_delay
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import Decision, PolicyRules, Veto
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.engine.confirming import Confirmer
from cleanup_scheduler.engine.journal import Journal
from cleanup_scheduler.engine.leases import Held
from cleanup_scheduler.engine.logs import LogKeeper
from cleanup_scheduler.engine.planning import ScopePlan
from cleanup_scheduler.engine.report import Item, PassReport, What, describe
from cleanup_scheduler.errors import CleanupSchedulerError, ClusterError, ClusterUnavailable, Refused
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")
_LEAST_PATIENCE_SECONDS = 10.0  # whoever owns a finalizer needs a moment
# said again in every pass as long as it lasts
_LOG_LEVELS = {
    "failed": logging.WARNING,
    "given-up": logging.ERROR,
    "deleting": logging.DEBUG,
    "waiting": logging.DEBUG,
}


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """What is acted on: one uid at one address (in the API's spelling), for a resource of the scope."""

    ref: ResourceRef
    address: ResourceRef
    uid: str
    rule: str
    owner: ResourceRef | None = None
    attempts: int = 0
    status: str = "tracked"


def thing_of(
    resource: Resource, decision: Decision, *, uid: str = "", address: ResourceRef | None = None
) -> Thing:
    """The resource, once its uid is known."""
    return Thing(
        ref=resource.ref,
        address=address or resource.ref,
        uid=uid or resource.uid,
        rule=decision.rule if decision.action == "clean" else resource.rule,
        owner=resource.owner,
        attempts=resource.attempts,
        status=resource.status,
    )


class Work:
    """Everything that the steps of one scope's cleaning share."""

    def __init__(
        self,
        plan: ScopePlan,
        *,
        held: Held,
        journal: Journal,
        api: Api,
        keeper: LogKeeper,
        confirmer: Confirmer,
        clock: Clock,
        settings: Settings,
        ledger_id: str,
        shared_with: Callable[[Resource, str], Veto | None],
        report: PassReport,
    ) -> None:
        self.plan, self.held, self.journal = plan, held, journal
        self.api, self.keeper, self.confirmer, self.clock = api, keeper, confirmer, clock
        self.settings, self.ledger_id = settings, ledger_id
        self.rules: PolicyRules = settings.policy_rules()
        self.shared_with = shared_with
        self.report = report
        self._gone_uids: set[str] = set()

    async def append(self, *payloads: e.Event) -> None:
        """Commit, under the claim."""
        if payloads:
            await self.journal.append(*payloads)

    def check(self) -> None:
        """Before each act: raise ``ClaimLost`` when the scope may be somebody else's by now."""
        self.held.check()

    def note(
        self, what: What, ref: ResourceRef, uid: str, rule: str, reason: str, until: datetime | None = None
    ) -> None:
        """One line in the report of the pass, and in the log."""
        scope = self.plan.scope
        item = Item(
            what=what,
            ref=ref,
            uid=uid,
            run_id=scope.run_id,
            scope_id=scope.scope_id,
            test_id=scope.test_id,
            rule=rule,
            reason=reason,
            until=until,
        )
        self.report.items.append(item)
        logger.log(_LOG_LEVELS.get(what, logging.INFO), "%s", describe(item), extra={"item": item})

    def request(self, thing: Thing, *, by_suspension: bool = False) -> e.DeletionRequested:
        """The event that must be committed before the call."""
        return e.DeletionRequested(
            resource=thing.ref,
            uid=thing.uid,
            rule=thing.rule,
            owner=thing.owner,
            token=self.held.claim.token,
            by_suspension=by_suspension,
        )

    async def gone(self, thing: Thing, how: str) -> None:
        """The API no longer has that uid; said once, however many ways it was found out."""
        if thing.uid and thing.uid in self._gone_uids:
            return
        self._gone_uids.add(thing.uid)
        await self.append(e.ResourceGone(resource=thing.ref, uid=thing.uid, how=how, owner=thing.owner))
        self.note("gone", thing.ref, thing.uid, thing.rule, how)

    async def keep(self, thing: Thing, rule: str, reason: str, found: tuple[Resource, ...] = ()) -> None:
        """Leave it alone for good, and what was found through it with it."""
        kept = [e.ResourceKept(resource=thing.ref, uid=thing.uid, rule=rule, reason=reason)]
        kept += [
            e.ResourceKept(resource=child.ref, uid=child.uid, rule=rule, reason=reason)
            for child in found
            if not child.settled
        ]
        await self.append(*kept)
        self.note("kept", thing.ref, thing.uid, rule, reason)

    async def fail(
        self, thing: Thing, error: CleanupSchedulerError, found: tuple[Resource, ...] = ()
    ) -> None:
        """An attempt failed: say when the next one is due, or that it was the last."""
        throttled = isinstance(error, ClusterUnavailable) and error.status == 429
        attempt = max(thing.attempts, 1) if throttled else thing.attempts + 1
        if isinstance(error, Refused) or attempt >= self.settings.max_attempts:
            await self._give_up(thing, attempt, str(error), found)
            return
        floor = error.retry_after_seconds if isinstance(error, ClusterUnavailable) else None
        retry_at = self.clock.now() + self._delay(attempt, floor or 0.0)
        await self.append(
            e.DeletionFailed(
                resource=thing.ref,
                uid=thing.uid,
                attempt=attempt,
                error=str(error),
                retry_at=retry_at,
                owner=thing.owner,
            )
        )
        self.note("failed", thing.ref, thing.uid, thing.rule, str(error), retry_at)

    def _delay(self, attempt: int, floor_seconds: float) -> timedelta:
        return retry_delay(
            attempt,
            first_seconds=self.settings.backoff_first_seconds,
            max_seconds=self.settings.backoff_max_seconds,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            floor_seconds=floor_seconds,
        )

    async def _give_up(
        self, thing: Thing, attempts: int, diagnosis: str, found: tuple[Resource, ...]
    ) -> None:
        given_up = [_given_up(thing.ref, thing.uid, attempts, diagnosis, thing.owner)]
        given_up += [
            _given_up(
                child.ref, child.uid, child.attempts, f"its {thing.ref.short} was given up", child.owner
            )
            for child in found
            if not child.settled
        ]
        await self.append(*given_up)
        self.note("given-up", thing.ref, thing.uid, thing.rule, diagnosis)

    async def confirm(
        self, thing: Thing, *, how: str = "deleted", timeout_seconds: float | None = None
    ) -> bool:
        """Wait until the uid is gone, and say so. False: it is still there, and later passes look again."""
        seconds = self.settings.confirm_seconds if timeout_seconds is None else timeout_seconds
        still = await self.confirmer.gone(thing.address, thing.uid, timeout_seconds=seconds)
        if still is None:
            await self.gone(thing, how)
            return True
        if self._is_stuck(still):
            await self.fail(thing, ClusterError(await self._what_holds_it_up(thing, still)))
        else:
            self.note("deleting", thing.ref, thing.uid, thing.rule, "waiting until the cluster lets go of it")
        return False

    def _is_stuck(self, seen: ObservedObject) -> bool:
        """It should be gone by now."""
        since = seen.deletion_timestamp
        patience = timedelta(seconds=max(self.settings.confirm_seconds, _LEAST_PATIENCE_SECONDS))
        return since is not None and self.clock.now() > since + patience

    async def _what_holds_it_up(self, thing: Thing, seen: ObservedObject) -> str:
        """The finalizers, who set them, and what a person could run."""
        fact = f"{seen.ref} is Terminating since {seen.deletion_timestamp:%Y-%m-%d %H:%M:%S} UTC"
        if not seen.finalizers:
            return f"{fact} and its node has not let go of it"
        try:
            managers = await self.api.call(lambda: self.api.cluster.finalizer_managers(thing.address))
        except OutOfReach:
            raise
        except ClusterError:
            managers = {}  # what is known without them is said all the same
        held = ", ".join(
            f"{name} (set by {managers.get(name, 'nobody knows whom')})" for name in seen.finalizers
        )
        namespace = f" -n {seen.ref.namespace}" if seen.ref.namespace else ""
        command = f"kubectl edit {seen.ref.short}{namespace}"
        return f"{fact}: nobody has removed its finalizer {held}; a person may: {command}"


def _given_up(
    ref: ResourceRef, uid: str, attempts: int, diagnosis: str, owner: ResourceRef | None
) -> e.DeletionGivenUp:
    return e.DeletionGivenUp(resource=ref, uid=uid, attempts=attempts, diagnosis=diagnosis, owner=owner)
