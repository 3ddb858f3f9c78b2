"""Parts of the embedded cluster that the contract suite does not reach: patches, selectors, quantities,
protobuf.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from cleanup_scheduler.testing.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from cleanup_scheduler.testing.protobuf import decode_protobuf
from cleanup_scheduler.testing.quantities import canonical_quantity, format_quantity, parse_quantity
from cleanup_scheduler.testing.schema import wrong_field
from cleanup_scheduler.testing.selectors import field_value, parse_label_selector, parse_labels
from cleanup_scheduler.testing.statuses import ApiError


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/list/0", "value": 0}], {"list": [0, 1, 2], "map": {"a/b": 1}}),
        ([{"op": "add", "path": "/list/-", "value": 3}], {"list": [1, 2, 3], "map": {"a/b": 1}}),
        ([{"op": "remove", "path": "/list/1"}], {"list": [1], "map": {"a/b": 1}}),
        ([{"op": "replace", "path": "/map/a~1b", "value": 2}], {"list": [1, 2], "map": {"a/b": 2}}),
        ([{"op": "move", "from": "/map/a~1b", "path": "/list/0"}], {"list": [1, 1, 2], "map": {}}),
        (
            [{"op": "copy", "from": "/list", "path": "/map/c"}],
            {"list": [1, 2], "map": {"a/b": 1, "c": [1, 2]}},
        ),
        ([{"op": "test", "path": "/list/0", "value": 1}], {"list": [1, 2], "map": {"a/b": 1}}),
    ],
)
def test_a_json_patch_does_each_operation(operations: list[Any], expected: Any) -> None:
    document = {"list": [1, 2], "map": {"a/b": 1}}
    assert apply_patch(JSON_PATCH, document, operations, custom=False) == expected
    assert document == {"list": [1, 2], "map": {"a/b": 1}}, "the original is untouched"


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "/map/none", "value": 1}],
        [{"op": "remove", "path": "/list/9"}],
        [{"op": "test", "path": "/list/0", "value": 7}],
        [{"op": "explode", "path": "/list"}],
        [{"path": "/list"}],
        [{"op": "add", "path": "/list/x", "value": 1}],
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations: list[Any]) -> None:
    with pytest.raises(ApiError) as refused:
        apply_patch(JSON_PATCH, {"list": [1], "map": {}}, operations, custom=False)
    assert refused.value.code == 422


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"containers": [{"name": "b", "image": "2"}]}, ["a:1", "b:2"]),
        ({"containers": [{"name": "a", "image": "2"}]}, ["a:2"]),
        ({"containers": [{"name": "a", "$patch": "delete"}]}, []),
        ({"containers": [{"$patch": "replace"}, {"name": "c", "image": "3"}]}, ["c:3"]),
    ],
)
def test_a_strategic_patch_merges_lists_by_key_or_as_told(patch: Any, expected: list[str]) -> None:
    found = apply_patch(STRATEGIC_PATCH, {"containers": [{"name": "a", "image": "1"}]}, patch, custom=False)
    assert [f"{c['name']}:{c['image']}" for c in found["containers"]] == expected


def test_a_strategic_patch_treats_finalizers_as_a_set() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    added = apply_patch(STRATEGIC_PATCH, before, {"metadata": {"finalizers": ["b", "c"]}}, custom=False)
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    directive = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_patch(STRATEGIC_PATCH, before, directive, custom=False)["metadata"]["finalizers"] == ["b"]


def test_custom_resources_have_no_strategic_patch() -> None:
    assert apply_patch(MERGE_PATCH, {"a": 1}, {"a": None, "b": {"c": None}}, custom=True) == {"b": {}}
    with pytest.raises(ApiError) as refused:
        apply_patch(STRATEGIC_PATCH, {}, {}, custom=True)
    assert refused.value.code == 415


@pytest.mark.parametrize(
    ("selector", "matching"),
    [
        ("", "a=1 | a=2,b | "),
        ("a=1", "a=1"),
        ("a==1", "a=1"),
        ("a!=1", "a=2,b | "),
        ("a in (1, 2),b", "a=2,b"),
        ("a notin (2)", "a=1 | "),
        ("b", "a=2,b"),
        ("!b", "a=1 | "),
        ("!a", ""),
    ],
)
def test_label_selectors_select_as_kubernetes_does(selector: str, matching: str) -> None:
    worlds = {"a=1": {"a": "1"}, "a=2,b": {"a": "2", "b": ""}, "": {}}
    predicate = parse_labels(selector)
    found = [name for name, labels in worlds.items() if predicate is None or predicate(labels)]
    assert found == [name.strip() for name in matching.split("|")]


def test_a_label_selector_object_combines_what_it_says() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "DoesNotExist"},
    ]
    matches = parse_label_selector({"matchLabels": {"app": "x"}, "matchExpressions": expressions})
    assert matches({"app": "x", "a": "2"})
    assert not matches({"app": "x", "a": "3"})
    assert not matches({"app": "x", "a": "2", "b": ""})
    assert not matches({"a": "2"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status.successful", "2"),
        ("spec.hostNetwork", "false"),
        ("spec.nodeName", ""),
        ("spec.suspend", "true"),
        ("status", "{'succeeded': 2}"),
    ],
)
def test_field_selectors_compare_the_text_of_a_field(path: str, value: str) -> None:
    assert field_value({"spec": {"suspend": True}, "status": {"succeeded": 2}}, path) == value


@pytest.mark.parametrize(
    ("text", "number", "written"),
    [
        ("1", Decimal(1), "1"),
        ("1500m", Decimal("1.5"), "1500m"),
        ("2000m", Decimal(2), "2"),
        ("0.1", Decimal("0.1"), "100m"),
        ("1k", Decimal(1000), "1000"),
        ("1Gi", Decimal(2**30), "1Gi"),
        ("1536Mi", Decimal(1536 * 2**20), "1536Mi"),
    ],
)
def test_quantities_are_exact_and_written_canonically(text: str, number: Decimal, written: str) -> None:
    assert parse_quantity(text) == number
    assert format_quantity(number, binary=text.endswith("i")) == written


@pytest.mark.parametrize(
    ("written", "given_back"),
    [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), (9, "9"), ("500M", "500M"), ("many", "many")],
)
def test_quantities_are_given_back_in_their_canonical_form(written: object, given_back: str) -> None:
    assert canonical_quantity(written) == given_back


@pytest.mark.parametrize("text", ["", "many", "1Zi", "--1"])
def test_what_is_no_quantity_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


# What kubectl 1.37 sends for `kubectl create quota evaluation-quota --hard=pods=5,requests.cpu=2`, taken from
# the wire.
RECORDED_QUOTA = bytes.fromhex(
    "6b3873000a130a027631120d5265736f7572636551756f746112480a200a106576616c756174696f6e2d71756f746112"
    "001a0022002a0032003800420012220a0b0a04706f647312030a01350a130a0c72657175657374732e63707512030a01"
    "321a001a002200"
)


def test_a_recorded_body_of_kubectl_is_read() -> None:
    found = decode_protobuf(RECORDED_QUOTA)
    assert (found["apiVersion"], found["kind"]) == ("v1", "ResourceQuota")
    assert found["metadata"]["name"] == "evaluation-quota"
    assert found["spec"]["hard"] == {"pods": "5", "requests.cpu": "2"}


@pytest.mark.parametrize("body", [b"", b"nonsense", RECORDED_QUOTA[:-9], RECORDED_QUOTA + b"\xff"])
def test_a_protobuf_body_that_is_broken_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        decode_protobuf(body)
    assert refused.value.code == 400


def test_a_protobuf_field_that_is_not_known_is_refused_and_not_dropped() -> None:
    unknown_field = b"\x9a\x06\x01x"  # field 99 of the envelope
    with pytest.raises(ApiError, match="field 99"):
        decode_protobuf(RECORDED_QUOTA + unknown_field)


@pytest.mark.parametrize(
    ("kind", "body", "wrong"),
    [
        ("Job", {"spec": {"suspend": "yes"}}, "spec.suspend"),
        ("Job", {"spec": {"parallelism": True}}, "spec.parallelism"),
        ("Job", {"spec": {"template": {"spec": {"containers": {}}}}}, "spec.template.spec.containers"),
        ("ConfigMap", {"data": {"a": 1}}, "data"),
        ("ConfigMap", {"data": {"a": "1"}, "unknown": 7}, ""),
        ("Pod", {"spec": None}, ""),
    ],
)
def test_the_type_of_a_known_field_is_checked(kind: str, body: Any, wrong: str) -> None:
    assert wrong_field(kind, body) == wrong
