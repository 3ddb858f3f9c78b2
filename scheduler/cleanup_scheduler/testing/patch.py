"""The patch types of the API: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge.

Strategic merge knows the merge keys of the lists that people patch, not the whole schema: a list without a
known key is replaced, as Kubernetes does for most lists. Custom resources have no strategic merge, as in
Kubernetes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.statuses import ApiError, bad_request, unsupported_media_type

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

# The list's field name -> the keys that its items are merged by, the first one present in an item wins.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port"),
    "hostAliases": ("ip",),
}
_MERGED_PRIMITIVES = frozenset({"finalizers"})


def apply_patch(content_type: str, current: Object, patch: Any, *, custom: bool) -> Object:
    """The patched copy of ``current``. Raises ApiError for a patch that does not fit."""
    allowed = [JSON_PATCH, MERGE_PATCH] + ([] if custom else [STRATEGIC_PATCH])
    if content_type not in allowed:
        raise unsupported_media_type(", ".join(allowed))
    fresh = copy.deepcopy(current)
    if content_type == JSON_PATCH:
        return _json_patch(fresh, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch must be a JSON object")
    merged = merge(fresh, patch) if content_type == MERGE_PATCH else _strategic(fresh, patch)
    found: Object = merged
    return found


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _strategic(target: Any, patch: Object) -> Object:
    result: Object = target if isinstance(target, dict) else {}
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif key.startswith("$"):
            continue  # $setElementOrder and $retainKeys order and prune; neither changes what a test sees
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            if value.get("$patch") == "delete":
                result.pop(key, None)
            else:
                result[key] = _strategic(result.get(key), value)
        elif isinstance(value, list):
            result[key] = _merge_list(key, result.get(key) or [], value)
        else:
            result[key] = value
    return result


def _merge_list(field: str, current: list[Any], patch: list[Any]) -> list[Any]:
    if field in _MERGED_PRIMITIVES:
        return current + [item for item in patch if item not in current]
    keys = _MERGE_KEYS.get(field)
    if keys is None or not all(isinstance(item, dict) for item in patch):
        return patch
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    result = list(current)
    for item in patch:
        key = next((name for name in keys if name in item), None)
        if key is None:
            raise ApiError(
                400, "BadRequest", f"map: {json.dumps(item)} does not contain declared merge key: {keys[0]}"
            )
        _merge_item(result, key, item)
    return result


def _merge_item(result: list[Any], key: str, item: Object) -> None:
    index = next((i for i, existing in enumerate(result) if existing.get(key) == item[key]), None)
    if item.get("$patch") == "delete":
        if index is not None:
            del result[index]
    elif index is None:
        result.append(_strategic({}, item))
    else:
        result[index] = _strategic(result[index], item)


def _json_patch(document: Any, operations: Any) -> Object:
    if not isinstance(operations, list):
        raise bad_request("a JSON patch must be a list of operations")
    root = {"": document}
    for operation in operations:
        try:
            _apply_operation(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _unprocessable() from error
    found: Object = root[""]
    return found


def _unprocessable() -> ApiError:
    """Kubernetes does not say which operation failed."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, unnamed=True)


def _apply_operation(root: dict[str, Any], operation: Object) -> None:
    kind, path = operation["op"], operation["path"]
    if kind == "test":
        if _lookup(root, path) != operation.get("value"):
            raise ValueError("testing value failed")
        return
    if kind in ("move", "copy"):
        value = copy.deepcopy(_lookup(root, operation["from"]))
        if kind == "move":
            _edit(root, operation["from"], _remove)
        _edit(root, path, _adder(value))
    elif kind == "add":
        _edit(root, path, _adder(operation["value"]))
    elif kind == "remove":
        _edit(root, path, _remove)
    elif kind == "replace":
        _edit(root, path, _replacer(operation["value"]))
    else:
        raise ValueError(f"unexpected kind: {kind}")


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


def _child(value: Any, step: str) -> Any:
    return value[int(step)] if isinstance(value, list) else value[step]


def _lookup(root: dict[str, Any], path: str) -> Any:
    value: Any = root
    for step in _steps(path):
        value = _child(value, step)
    return value


def _edit(root: dict[str, Any], path: str, change: Callable[[Any, str], None]) -> None:
    *parents, last = _steps(path)
    value: Any = root
    for step in parents:
        value = _child(value, step)
    change(value, last)


def _remove(container: Any, key: str) -> None:
    del container[int(key) if isinstance(container, list) else key]


def _adder(value: Any) -> Callable[[Any, str], None]:
    def add(container: Any, key: str) -> None:
        if isinstance(container, list):
            container.insert(len(container) if key == "-" else int(key), value)
        else:
            container[key] = value

    return add


def _replacer(value: Any) -> Callable[[Any, str], None]:
    def replace(container: Any, key: str) -> None:
        _child(container, key)  # replacing what is not there is an error
        container[int(key) if isinstance(container, list) else key] = value

    return replace
