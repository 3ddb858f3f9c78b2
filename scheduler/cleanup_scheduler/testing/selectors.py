"""Label and field selectors, parsed once into a predicate. Refuses what Kubernetes refuses, with 400."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.statuses import bad_request

Labels = Mapping[str, str]
LabelPredicate = Callable[[Labels], bool]

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s+\(([^)]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*({_VALUE})$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")
_TOP_LEVEL_COMMA = re.compile(r",(?![^()]*\))")


def parse_labels(text: str) -> LabelPredicate | None:
    """A predicate for ``a=b,c in (d,e),!f``; None selects everything."""
    if not text.strip():
        return None
    predicates = [_label_term(term.strip(), text) for term in _TOP_LEVEL_COMMA.split(text)]
    if len(predicates) == 1:
        return predicates[0]
    return lambda labels: all(predicate(labels) for predicate in predicates)


def _label_term(term: str, whole: str) -> LabelPredicate:
    if found := _SET.match(term):
        key, operator, values = found[1], found[2], {value.strip() for value in found[3].split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(term):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(term):
        absent, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) is not absent
    raise bad_request(f"unable to parse requirement: {term!r} in the selector {whole!r}")


def parse_label_selector(selector: Object | None) -> LabelPredicate:
    """A predicate for a ``LabelSelector`` object (matchLabels, matchExpressions); an empty one selects
    everything.
    """
    selector = selector or {}
    wanted: dict[str, str] = dict(selector.get("matchLabels") or {})
    terms: list[LabelPredicate] = [lambda labels: wanted.items() <= dict(labels).items()]
    terms += [_expression(expression) for expression in selector.get("matchExpressions") or ()]
    return lambda labels: all(term(labels) for term in terms)


def _expression(expression: Object) -> LabelPredicate:
    key, operator = expression["key"], expression["operator"]
    values = set(expression.get("values") or ())
    table: dict[str, LabelPredicate] = {
        "In": lambda labels: labels.get(key) in values,
        "NotIn": lambda labels: labels.get(key) not in values,
        "Exists": lambda labels: key in labels,
        "DoesNotExist": lambda labels: key not in labels,
    }
    if operator not in table:
        raise bad_request(f"{operator!r} is not a valid label selector operator")
    return table[operator]


def parse_fields(text: str) -> list[tuple[str, str, bool]]:
    """``a=b,c!=d`` as ``(field, value, wanted equal)``."""
    terms = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        if "!=" in term:
            field, _, value = term.partition("!=")
            terms.append((field.strip(), value.strip(), False))
        elif "=" in term:
            field, _, value = term.partition("=")
            terms.append((field.strip(), value.strip().removeprefix("="), True))
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    return terms


# Fields that are selected by another name than their own, or that have a value when they are missing.
_STORED_AS = {
    "status.successful": ("status.succeeded", "0"),
    "spec.hostNetwork": ("spec.hostNetwork", "false"),
}


def field_value(obj: Object, path: str) -> str:
    """The value of a dotted path as a field selector compares it: a missing one is the empty string."""
    stored_path, missing = _STORED_AS.get(path, (path, ""))
    value: object = obj
    for step in stored_path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return missing
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
