"""What a person means by ``job/x``, ``jobs x``, a uid, a test id or a run id.

Refuses to guess: where a word fits several things the error lists them and how to name each one.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from cleanup_scheduler.domain.resources import Malformed, canonical_kind, check_name, singular
from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.errors import UnknownName, UsageError
from cleanup_scheduler.reports.source import Found, Source

_MAX_CANDIDATES: Final = 10
_RUNS_FOR_HINTS: Final = 50
_SHORTEST_PREFIX: Final = 6


class Target(msgspec.Struct, kw_only=True):
    """One run, the scopes of one test, or one object (which several scopes may have tracked)."""

    kind: Literal["run", "test", "resource"]
    title: str
    run: Run | None = None
    scopes: list[tuple[Run, Scope]] = []
    resources: list[Found] = []


def resolve_target(
    source: Source, words: Sequence[str], *, namespace: str | None = None, run: str | None = None
) -> Target:
    """The one thing that ``words`` name. ``run`` and ``namespace`` narrow it.

    Raises :class:`UnknownName` when there is nothing of that name and :class:`UsageError` when there are
    several.
    """
    narrowed = resolve_run(source, run).run_id if run else None
    if len(words) == 2:
        return _resource(source, words[0], words[1], namespace, narrowed)
    if len(words) != 1:
        raise UsageError("name one thing", hint="like job/NAME, `jobs NAME`, a uid, a test id or a run id")
    word = words[0]
    kind, slash, name = word.partition("/")
    if slash and "/" not in name and "::" not in word and _can_be_resource(kind, name):
        found = _tests(source, word, narrowed)
        return found or _resource(source, kind, name, namespace, narrowed)
    return _by_word(source, word, namespace, narrowed)


def resolve_run(source: Source, word: str) -> Run:
    """The run with that id, the one whose id begins so, or ``last``."""
    runs = list(source.all_runs())
    if word == "last" and runs:
        return runs[0]
    matches = [run for run in runs if run.run_id == word]
    if not matches and len(word) >= _SHORTEST_PREFIX:
        matches = [run for run in runs if run.run_id.startswith(word)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise _ambiguous(f"run {word}", (run.run_id for run in matches))
    raise UnknownName(f"no run {word!r} in the ledger", hint="`cleanup-cli runs` lists them")


def _can_be_resource(kind: str, name: str) -> bool:
    try:
        canonical_kind(kind)
        check_name(name)
    except Malformed:
        return False
    return True


def _by_word(source: Source, word: str, namespace: str | None, run_id: str | None) -> Target:
    try:
        run = resolve_run(source, word)
        return Target(kind="run", title=f"run {run.run_id}", run=run, scopes=_scopes(source, run))
    except UnknownName:
        pass  # then it may be one of the other things
    target = _tests(source, word, run_id) or _by_name_or_uid(source, word, namespace, run_id)
    if target is None:
        known = {scope.test_id for _, scope in _recent_scopes(source)}
        raise UnknownName(
            f"nothing in the ledger is called {word!r}: no run, test, name or uid",
            hint=_nearest(word, known) or "a resource is named like job/NAME",
        )
    return target


def _scopes(source: Source, run: Run) -> list[tuple[Run, Scope]]:
    return [(run, scope) for scope in source.scopes_of(run.run_id)]


def _tests(source: Source, test_id: str, run_id: str | None) -> Target | None:
    """The attempts of that test in one run: the newest, or the only one that still has something."""
    by_run: dict[str, list[tuple[Run, Scope]]] = {}
    for run, scope in source.find_scopes(test_id):
        if run_id in (None, run.run_id):
            by_run.setdefault(run.run_id, []).append((run, scope))
    if not by_run:
        return None
    still = [run for run, pairs in by_run.items() if any(_has_something(scope) for _, scope in pairs)]
    if len(still) > 1:
        raise _ambiguous(f"test {test_id}", (f"--run {run}" for run in still))
    pairs = by_run[still[0] if still else next(iter(by_run))]
    return Target(kind="test", title=f"test {test_id}", run=pairs[0][0], scopes=pairs)


def _has_something(scope: Scope) -> bool:
    return any(resource.status != "gone" for resource in scope.own())


def _by_name_or_uid(source: Source, word: str, namespace: str | None, run_id: str | None) -> Target | None:
    found = [
        entry
        for entry in source.find_resources("", word, namespace=namespace)
        if run_id in (None, entry[0].run_id)
    ]
    kinds = {resource.ref.short for _, _, resource in found}
    if len(kinds) > 1:
        raise _ambiguous(word, sorted(kinds))
    return _one_place(found, kinds.pop()) if found else None


def _resource(source: Source, kind: str, name: str, namespace: str | None, run_id: str | None) -> Target:
    try:
        canonical, checked = canonical_kind(kind), check_name(name)
    except Malformed as error:
        raise UsageError(str(error)) from error
    short = f"{singular(canonical)}/{checked}"
    found = [
        entry
        for entry in source.find_resources(canonical, checked, namespace=namespace)
        if run_id in (None, entry[0].run_id)
    ]
    if not found:
        names = {r.ref.short for _, scope in _recent_scopes(source) for r in scope.resources.values()}
        raise UnknownName(
            f"{short} is not in the ledger{f' in namespace {namespace}' if namespace else ''}",
            hint=_nearest(short, names) or "`cleanup-cli report` lists what is",
        )
    return _one_place(found, short)


def _one_place(found: list[Found], short: str) -> Target:
    places = {(r.ref.cluster, r.ref.namespace) for _, _, r in found}
    if len(places) > 1:
        raise _ambiguous(short, (f"-n {space} (cluster {cluster})" for cluster, space in sorted(places)))
    return Target(kind="resource", title=short, resources=found)


def still_there(target: Target) -> list[Found]:
    """The entries of a named object that are not gone; several objects under one name are ambiguous."""
    there = [entry for entry in target.resources if entry[2].status != "gone"]
    uids = {resource.uid for _, _, resource in there if resource.uid}
    if len(uids) > 1:
        raise _ambiguous(
            target.title,
            (f"uid {r.uid} (run {run.run_id}, {r.status})" for run, _, r in there if r.uid),
        )
    return there


def _recent_scopes(source: Source) -> Iterable[tuple[Run, Scope]]:
    for run in itertools.islice(source.all_runs(), _RUNS_FOR_HINTS):
        yield from _scopes(source, run)


def _nearest(word: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {nearest[0]}?" if nearest else ""


def _ambiguous(what: str, candidates: Iterable[str]) -> UsageError:
    listed = list(dict.fromkeys(candidates))
    more = f" and {len(listed) - _MAX_CANDIDATES} more" if len(listed) > _MAX_CANDIDATES else ""
    return UsageError(f"{what} is ambiguous", hint=f"say which: {'; '.join(listed[:_MAX_CANDIDATES])}{more}")
