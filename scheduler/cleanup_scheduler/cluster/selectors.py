"""Label selectors as callers of this package write them; what cannot be read is a :class:`UsageError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cleanup_scheduler.domain import selectors
from cleanup_scheduler.domain.resources import Malformed
from cleanup_scheduler.domain.selectors import Selector
from cleanup_scheduler.errors import UsageError

__all__ = ["Selector", "parse_selector", "selector_of"]


def parse_selector(text: str) -> Selector:
    """Read ``app=evaluation,tier in (a, b),!debug``; the error names the part at fault."""
    try:
        return selectors.parse_selector(text)
    except Malformed as error:
        raise UsageError(str(error)) from error


def selector_of(given: Mapping[str, Any]) -> Selector:
    """The selector of a workload's ``spec.selector`` (matchLabels and matchExpressions)."""
    try:
        return selectors.selector_of(given)
    except Malformed as error:
        raise UsageError(str(error)) from error
