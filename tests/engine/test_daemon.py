"""`cleanup-scheduler` as a process: on and on, once, and told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Journal, open_ledger

from tests.databases import DATABASES, postgres_ledger
from tests.engine.conftest import MakeWorld
from tests.engine.processes import Process, daemon, until_alive
from tests.engine.world import World, until
from tests.faults.proxy import FaultProxy, answer


def once(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    process = Process(folder, "run", "--once", *arguments, **environment)
    code = process.wait()
    return code, process.log


@pytest.mark.parametrize("database", DATABASES, indirect=True)
async def test_what_a_test_tracked_is_gone_soon_after_it_ended(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path) as process:
            w.start_run()
            await until_alive(w)
            scope = w.open_scope("all")
            job = await w.finished_job("evaluation")
            w.track(scope, job.ref)
            w.end(scope)
            ended = time.monotonic()

            async def settled() -> bool:
                return w.scope(scope).settled

            await until(settled)
            assert time.monotonic() - ended < 10
        assert process.popen.returncode == 0
        [line] = [line for line in process.log.splitlines() if f"gone {job.ref}" in line]
        assert "INFO" in line
        assert job.uid in line
        assert f"of test_it in run {w.run_id}" in line
        assert "(passed" in line
        assert w.ledger.heartbeats("worker") == []


@pytest.mark.parametrize("database", DATABASES, indirect=True)
async def test_a_new_event_wakes_it_long_before_its_next_tick(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path, tick_seconds="3600") as process:
            w.start_run()
            await until_alive(w)
            for number in range(2):
                scope = w.open_scope("all")
                job = await w.finished_job(f"evaluation-{number}")
                w.track(scope, job.ref)
                w.end(scope)
                await until(partial(settled, w, scope))
        assert process.popen.returncode == 0, "the listener ended with it"


async def settled(w: World, scope: str) -> bool:
    return w.scope(scope).settled


async def test_its_heartbeat_names_the_cluster_that_it_serves(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path):
            await until_alive(w)
            assert [beat.info for beat in w.ledger.heartbeats("worker")] == [w.cluster.name]


async def test_its_heartbeat_says_what_it_is_doing_and_why_it_does_not(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, FaultProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        settings = {"cluster": w.cluster.name, "brake_max_deletions": "0", "worker_lease_seconds": "5"}
        with daemon(w, tmp_path, proxy.kubeconfig, **settings):

            async def says(*words: str) -> bool:
                beats = w.ledger.heartbeats("worker")
                return any(all(word in beat.doing for word in words) for beat in beats)

            await until(lambda: says("works on 0 of 0 open scopes"))
            w.start_run()
            scope = w.open_scope("all")
            job = await w.finished_job("evaluation")
            w.track(scope, job.ref)
            w.end(scope)
            await until(lambda: says("of 1 open scopes", "brake: 1 resources are due"))
            proxy.arm(answer(503), times=100_000)
            await until(lambda: says("is out of reach", "trying again in"))
            proxy.disarm()


async def test_while_it_works_it_names_the_tests(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path):
            w.start_run()
            scope = w.open_scope("all", test_id="tests/test_stuck.py::test_it")
            stuck = await w.make(
                "v1", "ConfigMap", "stuck", meta={"finalizers": ["example.com/hold"]}, data={}
            )
            w.track(scope, stuck.ref)
            w.end(scope)

            async def says() -> bool:
                beats = w.ledger.heartbeats("worker")
                return any("works on 1 of 1 open scopes (tests/test_stuck.py" in beat.doing for beat in beats)

            await until(says)
        await w.cluster.patch(stuck.ref, stuck.uid, {"metadata": {"finalizers": None}})


async def test_told_to_stop_it_ends_what_is_under_way_and_gives_its_claims_back(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path) as process:
            w.start_run()
            await until_alive(w)
            scope = w.open_scope("all")
            stuck = await w.make(
                "v1", "ConfigMap", "stuck", meta={"finalizers": ["example.com/hold"]}, data={}
            )
            w.track(scope, stuck.ref)
            w.end(scope)

            async def deleting() -> bool:
                seen = await w.cluster.get(stuck.ref)
                return seen is not None and seen.deletion_timestamp is not None

            await until(deleting)
            process.popen.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert process.wait() == 0
            assert time.monotonic() - began < 10, "it waits for what the next worker can confirm"
        claim = w.ledger.claim(scope, holder="next", lease_seconds=1)
        assert claim is not None, "the claim was not given back"
        w.ledger.release(claim)
        await w.cluster.patch(stuck.ref, stuck.uid, {"metadata": {"finalizers": None}})


async def test_a_cluster_out_of_reach_is_said_with_growing_pauses_and_work_goes_on_afterwards(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, FaultProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        proxy.arm(answer(503), times=100_000)
        settings = {"cluster": w.cluster.name, "backoff_max_seconds": "1"}
        with daemon(w, tmp_path, proxy.kubeconfig, **settings) as process:
            w.start_run()
            scope = w.open_scope("all")
            job = await w.finished_job("evaluation")
            w.track(scope, job.ref)
            w.end(scope)
            await until_alive(w)

            async def said() -> bool:
                return process.log.count("trying again in") >= 3

            await until(said)
            assert len(proxy.seen) < 60, "it spins"
            assert process.popen.poll() is None
            proxy.disarm()

            async def settled() -> bool:
                return w.scope(scope).settled

            await until(settled)
        assert "answers again" in process.log
        assert await w.uids("jobs.batch") == set()


async def test_a_signal_makes_it_say_what_it_is_doing(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        with daemon(w, tmp_path) as process:
            await until_alive(w)
            process.popen.send_signal(signal.SIGUSR1)

            async def said() -> bool:
                return "open scopes, is at position" in process.log

            await until(said)


async def test_once_does_everything_that_is_due_and_exits_0(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w:
        w.start_run()
        due, dead = w.open_scope("all"), w.open_scope("all")
        job = await w.finished_job("due")
        labels = {
            "cleanup-scheduler/ledger": w.ledger.ledger_id,
            "cleanup-scheduler/run": w.run_id,
            "cleanup-scheduler/scope": dead,
        }
        await w.finished_job("leak", meta={"labels": labels})
        w.track(due, job.ref)
        w.end(due)
        w.ledger.beat("run", w.run_id, lease_seconds=-1)
        where = ("--ledger", w.ledger_url, "--kubeconfig", str(w.under_test.kubeconfig))
        settings = {"orphan_grace_seconds": "0", "namespace": w.namespace}
        code, said = once(tmp_path, "--dry-run", *where, **settings)
        assert code == 0
        assert f"would-delete {job.ref}" in said
        assert await w.uids("jobs.batch") != set()
        code, said = once(tmp_path, *where, "--log-format", "json", **settings)
        assert code == 0, said
        assert await w.uids("jobs.batch") == set()
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert {line["ref"]["name"] for line in lines if line.get("what") == "gone"} >= {"due", "leak"}


async def test_once_exits_1_when_something_failed_and_3_at_a_brake_and_4_out_of_reach(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, FaultProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        where = ("--ledger", w.ledger_url, "--kubeconfig", str(proxy.kubeconfig))
        codes: list[int] = []
        for fault, settings in (
            (answer(503), {}),
            (None, {"brake_max_deletions": "0"}),
            (answer(500), {}),
        ):
            if fault is not None:
                method = "DELETE" if "brake_max_deletions" not in settings and codes else ""
                proxy.arm(fault, method=method, times=1000)
            code, _ = await asyncio.to_thread(
                once, tmp_path, *where, cluster=w.cluster.name, namespace=w.namespace, **settings
            )
            codes.append(code)
            proxy.disarm()
        assert codes == [4, 3, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--once", "--kubeconfig", "nowhere"], "nowhere"),
        (["run", "--once", "--ledger", "mysql://x/y"], "mysql"),
        (["run", "--dry-run"], "--once"),
        (["run", "--log-format", "xml"], "xml"),
        (["walk"], "walk"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, kubeconfig: Path, tmp_path: Path
) -> None:
    process = Process(tmp_path, *arguments, kubeconfig=str(kubeconfig))
    assert process.wait() == 2
    [line] = process.log.splitlines()
    assert line.startswith("cleanup-scheduler: ")
    assert words in line


def test_migrate_prepares_a_postgresql_ledger_and_run_says_so_when_it_was_not(tmp_path: Path) -> None:
    with postgres_ledger(migrated=False) as url:
        kubeconfig = tmp_path / "missing"
        process = Process(tmp_path, "run", "--once", "--ledger", url, kubeconfig=str(kubeconfig))
        assert process.wait() == 2
        process = Process(tmp_path, "migrate", "--ledger", url)
        assert process.wait() == 0
        assert "revision" in process.log
        open_ledger(url).close()


@pytest.mark.parametrize("worker", ["that stays", "of one pass"])
async def test_what_waits_in_the_checkouts_journal_is_drained_and_cleaned(
    make_world: MakeWorld, tmp_path: Path, worker: str
) -> None:
    async with make_world() as w:
        journal = Journal(tmp_path / ".cleanup-scheduler" / "journal")
        w.start_run()
        scope, job = w.open_scope("all"), await w.finished_job("evaluation")
        for payload in (e.ResourceTracked(resource=job.ref), e.OutcomeRecorded(outcome="passed")):
            journal.add(
                e.NewEvent(
                    event_id=new_id(),
                    time=datetime.now(UTC),
                    producer="test",
                    payload=payload,
                    run_id=w.run_id,
                    scope_id=scope,
                )
            )
        if worker == "that stays":
            with daemon(w, tmp_path):

                async def settled() -> bool:
                    return w.scope(scope).settled

                await until(settled)
        else:
            where = ("--ledger", w.ledger_url, "--kubeconfig", str(w.under_test.kubeconfig))
            assert once(tmp_path, *where, "--dry-run")[0] == 0
            assert journal.waiting() == 2
            assert once(tmp_path, *where)[0] == 0
        assert journal.waiting() == 0
        assert w.resource(scope, job.ref).status == "gone"
