"""The resource manager: what a test says about the things that it creates.

Everything said is committed to the ledger before the call returns. Deletes nothing itself: when the scope has
ended, or the test asks for it, the cleaner has a worker do it. What is malformed is a problem for the summary
in a pytest session, so that the test goes on.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cleanup_scheduler.domain.events import (
    Event,
    LevelChanged,
    OutcomeRecorded,
    ReleaseRequested,
    ResourceTracked,
)
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import LEDGER_LABEL, RUN_LABEL, SCOPE_LABEL
from cleanup_scheduler.domain.resources import Level, Malformed, Outcome, ResourceRef, make_ref
from cleanup_scheduler.errors import UsageError
from cleanup_scheduler.ids import new_id

from pytest_cleanup_scheduler.problems import TEST_ID_VARIABLE, caller
from pytest_cleanup_scheduler.scope_view import ScopeView
from pytest_cleanup_scheduler.wishes import Chosen, LevelSources, check_level, check_wait

if TYPE_CHECKING:
    from pytest_cleanup_scheduler.cleaning import Cleaned
    from pytest_cleanup_scheduler.runtime import Runtime

_GENERATED_SUFFIX_BYTES: Final = 4


class ResourceManager:
    """One scope as its test sees it. Make it with the fixture ``resource_manager`` or the context manager."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        test_id: str,
        sources: LevelSources,
        forced: bool,
        wait_after_seconds: float,
    ) -> None:
        self._runtime = runtime
        self.test_id, self.scope_id = test_id, new_id()
        self.forced, self.wait_after_seconds = forced, wait_after_seconds
        self._sources = sources
        self._environment_before: dict[str, str | None] = {}
        self.view = ScopeView(runtime.run_id, self.scope_id)
        self.refs: dict[ResourceRef, str] = {}
        self.labels_used = False
        self.outcome: Outcome | None = None
        self.failed_so_far = False

    def __repr__(self) -> str:
        return f"<ResourceManager {self.test_id!r} level={self.cleanup_level} tracked={len(self.refs)}>"

    # ---- what a test says --------------------------------------------------------------------------------

    def track_resource(self, kind: str, name: str, namespace: str | None = None) -> None:
        """This object is this test's own: clean it up afterwards.

        ``kind`` is written as kubectl takes it: ``jobs``, ``job``, ``po``, ``widgets.example.com``.
        ``namespace`` is the configured one when not given. The object need not exist yet.
        """
        ref = self._ref(kind, name, namespace)
        if ref is not None:
            self._track(ref)

    def create(self, manifest: Mapping[str, Any], namespace: str | None = None) -> ObservedObject:
        """Create the object that ``manifest`` describes, labelled as this test's own.

        The intent is committed before the call: an object whose creator died in between is found again.
        Raises :class:`UsageError` for a manifest without kind or name, and what the cluster answers.
        """
        body = labelled(manifest, self.labels)
        metadata = body["metadata"]
        where = namespace or metadata.get("namespace") or self._runtime.target.namespace
        api_group = str(body.get("apiVersion", "")).rpartition("/")[0]
        kind = f"{body['kind']}.{api_group}" if api_group else str(body["kind"])
        try:
            ref = make_ref(self._runtime.target.name, where, kind.lower(), metadata["name"])
        except Malformed as error:
            raise UsageError(str(error), hint="mend the manifest") from error
        self._track(ref, intent=True)
        created = self._runtime.cleaner.create(body, where)
        self.append(ResourceTracked(resource=ref, uid=created.uid))
        return created

    @property
    def cleanup_level(self) -> Level:
        """The level that holds for this test: ``none``, ``pods`` or ``all``."""
        return self.chosen.level

    @cleanup_level.setter
    def cleanup_level(self, level: str) -> None:
        try:
            checked = check_level(level)
        except UsageError as error:
            self._runtime.complain(error, caller())
            checked = "none"  # nothing is deleted on the strength of a misspelt word
        self._sources = self._sources._replace(set_in_test=checked)
        self.append(LevelChanged(level=self.chosen.level, level_source=self.chosen.source))

    def cleanup(self, force: bool = False, wait_after: float | None = None) -> Cleaned:  # noqa: FBT001
        """Clean up now what was tracked so far, at the level that holds, and wait until it is freed.

        A test that has already failed keeps its things, unless ``force``, which also forgives a failure that
        comes later. ``wait_after``: at most so many seconds. At level ``none`` nothing happens.
        """
        wait_seconds = self.wait_after_seconds if wait_after is None else self._checked_wait(wait_after)
        if force and not self.forced:
            self.forced = True
            level, source = self.chosen
            self.append(LevelChanged(level=level, level_source=source, forced=True))
        if self.cleanup_level != "none" and (force or not self.failed_so_far):
            self.release("test", "resource_manager.cleanup()")
        return self._runtime.cleaner.clean([self], wait_seconds)

    # ---- for programs that create on the test's behalf ---------------------------------------------------

    @property
    def labels(self) -> dict[str, str]:
        """Labels for what is created on this test's behalf, so that it is found even if never tracked."""
        self.labels_used = True
        ledger = self._runtime.recorder.ledger()
        labels = {
            RUN_LABEL: self.run_id,
            SCOPE_LABEL: self.scope_id,
            "test-id": self._runtime.platform_test_id or self.scope_id,
        }
        return labels if ledger is None else {LEDGER_LABEL: ledger.ledger_id, **labels}

    @property
    def environment(self) -> dict[str, str]:
        """The same for programs that are started by this test; set in ``os.environ`` while it runs."""
        ledger = self._runtime.recorder.ledger()
        variables = {
            "CLEANUP_SCHEDULER_RUN_ID": self.run_id,
            "CLEANUP_SCHEDULER_SCOPE_ID": self.scope_id,
            TEST_ID_VARIABLE: self._runtime.platform_test_id or self.scope_id,
        }
        return variables if ledger is None else {"CLEANUP_SCHEDULER_LEDGER_ID": ledger.ledger_id, **variables}

    @property
    def run_id(self) -> str:
        """The run that the scope belongs to."""
        return self._runtime.run_id

    @property
    def namespace(self) -> str:
        """Where things are looked for when a test names no namespace."""
        return self._runtime.target.namespace

    # ---- for the rest of the package ---------------------------------------------------------------------

    @property
    def chosen(self) -> Chosen:
        """The level that holds and who chose it."""
        return self._sources.choose()

    @property
    def worth_a_pass(self) -> bool:
        """Whether there may be anything to clean: something tracked, or labels handed out."""
        return self.cleanup_level != "none" and bool(self.refs or self.labels_used)

    def append(self, payload: Event) -> None:
        """Commit an event of this scope."""
        self._runtime.append(payload, scope_id=self.scope_id)

    def release(self, who: str, why: str) -> None:
        """Clean it up whatever the outcome; the level still holds."""
        self.append(ReleaseRequested(who=who, why=why, level=self.cleanup_level))

    def track_found(self, seen: ObservedObject) -> None:
        """What carries this scope's labels, though the test never named it."""
        self.refs[seen.ref] = ""
        self.append(ResourceTracked(resource=seen.ref, uid=seen.uid))

    def end(self, outcome: Outcome) -> None:
        """The attempt is over."""
        self.outcome = outcome
        self.append(OutcomeRecorded(outcome=outcome, forced=self.forced))

    def clean(self) -> Cleaned:
        """After the end: have done what is due, wait until it is freed."""
        return self._runtime.cleaner.clean([self], self.wait_after_seconds)

    def enter_environment(self) -> None:
        """Set the variables for child processes."""
        variables = self.environment
        self._environment_before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)

    def leave_environment(self) -> None:
        """Put back what was there."""
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment_before = {}

    def _track(self, ref: ResourceRef, *, intent: bool = False) -> None:
        self.refs.setdefault(ref, caller())
        self.append(ResourceTracked(resource=ref, intent=intent))

    def _ref(self, kind: str, name: str, namespace: str | None) -> ResourceRef | None:
        try:
            return make_ref(self._runtime.target.name, namespace or self.namespace, kind, name)
        except (Malformed, TypeError) as error:
            reason = (
                str(error) if isinstance(error, Malformed) else f"track_resource({kind!r}, {name!r}): {error}"
            )
            self._runtime.complain(UsageError(reason, hint="it is not tracked"), caller())
            return None

    def _checked_wait(self, wait_after: float) -> float:
        try:
            return check_wait(wait_after)
        except UsageError as error:
            self._runtime.complain(error, caller())
            return self.wait_after_seconds


def labelled(manifest: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the manifest with a name of its own and with ``labels`` on it and on its pod template."""
    metadata = dict(manifest.get("metadata") or {})
    if not manifest.get("kind") or not (metadata.get("name") or metadata.get("generateName")):
        raise UsageError("the manifest has no kind or no metadata.name", hint="mend the manifest")
    if not metadata.get("name"):
        # the name must be known before the call; the API server would add five characters itself
        metadata["name"] = f"{metadata.pop('generateName')}{secrets.token_hex(_GENERATED_SUFFIX_BYTES)}"
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    body = {**manifest, "metadata": metadata}
    template = (body.get("spec") or {}).get("template")
    if isinstance(template, Mapping):
        inner = dict(template.get("metadata") or {})
        inner["labels"] = {**(inner.get("labels") or {}), **labels}
        body["spec"] = {**body["spec"], "template": {**template, "metadata": inner}}
    return body
