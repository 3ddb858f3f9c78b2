"""Whatever producers cause: the fold is deterministic, touches only what an event names, and adds up."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.policy import PolicyRules, decide, next_due
from cleanup_scheduler.domain.resources import LEVELS, OUTCOMES, ResourceRef, make_ref
from cleanup_scheduler.domain.state import Run, Scope, State
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain_world import START, at

REFS = [make_ref("test", "crucible", kind, name) for kind in ("jobs", "pods") for name in ("a", "b")]
refs = st.sampled_from(REFS)
uids = st.sampled_from(["uid-1", "uid-2"])
maybe_uids = st.sampled_from(["", "uid-1", "uid-2"])
owners = st.one_of(st.none(), refs)
times = st.integers(0, 100_000).map(at)
levels, outcomes = st.sampled_from(LEVELS), st.sampled_from(OUTCOMES)
whose = st.one_of(st.none(), refs)
said, source = st.just("x"), st.just("test")
maybe_levels = st.one_of(st.none(), levels)
numbers, flags = st.integers(1, 9), st.booleans()
about = {"resource": refs, "uid": maybe_uids, "owner": owners}
about_uid = {"resource": refs, "uid": uids, "owner": owners}
person = {"who": st.just("ada"), "resource": whose}
PAYLOADS = st.one_of(
    st.builds(e.ScopeOpened, test_id=said, level=levels, level_source=source, forced=flags),
    st.builds(e.LevelChanged, level=levels, level_source=source, forced=flags),
    st.builds(e.ResourceTracked, resource=refs, uid=maybe_uids),
    st.builds(e.OutcomeRecorded, outcome=outcomes, forced=flags),
    st.builds(e.ResourceObserved, **about_uid),
    st.builds(e.OrphanFound, resource=refs, uid=uids, rule=said, level=maybe_levels),
    st.builds(e.JobSuspended, resource=refs, uid=uids),
    st.builds(e.LogsArchived, container=said, **about_uid),
    st.builds(e.DeletionRequested, rule=said, **about_uid),
    st.builds(e.ResourceGone, how=said, **about),
    st.builds(e.DeletionFailed, attempt=numbers, error=said, retry_at=times, **about),
    st.builds(e.DeletionGivenUp, attempts=numbers, diagnosis=said, **about),
    st.builds(e.ResourcePreserved, resource=refs, uid=maybe_uids, until=times, rule=said),
    st.builds(e.ResourceKept, resource=refs, uid=maybe_uids, rule=st.sampled_from(["level-pods", "hold"])),
    st.builds(e.PolicyApplied, level=levels, outcome=outcomes, rule=said),
    st.builds(e.ReleaseRequested, level=maybe_levels, **person),
    st.builds(e.HoldRequested, **person),
    st.builds(e.HoldLifted, **person),
    st.builds(e.RunStarted, name=said, mode=source, cluster=source, namespace=said),
    st.builds(e.RunAbandoned, last_heartbeat=times),
    st.builds(e.RunFinished),
)


@st.composite
def histories(draw: st.DrawFn) -> list[e.StoredEvent]:
    payloads = draw(st.lists(st.tuples(PAYLOADS, st.sampled_from(["one", "two", ""]), times), max_size=25))
    return [
        e.StoredEvent(
            position=position,
            event_id=f"{position:032x}",
            time=time,
            producer="test",
            type=type(payload).__name__,
            version=1,
            payload=payload,
            run_id="run",
            scope_id=scope_id,
        )
        for position, (payload, scope_id, time) in enumerate(payloads, start=1)
    ]


def folded(events: list[e.StoredEvent]) -> State:
    state = State()
    for event in events:
        fold(state, event)
    return state


def as_bytes(state: State) -> bytes:
    return msgspec.json.encode((state.runs, state.scopes, state.position), order="deterministic")


@given(histories())
def test_folding_twice_from_zero_gives_the_same_state(events: list[e.StoredEvent]) -> None:
    assert as_bytes(folded(events)) == as_bytes(folded(events))


@given(histories(), st.integers(0, 25))
def test_a_state_that_was_saved_half_way_and_loaded_goes_on_to_the_same_end(
    events: list[e.StoredEvent], half: int
) -> None:
    state = folded(events[:half])
    again = State()
    again.runs = msgspec.json.decode(msgspec.json.encode(state.runs), type=dict[str, Run])
    again.scopes = msgspec.json.decode(msgspec.json.encode(state.scopes), type=dict[str, Scope])
    again.position = state.position
    for event in events[half:]:
        fold(again, event)
    assert as_bytes(again) == as_bytes(folded(events))


@given(histories())
def test_an_event_of_one_scope_changes_no_other(events: list[e.StoredEvent]) -> None:
    state = folded(events)
    alone = folded([event for event in events if event.scope_id == "one"])
    if "one" in state.scopes:
        assert state.scopes["one"] == alone.scopes["one"]


@given(histories())
def test_every_resource_stays_under_a_key_of_its_own_and_two_never_share_a_uid_at_one_address(
    events: list[e.StoredEvent],
) -> None:
    for scope in folded(events).scopes.values():
        identities = [(r.ref, r.uid) for r in scope.resources.values() if r.uid]
        assert len(identities) == len(set(identities)), identities


@given(histories())
def test_the_policy_decides_in_every_state_and_what_is_held_is_never_due(
    events: list[e.StoredEvent],
) -> None:
    state, rules = folded(events), PolicyRules()
    run = state.run("run")
    for scope in list(state.scopes.values()):
        for resource in scope.resources.values():
            decision = decide(run, scope, resource, rules, START + timedelta(days=2))
            if resource.held_by or scope.held_by or run.held_by:
                assert decision.action in ("keep", "done")
            if resource.status == "gone":
                assert decision.action == "done"
        next_due(run, scope, rules, START)


@given(histories())
def test_what_was_tracked_is_never_lost_from_the_sums(events: list[e.StoredEvent]) -> None:
    def tracked(state: State) -> set[tuple[str, ResourceRef]]:
        return {(s.scope_id, r.ref) for s in state.scopes.values() for r in s.tracked()}

    said = {
        (event.scope_id, event.payload.resource)
        for event in events
        if isinstance(event.payload, e.ResourceTracked) and event.scope_id
    }
    assert tracked(folded(events)) == said
