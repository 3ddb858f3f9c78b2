"""What has become of one scope: its own events, folded. Only reads, so the most restricted role can."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.policy import Decision, PolicyRules, decide
from cleanup_scheduler.domain.state import Resource, Run, Scope, State

if TYPE_CHECKING:
    from cleanup_scheduler.ledger import Ledger

_BATCH: Final = 1000


class ScopeView:
    """The state of one scope as of the last :meth:`refresh`."""

    def __init__(self, run_id: str, scope_id: str) -> None:
        self._state = State()
        self._run = Run(run_id=run_id)
        self.scope: Scope = self._state.scope(scope_id, run_id)

    def refresh(self, ledger: Ledger) -> Scope:
        """Fold what was appended since."""
        while True:
            events = ledger.read(self._state.position, limit=_BATCH, scope_id=self.scope.scope_id)
            for event in events:
                fold(self._state, event)
            if len(events) < _BATCH:
                return self.scope

    def decision(self, resource: Resource, rules: PolicyRules) -> Decision:
        """What the policy says about it now."""
        return decide(self._run, self.scope, resource, rules, datetime.now(UTC))

    def unfinished(self, rules: PolicyRules) -> list[Resource]:
        """What is due now, or failed and will be tried again: not what waits for a person or a time."""
        return [
            resource
            for resource in self.scope.own()
            if not resource.settled and _is_due(self.decision(resource, rules))
        ]


def _is_due(decision: Decision) -> bool:
    return decision.action == "clean" or decision.rule == "backoff"
