"""One sentence per event type. What tests, programs and people wrote goes in as it is; whoever prints it
makes it safe for its terminal.
"""

from __future__ import annotations

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.occupied import Occupied


def sentence(payload: e.Event) -> str:
    """What happened, in words."""
    if isinstance(payload, e.TEST_EVENTS):
        return _said_by_test(payload)
    if isinstance(payload, e.HUMAN_EVENTS):
        return _said_by_person(payload)
    return _observed_by_worker(payload) or _done_by_worker(payload)


def _said_by_test(payload: e.Event) -> str:
    match payload:
        case e.RunStarted():
            return f"the run {payload.name} started on {payload.host} (pid {payload.pid})"
        case e.ScopeOpened():
            again = f", attempt {payload.attempt}" if payload.attempt > 1 else ""
            return f"{payload.test_id} began{again} at level {payload.level} (from {payload.level_source})"
        case e.LevelChanged():
            forced = ", forced" if payload.forced else ""
            return f"the level became {payload.level}{forced} (from {payload.level_source})"
        case e.ResourceTracked():
            before = ", before it was created" if payload.intent else ""
            return f"the test tracked {payload.resource}{before}"
        case e.OutcomeRecorded():
            return f"the test {_OUTCOME[payload.outcome]}{', forced to be cleaned' if payload.forced else ''}"
        case e.RunFinished():
            return f"the run finished with exit code {payload.exit_code}"
    return type(payload).__name__


_OUTCOME = {
    "passed": "passed",
    "failed": "failed",
    "skipped": "was skipped",
    "interrupted": "was interrupted",
    "unknown": "never said how it ended",
}


def _observed_by_worker(payload: e.Event) -> str:
    match payload:
        case e.ResourceObserved():
            phase = f", {payload.phase}" if payload.phase else ""
            through = f", found through {payload.owner.short}" if payload.owner else ""
            return f"{payload.resource.short} was seen (uid {payload.uid}{phase}{through})"
        case e.RunAbandoned():
            return f"the run was given up for dead: last heartbeat at {payload.last_heartbeat:%H:%M:%S} UTC"
        case e.OrphanFound():
            likely = f"; most likely left by {payload.likely_test}" if payload.likely_test else ""
            return f"{payload.resource.short} was found by the {payload.rule} rule, tracked by nobody{likely}"
        case e.LogsArchived():
            which = f"the{' previous' if payload.previous else ''} log of {payload.resource.short}"
            if payload.missing:
                return f"{which}, container {payload.container}, could not be archived: {payload.missing}"
            cut = ", cut off at the limit" if payload.truncated else ""
            return f"{which}, container {payload.container}, was archived ({payload.size_bytes} bytes{cut})"
    return ""


def _done_by_worker(payload: e.Event) -> str:
    match payload:
        case e.JobSuspended():
            return f"{payload.resource.short} was suspended, so that its pods are not replaced"
        case e.DeletionRequested():
            how = "goes with its suspended Job" if payload.by_suspension else "is to be deleted"
            return f"{payload.resource.short} {how}, uid {payload.uid} (rule {payload.rule})"
        case e.ResourceGone():
            return f"{payload.resource.short} is gone ({payload.how})"
        case e.DeletionFailed():
            return (
                f"attempt {payload.attempt} on {payload.resource.short} failed: {payload.error}; "
                f"the next at {payload.retry_at:%H:%M:%S} UTC"
            )
        case e.DeletionGivenUp():
            after = f"after {payload.attempts} attempts"
            return f"{payload.resource.short} was given up {after}: {payload.diagnosis}"
        case e.ResourcePreserved():
            until = f"{payload.until:%Y-%m-%d %H:%M} UTC"
            return f"{payload.resource.short} is preserved until {until} (rule {payload.rule})"
        case e.ResourceSecured():
            return _secured(payload)
        case e.TtlRestored():
            why_not = f" was not put back: {payload.problem}" if payload.problem else " was put back"
            return f"the ttlSecondsAfterFinished of {payload.resource.short} ({payload.ttl_seconds}){why_not}"
        case e.ResourceKept():
            return f"{payload.resource.short} is kept: {payload.reason or payload.rule}"
        case e.PolicyApplied():
            return (
                f"the pass was over: {payload.gone} gone, {payload.kept} kept, "
                f"{payload.preserved} preserved, {payload.given_up} given up"
            )
        case e.LedgerPruned():
            before = f"{payload.older_than:%Y-%m-%d %H:%M} UTC"
            return f"what the ledger held of {payload.runs} runs from before {before} was removed on purpose"
    return type(payload).__name__


def _secured(payload: e.ResourceSecured) -> str:
    short, ttl = payload.resource.short, f"ttlSecondsAfterFinished ({payload.ttl_seconds})"
    if payload.lifting:
        return f"the {ttl} of {short} is to be lifted while it is kept"
    occupied = Occupied(
        running_pods=payload.running_pods,
        cpu_millicores=payload.cpu_millicores,
        memory_bytes=payload.memory_bytes,
    )
    parts = [f"it holds {occupied}" if occupied.running_pods else "it holds nothing of a quota"]
    parts += [f"its {ttl} is lifted"] if payload.ttl_seconds is not None and not payload.problem else []
    parts += [f"it may go all the same: {payload.problem}"] if payload.problem else []
    return f"{short} was looked after: {'; '.join(parts)}"


def _said_by_person(payload: e.Event) -> str:
    match payload:
        case e.ReleaseRequested():
            level = f" at level {payload.level}" if payload.level else ""
            return f"{payload.who} released {_what(payload)}{level}{_why(payload)}"
        case e.HoldRequested():
            return f"{payload.who} put a hold on {_what(payload)}{_why(payload)}"
        case e.HoldLifted():
            return f"{payload.who} lifted the hold on {_what(payload)}{_why(payload)}"
    return type(payload).__name__


def _what(payload: e.HumanEvent) -> str:
    return payload.resource.short if payload.resource else "everything of it"


def _why(payload: e.HumanEvent) -> str:
    return f": {payload.why}" if payload.why else ""
