"""Is the end state right? Asks the cluster, the ledger, and the cluster's own record of deletions.

Refuses to take the product's word alone: what the ledger says is compared with what the cluster has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import JOBS, PODS
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler.reports import Summary, report_run, summarise
from cleanup_scheduler.reports.runs import walk

from cleanup_scheduler_cli.demo.place import NAMESPACE, Place
from cleanup_scheduler_cli.demo.stage import DemoFailed

if TYPE_CHECKING:
    from cleanup_scheduler.ledger import Ledger

# the user in the kubeconfig that the demo's processes have; the cluster's controllers have other names
_US: Final = "embedded-admin"
_FAILED: Final = "test_wrong_answer"
_CLEANED_ENTIRELY: Final = "test_load"


class Expected:
    """What the story has seen so far, and what follows from that."""

    def __init__(self) -> None:
        self.stay: set[str] = set()
        self.go: set[str] = set()
        self.failed_job = ""
        self.untracked_job = ""
        self.crashed_jobs: set[str] = set()
        self.worker_exit_code: int | None = None

    def note_suite(self, place: Place) -> dict[str, str]:
        """The Jobs that the suite tracked, by test; level ``all`` takes them, level ``pods`` leaves them."""
        by_test: dict[str, str] = {}
        with _ledger(place) as ledger:
            for test, job in _tracked(ledger):
                by_test[test] = job
                (self.go if test == _CLEANED_ENTIRELY else self.stay).add(job)
        if len(self.stay) != 3 or len(self.go) != 3:
            raise DemoFailed(f"the suite's tests tracked {sorted(self.stay | self.go)}, not what they create")
        self.failed_job = by_test[_FAILED]
        return by_test

    def note_crash(self, jobs: list[str]) -> None:
        """The crashed run's Jobs, in the order in which it named them: the last one it never tracked."""
        self.crashed_jobs, self.untracked_job = set(jobs), jobs[-1]
        self.go |= self.crashed_jobs
        if len(self.crashed_jobs) != 3:
            raise DemoFailed(f"the killed run named {jobs}, not its three Jobs")

    def crash_is_cleaned(self, place: Place) -> bool:
        """The ledger says that the run died and that all it left is gone."""
        found = _summary(place).runs[0]
        return found.condition == "died" and found.orphans.gone == 1 and found.tracked.gone == 2

    def failed_is_released(self, place: Place) -> bool:
        """The ledger says that nothing of the failed test is preserved or under way any more."""
        summary = _summary(place)
        return not (summary.tracked.preserved or summary.tracked.open or summary.found.open)


def look(place: Place, expected: Expected) -> list[str]:
    """Everything that is not as it should be, in words; empty when the demo kept its promises."""
    return [
        *_cluster_differs(place, expected),
        *_ledger_differs(_summary(place), expected),
        *_deletions_differ(place),
        *(["the worker did not stop cleanly"] if expected.worker_exit_code else []),
    ]


def _cluster_differs(place: Place, expected: Expected) -> Iterator[str]:
    jobs, pods = asyncio.run(_names(place))
    if pods:
        yield f"pods are left: {', '.join(sorted(pods))}"
    if missing := expected.stay - jobs:
        yield f"Jobs are gone that level pods keeps: {', '.join(sorted(missing))}"
    if left := expected.go & jobs:
        yield f"Jobs are left that were to go: {', '.join(sorted(left))}"
    if others := jobs - expected.stay - expected.go:
        yield f"Jobs are there that nobody started: {', '.join(sorted(others))}"


async def _names(place: Place) -> tuple[set[str], set[str]]:
    from cleanup_scheduler.cluster import connect

    async with connect(place.settings().settings) as cluster:
        jobs = {seen.ref.name async for seen in cluster.list(JOBS, NAMESPACE)}
        pods = {seen.ref.name async for seen in cluster.list(PODS, NAMESPACE)}
    return jobs, pods


def _ledger_differs(summary: Summary, expected: Expected) -> Iterator[str]:
    conditions = [run.condition for run in summary.runs]
    if conditions != ["died", "finished"]:
        yield f"the runs are {conditions}, not one that died after one that finished"
    if summary.dead_letters:
        yield f"given up: {', '.join(letter.resource.short for letter in summary.dead_letters)}"
    resources = [r for run in summary.runs for scope in run.scopes for r in walk(scope.resources)]
    by_name = {r.ref.name: r for r in resources if r.ref.kind == JOBS}
    for names, standing in ((expected.stay, "kept"), (expected.go, "gone")):
        for name in sorted(names):
            stands = by_name[name].standing if name in by_name else "unknown to the ledger"
            if stands != standing:
                yield f"the ledger says that job/{name} is {stands}, not {standing}"
    orphans = [r.ref.name for r in resources if r.orphan]
    if orphans != [expected.untracked_job]:
        yield f"orphans are {orphans}, not the one Job that nobody tracked"
    tracked = len(expected.stay | expected.go) - len(orphans)
    if summary.tracked.total != tracked:
        yield f"{summary.tracked.total} resources are reported as tracked, {tracked} were"
    for resource in resources:
        if resource.ref.kind == PODS and not resource.logs:
            yield f"{resource.short} has neither an archived log nor a reason why not"


def _deletions_differ(place: Place) -> Iterator[str]:
    """Every deletion that reached the cluster was committed first, by its uid."""
    with _ledger(place) as ledger:
        payloads = [event.payload for event in ledger.follow()]
    requested = {payload.uid for payload in payloads if isinstance(payload, e.DeletionRequested)}
    done = place.cluster.deletes(lambda record: record.caller.user == _US)
    if not done:
        yield "the cluster has seen no deletion at all"
    for record in done:
        if record.uid and record.uid not in requested:
            yield f"{record.resource.key} {record.name} was deleted without a request in the ledger"


def _tracked(ledger: Ledger) -> Iterator[tuple[str, str]]:
    tests: dict[str, str] = {}
    for event in ledger.follow():
        if isinstance(event.payload, e.ScopeOpened):
            tests[event.scope_id] = event.payload.test_id.rpartition("::")[2]
        elif isinstance(event.payload, e.ResourceTracked):
            yield tests[event.scope_id], event.payload.resource.name


def _summary(place: Place) -> Summary:
    rules = place.settings().settings.policy_rules()
    with _ledger(place) as ledger:
        projection = ledger.projection()
        projection.catch_up()
        now = ledger.now()
        runs = [
            report_run(run, projection.scopes_of(run.run_id), rules, now) for run in projection.all_runs()
        ]
    return summarise(runs, at=now, ledger="the demo's")


def _ledger(place: Place) -> Ledger:
    return open_ledger(place.settings().ledger_url)
