"""The three patch languages of the Kubernetes API: JSON patch, merge patch, strategic merge patch.

Where they differ from the letter of their RFCs, they differ as the real server does (compared with one): a JSON patch `test` of
an absent key with value null succeeds where the parent exists, `replace` of an absent key adds it, a patch that does not
apply is 422 without a word about the reason, and a strategic merge puts new list items before those it does not name.
"""

from __future__ import annotations

from typing import Any

from rollout.sandbox.kube_objects import ApiError, Json, copied

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "imagePullSecrets": "name", "conditions": "type", "ownerReferences": "uid", "taints": "key", "tolerations": "",
    "hostAliases": "ip",
}  # fmt: skip


def apply_patch(target: Json, patch: Any, content_type: str) -> Json:  # noqa: ANN401 - JSON as received
    """Apply a patch to a copy. Raises ApiError 400 (malformed), 415 (unknown language), 422 (a test failed)."""
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise _bad_request("json patch: expected a list of operations")
        return _json_patch(target, patch)
    if content_type not in {MERGE_PATCH, STRATEGIC_PATCH}:
        raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}")
    if not isinstance(patch, dict):
        raise _bad_request("patch: expected an object")
    merged = merge(target, patch) if content_type == MERGE_PATCH else strategic_merge(target, patch)
    return dict(merged)


def merge(target: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON is recursive
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Json) -> Json:  # noqa: ANN401 - JSON is recursive
    """Merge maps like RFC 7386, and lists that have a merge key item by item; `$patch: delete|replace` are understood."""
    if patch.get("$patch") == "replace":
        return {key: copied(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key == "$patch" or key.startswith(("$setElementOrder/", "$retainKeys")):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = strategic_merge(result.get(key), value)
        elif isinstance(value, list):
            result[key] = _merge_list(key, result.get(key), value)
        else:
            result[key] = value
    return result


def _merge_list(name: str, target: Any, patch: list[Any]) -> list[Any]:  # noqa: ANN401 - JSON is recursive
    key = _MERGE_KEYS.get(name, "")
    if name == "ports":
        key = "containerPort" if all("containerPort" in item for item in patch if isinstance(item, dict)) else "port"
    mergeable = bool(key) and all(isinstance(item, dict) and (key in item or "$patch" in item) for item in patch)
    if not mergeable or not isinstance(target, list):
        return [copied(item) for item in patch]
    if any(item.get("$patch") == "replace" and key not in item for item in patch):
        return [copied(item) for item in patch if "$patch" not in item]
    result = list(target)
    added = 0
    for item in patch:
        place = next((i for i, present in enumerate(result) if present.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [present for present in result if present.get(key) != item[key]]
        elif place is None:
            result.insert(added, copied(item))
            added += 1
        else:
            result[place] = strategic_merge(result[place], item)
    return result


def _json_patch(target: Json, operations: list[Any]) -> Json:
    document: Any = copied(target)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise _bad_request("json patch: every operation needs op and path")
        document = _operate(document, operation)
    if not isinstance(document, dict):
        raise _bad_request("json patch: the result is not an object")
    return document


def _operate(document: Any, operation: Json) -> Any:  # noqa: ANN401 - JSON is recursive
    op, path = str(operation["op"]), _pointer(str(operation["path"]))
    match op:
        case "test":
            found, present = _look(document, path)
            wanted = operation.get("value")
            parent, _ = _look(document, path[:-1])
            if (found != wanted) if present else (wanted is not None or not isinstance(parent, dict)):
                raise _unprocessable()
        case "add" | "replace":
            return _set(document, path, copied(operation.get("value")), insert=op == "add")
        case "remove":
            return _remove(document, path)
        case "copy" | "move":
            source = _pointer(str(operation.get("from", "")))
            value, present = _look(document, source)
            if not present:
                raise _unprocessable()
            if op == "move":
                document = _remove(document, source)
            return _set(document, path, copied(value), insert=True)
        case _:
            raise _bad_request(f"json patch: unexpected kind: {op}")
    return document


def _pointer(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _look(document: Any, path: list[str]) -> tuple[Any, bool]:  # noqa: ANN401 - JSON is recursive
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None, False
    return document, True


def _parent(document: Any, path: list[str]) -> Any:  # noqa: ANN401 - JSON is recursive
    parent, present = _look(document, path[:-1])
    if not present or not isinstance(parent, dict | list):
        raise _unprocessable()
    return parent


def _set(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:  # noqa: ANN401 - JSON is recursive
    if not path:
        return value
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
        return document
    index = len(parent) if path[-1] == "-" else int(path[-1]) if path[-1].isdigit() else len(parent) + 1
    if index > len(parent) or (not insert and index == len(parent)):
        raise _unprocessable()
    if insert:
        parent.insert(index, value)
    else:
        parent[index] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:  # noqa: ANN401 - JSON is recursive
    if not _look(document, path)[1]:
        raise _unprocessable()
    parent = _parent(document, path)
    del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]
    return document


def _bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def _unprocessable() -> ApiError:
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})
