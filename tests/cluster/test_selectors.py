"""Label selectors mean on our side what they mean to the API."""

from __future__ import annotations

import pytest
from cleanup_scheduler.cluster.selectors import parse_selector, selector_of
from cleanup_scheduler.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("", {}, True),
        ("app=evaluation", {"app": "evaluation"}, True),
        ("app==evaluation", {"app": "evaluation"}, True),
        ("app=evaluation", {"app": "web"}, False),
        ("app=evaluation", {}, False),
        ("app!=web", {"app": "web"}, False),
        ("app!=web", {"app": "evaluation"}, True),
        ("app!=web", {}, True),
        ("app in (a, b)", {"app": "b"}, True),
        ("app in (a,b)", {"app": "c"}, False),
        ("app in (a,b)", {}, False),
        ("app notin (a,b)", {"app": "c"}, True),
        ("app notin (a,b)", {}, True),
        ("app notin (a,b)", {"app": "a"}, False),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("! app", {"app": "x"}, False),
        ("app=", {"app": ""}, True),
        ("app=,tier in (x)", {"app": "", "tier": "x"}, True),
        ("a=1,b in (2,3),!c", {"a": "1", "b": "3"}, True),
        ("a=1,b in (2,3),!c", {"a": "1", "b": "3", "c": ""}, False),
        ("batch.kubernetes.io/job-name=x", {"batch.kubernetes.io/job-name": "x"}, True),
    ],
)
def test_a_selector_matches_what_the_api_would_match(
    selector: str, labels: dict[str, str], *, expected: bool
) -> None:
    assert parse_selector(selector).matches(labels) is expected


@pytest.mark.parametrize(
    "selector", ["app=a b", "app in a", "app in (a", "=x", "a=1,,b=2", "app>3", "a=1;b=2", "ä=1", "app=-x"]
)
def test_a_selector_that_does_not_parse_is_refused_naming_the_part(selector: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(selector)
    assert repr(selector) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_selector_of_a_workload_becomes_text_that_the_api_takes() -> None:
    selector = selector_of(
        {
            "matchLabels": {"app": "x"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.text == "app=x,tier in (a,b),!old"
    assert selector.matches({"app": "x", "tier": "b"})
    assert not selector.matches({"app": "x", "tier": "b", "old": ""})


_WORDS = st.sampled_from(["a", "b", "c"])


@given(labels=st.dictionaries(_WORDS, _WORDS), key=_WORDS, value=_WORDS)
def test_equality_and_its_negation_never_agree(labels: dict[str, str], key: str, value: str) -> None:
    assert parse_selector(f"{key}={value}").matches(labels) != parse_selector(f"{key}!={value}").matches(
        labels
    )
    assert parse_selector(f"{key}={value}").matches(labels) == (labels.get(key) == value)
