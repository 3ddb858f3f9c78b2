"""One resource from its name to its end: observe, guard, archive, request, delete, confirm.

What fails stays with the resource it failed for. Refuses to touch an object whose uid was not committed to
the ledger first, and anything that the guard says no to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import Veto, guard, scope_ended_at
from cleanup_scheduler.domain.resources import JOBS, PODS, ResourceRef, singular
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.looking import Eyes, may_own_pods
from cleanup_scheduler.engine.planning import Target
from cleanup_scheduler.engine.pods import Pods
from cleanup_scheduler.engine.suspending import Suspension
from cleanup_scheduler.engine.work import Thing, Work, logger, thing_of
from cleanup_scheduler.errors import ClusterError, UnknownName

IN_FLIGHT_SECONDS: Final = 5.0  # a create that an interrupted test had sent may still land


class Cleaner:
    """Cleans the resources of one scope."""

    def __init__(self, work: Work, eyes: Eyes) -> None:
        self.work, self.eyes = work, eyes
        self.pods = Pods(work)

    async def clean_all(self, targets: Iterable[Target]) -> None:
        """Workloads first: what is left of the pods that were tracked beside them is looked at afterwards."""
        targets = list(targets)
        for stage in (
            [target for target in targets if target.resource.ref.kind != PODS],
            [target for target in targets if target.resource.ref.kind == PODS],
        ):
            await self.eyes.look_ahead(target.resource.ref for target in stage)
            await self._each(stage)

    async def _each(self, targets: Iterable[Target]) -> None:
        results = await asyncio.gather(*map(self._guarded, targets), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _guarded(self, target: Target) -> None:
        """A poison resource delays no other. What concerns everybody (claim, ledger, cluster) goes on up."""
        thing = thing_of(target.resource, target.decision)
        try:
            await self._clean(target)
        except OutOfReach:
            raise
        except (ClusterError, UnknownName) as error:
            await self.work.fail(thing, error, target.found)

    async def _clean(self, target: Target) -> None:
        work, resource = self.work, target.resource
        address = await work.api.address(resource.ref)
        seen = await self.eyes.see(address)
        thing = thing_of(resource, target.decision, address=address)
        if seen is None or (resource.uid and seen.uid != resource.uid):
            await self._not_there(target, thing, seen)
            return
        thing = thing_of(resource, target.decision, uid=seen.uid, address=address)
        if target.confirm_only:
            await work.confirm(thing, timeout_seconds=0)
            return
        veto = guard(work.plan.run, work.plan.scope, resource, seen, work.rules, work.ledger_id)
        shared = work.shared_with(resource, seen.uid)
        if veto is not None:
            await work.keep(thing, veto.rule, veto.reason, target.found)
        elif shared is not None:
            work.note("waiting", thing.ref, thing.uid, shared.rule, shared.reason)
        else:
            if not resource.uid:
                await work.append(_observed(resource, seen))
            await self._act(target, thing, seen)

    async def _not_there(self, target: Target, thing: Thing, other: ObservedObject | None) -> None:
        """The uid is not served any more, or nothing ever had the name. Whoever has it now is not ours."""
        work = self.work
        if not thing.uid and self._may_be_in_flight():
            work.note("waiting", thing.ref, "", "create-in-flight", "its test was interrupted a moment ago")
            return
        if other is not None:
            logger.info("%s belongs to uid %s now; what was tracked is gone", thing.ref, other.uid)
        requested = thing.status == "deleting" or target.resource.requested_at is not None
        await work.gone(thing, "deleted" if requested else "found-gone" if thing.uid else "never-seen")

    def _may_be_in_flight(self) -> bool:
        plan = self.work.plan
        ended = scope_ended_at(plan.run, plan.scope)
        return (
            plan.outcome == "interrupted"
            and ended is not None
            and self.work.clock.now() < ended + timedelta(seconds=IN_FLIGHT_SECONDS)
        )

    async def _act(self, target: Target, thing: Thing, seen: ObservedObject) -> None:
        level = target.decision.level
        if thing.ref.kind == PODS:
            await self._clean_pod(target, thing, seen)
        elif level == "pods" and thing.ref.kind == JOBS:
            await self._free_job(target, thing, seen)
        elif level == "pods":
            kind = singular(thing.ref.kind)
            reason = f"its pods would only be replaced; level all deletes the {kind} with them"
            await self.work.keep(thing, "level-pods", reason, target.found)
        else:
            await self._delete_whole(target, thing, seen)

    # ---- pods --------------------------------------------------------------------------------------------

    async def _clean_pod(self, target: Target, thing: Thing, seen: ObservedObject) -> None:
        maker = await self._maker_of(seen)
        if maker:
            reason = f"{maker} would replace it at once; track {maker} instead"
            await self.work.keep(thing, "would-be-replaced", reason)
            return
        await self.pods.delete(thing, seen)

    async def _maker_of(self, pod: ObservedObject) -> str:
        """The controller that would put a new pod in its place; empty when none would."""
        if any(t.resource.ref.kind != PODS and t.decision.level == "all" for t in self.work.plan.targets):
            return ""  # the workloads of this scope are on their way out, their pods go with them
        controller = next((owner for owner in pod.owners if owner.controller), None)
        if controller is None or controller.kind not in ("Job", "ReplicaSet", "StatefulSet", "DaemonSet"):
            return ""
        kind = JOBS if controller.kind == "Job" else f"{controller.kind.lower()}s.apps"
        ref = ResourceRef(pod.ref.cluster, pod.ref.namespace, kind, controller.name)
        if kind == JOBS:
            status = await self.work.api.call(lambda: self.work.api.cluster.job_status(ref))
            idle = status is None or status.uid != controller.uid or status.finished or status.suspended
            return "" if idle or (status is not None and status.deleting) else ref.short
        owner = await self.work.api.call(lambda: self.work.api.cluster.get(ref))
        alive = owner is not None and owner.uid == controller.uid and owner.deletion_timestamp is None
        return ref.short if alive else ""

    # ---- level pods --------------------------------------------------------------------------------------

    async def _free_job(self, target: Target, thing: Thing, seen: ObservedObject) -> None:
        """The Job stays, its pods go, and no new ones come."""
        work = self.work
        status = await work.api.looks.status_of_job(thing.address)
        if status is None or status.uid != thing.uid:
            await self._not_there(target, thing, None)
            return
        pods = await self._pods_below(target, thing, seen)
        if pods is None:
            return
        runs = not (status.finished or status.suspended or status.deleting)
        if runs and status.foreign_manager:
            reason = f"{status.foreign_manager} runs it and need not heed a suspension; stop it there"
            await work.keep(thing, "foreign-manager", reason, target.found)
            return
        if runs:
            await Suspension(work, thing).suspend(pods)
            pods = await self.eyes.pods_of(seen, afresh=True)
        if await self._delete_pods(target, thing, pods):
            await work.keep(thing, "level-pods", "level pods frees the pods and keeps the job")

    async def _pods_below(
        self, target: Target, thing: Thing, seen: ObservedObject
    ) -> list[ObservedObject] | None:
        """Its pods, recorded; None when one of them must not be touched and so the owner must stay, too."""
        pods = await self.eyes.pods_of(seen)
        for pod in pods:
            entry = Resource(ref=pod.ref, uid=pod.uid, owner=thing.ref)
            veto = self._veto_on_pod(entry, pod)
            if veto is not None:
                reason = f"its {pod.ref.short} must stay: {veto.reason}"
                await self.work.keep(thing, veto.rule, reason, target.found)
                return None
            shared = self.work.shared_with(entry, pod.uid)
            if shared is not None:
                self.work.note("waiting", thing.ref, thing.uid, shared.rule, shared.reason)
                return None
        known = {child.uid for child in target.found}
        await self.work.append(
            *(
                e.ResourceObserved(resource=pod.ref, uid=pod.uid, created_at=pod.created_at, owner=thing.ref)
                for pod in pods
                if pod.uid not in known
            )
        )
        return pods

    def _veto_on_pod(self, entry: Resource, pod: ObservedObject) -> Veto | None:
        plan = self.work.plan
        below = plan.scope.find(pod.ref, pod.uid)
        if below is not None and below.held_by:
            return Veto(rule="hold", reason=f"held by {below.held_by}")
        return guard(plan.run, plan.scope, entry, pod, self.work.rules, self.work.ledger_id)

    async def _delete_pods(self, target: Target, thing: Thing, pods: list[ObservedObject]) -> bool:
        """Delete these, confirm those that were known and are not listed any more. True: nothing is left.

        A pod that was given up is not tried again before somebody releases it.
        """
        known = {child.uid: child for child in target.found}
        listed = {pod.uid for pod in pods}
        things = [self.pods.thing(pod, thing, known.get(pod.uid)) for pod in pods]
        missing = [child for child in target.found if child.uid not in listed and not child.settled]
        done = await asyncio.gather(
            *(
                self.pods.try_delete(below, pod)
                for below, pod in zip(things, pods, strict=True)
                if below.status != "given-up"
            ),
            *(self.pods.try_confirm(thing_of(child, target.decision)) for child in missing),
        )
        return all(done)

    # ---- level all ---------------------------------------------------------------------------------------

    async def _delete_whole(self, target: Target, thing: Thing, seen: ObservedObject) -> None:
        """Logs, then the owner in the background, then its pods without waiting for the garbage collector."""
        work = self.work
        pods = await self._pods_below(target, thing, seen) if may_own_pods(thing.ref.kind) else []
        if pods is None:
            return
        known = {child.uid: child for child in target.found}
        things = [self.pods.thing(pod, thing, known.get(pod.uid)) for pod in pods]
        direct = thing.ref.kind == JOBS  # the pods of others would be replaced until their owner is collected
        async with self.pods.archived(list(zip(things, pods, strict=True))) as events:
            await work.append(*events, work.request(thing), *(map(work.request, things) if direct else ()))
            if seen.deletion_timestamp is None:
                work.check()
                await work.api.call(
                    lambda: work.api.cluster.delete(thing.address, thing.uid, propagation="Background")
                )
            pairs = zip(things, pods, strict=True)
            ends = [self.pods.try_end(below, pod, delete=direct) for below, pod in pairs]
            confirmed, *_ = await asyncio.gather(work.confirm(thing), *ends)
        if confirmed:
            listed = {pod.uid for pod in pods}
            left = [child for child in target.found if child.uid not in listed and not child.settled]
            looks = [self.pods.try_confirm(thing_of(c, target.decision), timeout_seconds=0) for c in left]
            await asyncio.gather(*looks)


def _observed(resource: Resource, seen: ObservedObject) -> e.ResourceObserved:
    return e.ResourceObserved(resource=resource.ref, uid=seen.uid, created_at=seen.created_at)
