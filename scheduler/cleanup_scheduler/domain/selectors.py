"""Label selectors, read and matched on our side too.

A server that ignores a selector (an old one, a proxy that drops the query) answers with everything; whoever
deletes from such an answer deletes what is not his. So every listed object is matched again here. Refuses
what Kubernetes' own grammar refuses ("Labels and Selectors": equality-based and set-based requirements).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from cleanup_scheduler.domain.resources import Malformed

Operator = Literal["in", "notin", "exists", "absent"]
_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY: Final = rf"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?{_NAME}"
_VALUE: Final = rf"(?:{_NAME})?"
_EXISTS: Final = re.compile(rf"(!?)\s*({_KEY})")
_EQUALS: Final = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_SET: Final = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_COMMA_OUTSIDE_A_SET: Final = re.compile(r",(?![^(]*\))")


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """``notin`` also matches what does not carry the label at all, as in the API."""
        match self.operator:
            case "in":
                return self.key in labels and labels[self.key] in self.values
            case "notin":
                return self.key not in labels or labels[self.key] not in self.values
            case "exists":
                return self.key in labels
            case "absent":
                return self.key not in labels


class Selector(msgspec.Struct, frozen=True):
    """All requirements together; the empty one matches everything. ``text`` is what the API is sent."""

    text: str = ""
    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        for requirement in self.requirements:  # noqa: SIM110 - asked of every object of a long list
            if not requirement.matches(labels):
                return False
        return True


def parse_selector(text: str) -> Selector:
    """Read ``app=evaluation,tier in (a, b),!debug``; raises :class:`Malformed` naming the part at fault."""
    if not text.strip():
        return Selector()
    parts = _COMMA_OUTSIDE_A_SET.split(text)
    return Selector(text.strip(), tuple(_requirement(part.strip(), text) for part in parts))


def selector_of(given: Mapping[str, Any]) -> Selector:
    """The selector of a workload's ``spec.selector`` (matchLabels and matchExpressions)."""
    parts = [f"{key}={value}" for key, value in (given.get("matchLabels") or {}).items()]
    for expression in given.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[expression["operator"]]
        )
    return parse_selector(",".join(parts))


def _requirement(part: str, whole: str) -> Requirement:
    if match := _SET.fullmatch(part):
        key, operator, inside = match.groups()
        values = [value.strip() for value in inside.split(",")]
        if all(re.fullmatch(_VALUE, value) for value in values):
            return Requirement(key, "in" if operator == "in" else "notin", frozenset(values))
    elif match := _EQUALS.fullmatch(part):
        key, operator, value = match.groups()
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))
    elif match := _EXISTS.fullmatch(part):
        return Requirement(match[2], "absent" if match[1] else "exists")
    raise Malformed(
        f"label selector {whole!r}: cannot read {part!r}; "
        "write it like app=evaluation, app!=web, app in (a,b), app or !app"
    )
