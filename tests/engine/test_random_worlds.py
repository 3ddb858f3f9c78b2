"""Worlds thrown together by dice: what should be gone is gone, and nothing else was touched.

The expectation is written down a second time here, as plainly as the promise is made, and not taken from the
policy. Each world is remembered by its seed.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import LEVELS, Level, Outcome

from tests.engine.conftest import MakeWorld
from tests.engine.world import World

OUTCOMES: tuple[Outcome | None, ...] = (*(o for o in get_args(Outcome) if o != "unknown"), None)
OWNERS = {"deployments.apps": "Deployment", "statefulsets.apps": "StatefulSet"}
WITH_PODS = ("jobs.batch", *OWNERS)
FATES = ("plain", "plain", "plain", "annotated", "other-ledger", "held", "released", "replaced", "untracked")


@dataclass(frozen=True)
class Test:
    """A scope as the dice made it. ``outcome`` None: it still runs."""

    scope_id: str
    level: Level
    outcome: Outcome | None
    forced: bool

    __test__ = False


@dataclass(frozen=True)
class Thing:
    """An object as the dice made it."""

    made: ObservedObject
    kind: str
    fate: str
    test: Test

    def goes(self) -> bool:
        """Whether the object itself is to be deleted."""
        if self.fate in ("annotated", "other-ledger", "held", "replaced", "untracked") or not self.is_due():
            return False
        return self.kind == "pods" or self.level() == "all"

    def its_pods_go(self) -> bool:
        if self.fate in ("annotated", "other-ledger", "held", "replaced", "untracked"):
            return False
        return self.is_due() and (self.kind == "jobs.batch" or (self.kind in OWNERS and self.goes()))

    def is_due(self) -> bool:
        test = self.test
        if self.fate == "released":
            return True
        if test.outcome is None or test.level == "none":
            return False
        return test.outcome != "failed" or test.forced

    def level(self) -> Level:
        if self.fate == "released":
            return "all"
        return self.test.level


async def make(w: World, dice: random.Random, name: str, kind: str, fate: str) -> ObservedObject:
    meta: dict[str, dict[str, str]] = {}
    if fate == "annotated":
        meta["annotations"] = {dice.choice(["preserve", "debug", "cleanup-scheduler/preserve"]): "true"}
    if fate == "other-ledger":
        meta["labels"] = {"cleanup-scheduler/ledger": "f" * 32}
    if kind == "jobs.batch":
        if dice.random() < 0.3:
            return await w.running_job(name, meta=meta)
        return await w.finished_job(name, meta=meta)
    if kind == "pods":
        return await w.pod(name, "run", meta=meta)
    if kind in OWNERS:
        return await make_owner(w, name, OWNERS[kind], meta)
    made: ObservedObject = await w.make("v1", "ConfigMap", name, meta=meta, data={})
    return made


async def make_owner(w: World, name: str, word: str, meta: dict[str, dict[str, str]]) -> ObservedObject:
    """A workload with one pod, which runs; where no controller makes one, it is put below it by hand."""
    by_hand = "apps" in w.under_test.lacks
    label = {"of": name}
    template = w.under_test.simulated_template("run", restartPolicy="Always")
    template["metadata"]["labels"] = label
    spec = {"replicas": 1, "selector": {"matchLabels": label}, "template": template}
    named = {"serviceName": name} if word == "StatefulSet" else {}
    made: ObservedObject = await w.make("apps/v1", word, name, meta=meta, spec={**spec, **named})
    if by_hand:
        above, unique = made, f"{name}-{uuid.uuid4().hex[:5]}"
        if word == "Deployment":
            below = owned_by(made, word) | {"labels": label}
            above, word = await w.make("apps/v1", "ReplicaSet", unique, meta=below, spec=spec), "ReplicaSet"
        await w.pod(unique, "run", meta=owned_by(above, word) | {"labels": label})
    await w.until_running(made)
    return made


def owned_by(owner: ObservedObject, word: str) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": word, "name": owner.ref.name, "uid": owner.uid}
    return {"ownerReferences": [{**reference, "controller": True}]}


async def throw(w: World, dice: random.Random, count: int) -> list[Thing]:
    tests = []
    for number in range(4):
        level = dice.choice(LEVELS)
        scope_id = w.open_scope(level, test_id=f"test_{number}")
        tests.append(Test(scope_id, level, dice.choice(OUTCOMES), dice.random() < 0.3))
    things = []
    for number in range(count):
        kind, fate = dice.choice(["jobs.batch", "pods", "configmaps", *OWNERS]), dice.choice(FATES)
        test = dice.choice(tests)
        made = await make(w, dice, f"thing-{number}", kind, fate)
        if fate != "untracked":
            w.track(test.scope_id, made.ref)
        things.append(Thing(made, kind, fate, test))
    await w.run_pass()  # sees the uids while the tests run
    for number, thing in enumerate(things):
        if thing.fate == "replaced":
            await w.delete_by_hand(thing.made)
            again = await make(w, dice, thing.made.ref.name, thing.kind, "plain")
            things[number] = Thing(again, thing.kind, "replaced", thing.test)
        if thing.fate == "held":
            w.say(e.HoldRequested(who="ada", resource=thing.made.ref), scope_id=thing.test.scope_id)
    for test in tests:
        if test.outcome is not None:
            w.end(test.scope_id, test.outcome, forced=test.forced)
    await w.run_pass()
    for thing in things:
        if thing.fate == "released":
            asked = e.ReleaseRequested(who="ada", resource=thing.made.ref, level="all")
            w.say(asked, scope_id=thing.test.scope_id)
    return things


@pytest.mark.parametrize("seed", range(8))
async def test_in_any_world_only_what_is_due_goes(make_world: MakeWorld, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice
    async with make_world(confirm_seconds=30.0) as w:
        w.start_run()
        things = await throw(w, dice, 14)
        pods_before = {
            thing.made.uid: await w.cluster.pods_of(thing.made)
            for thing in things
            if thing.kind in WITH_PODS and not thing.its_pods_go()
        }
        for _ in range(3):
            await w.run_pass()
        for thing in things:
            seen = await w.cluster.get(thing.made.ref)
            alive = seen is not None and seen.uid == thing.made.uid and seen.deletion_timestamp is None
            assert alive is not thing.goes(), thing
            if thing.kind in WITH_PODS:
                left = {pod.uid for pod in await w.cluster.pods_of(thing.made)}
                expected = {pod.uid for pod in pods_before.get(thing.made.uid, [])}
                assert left == expected, thing
            if thing.kind in OWNERS and thing.goes():
                through = [event for event in w.events(e.LogsArchived) if event.owner == thing.made.ref]
                assert through, "its pod was not found through its owner reference"
