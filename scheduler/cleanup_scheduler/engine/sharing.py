"""Who else a resource belongs to: two tests may track the same thing, and the one that ends first must wait.

Looks at the scopes that are open now; refuses to remember them longer than a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cleanup_scheduler.domain.policy import PolicyRules, Veto, decide
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import Resource, Run, Scope
from cleanup_scheduler.engine.clock import Clock

_FRESH_SECONDS: Final = 0.5
_MUCH: Final = 1000


class Sharing:
    """An index of the open scopes' resources by address."""

    def __init__(
        self, open_scopes: Callable[[], list[tuple[Run, Scope]]], rules: PolicyRules, clock: Clock
    ) -> None:
        self._open_scopes, self._rules, self._clock = open_scopes, rules, clock
        self._built_at = float("-inf")
        self._position = -1
        self._index: dict[ResourceRef, list[tuple[Run, Scope, Resource]]] = {}

    def refresh(self, position: int) -> None:
        """Index anew what is open at that position of the ledger; when it is much, twice a second at most."""
        now = self._clock.monotonic()
        if position == self._position:
            return
        if len(self._index) > _MUCH and now - self._built_at < _FRESH_SECONDS:
            return
        self._built_at, self._position = now, position
        self._index = {}
        for run, scope in self._open_scopes():
            for resource in scope.own():
                self._index.setdefault(resource.ref, []).append((run, scope, resource))

    def veto(self, scope_id: str, resource: Resource, uid: str) -> Veto | None:
        """Why another scope's interest keeps it for now; None when nobody else has one."""
        for run, scope, other in self._index.get(resource.ref, ()):
            if scope.scope_id == scope_id or (uid and other.uid not in ("", uid)):
                continue
            veto = self._interest(run, scope, other)
            if veto is not None:
                return veto
        return None

    def _interest(self, run: Run, scope: Scope, other: Resource) -> Veto | None:
        decision = decide(run, scope, other, self._rules, self._clock.now(), found=())
        test = scope.test_id or scope.scope_id
        if decision.rule == "scope-open":
            return Veto(rule="shared-open", reason=f"{test}, which tracks it too, has not ended")
        if decision.rule == "hold":
            return Veto(rule="shared-hold", reason=f"{test} tracks it too and is {decision.reason}")
        if decision.action == "preserve":
            return Veto(rule="shared-preserved", reason=f"{test}, which tracks it too, failed")
        return None
