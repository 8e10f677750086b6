"""managedFields: who last wrote which field, so that foreign writers can be found and named.

The shape is that of the API server (fieldsV1 with `f:` and `k:` keys). Lists whose items have a name are tracked item by
item, other lists as one field.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rollout.sandbox.kube_objects import Json, stamp

Path = tuple[str, ...]

_SKIPPED = frozenset({
    "apiVersion", "kind", "status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation",
    "metadata.uid", "metadata.creationTimestamp", "metadata.name", "metadata.namespace", "metadata.ownerReferences",
    "metadata.generateName", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds",
})  # fmt: skip


def _leaves(value: Any, path: Path, plain: str) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - JSON is recursive
    if plain in _SKIPPED:
        return
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, f"f:{key}"), f"{plain}.{key}" if plain else key)
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            yield from _leaves(item, (*path, f'k:{{"name":"{item["name"]}"}}'), f"{plain}[]")
    else:
        yield path, value


def _tree(paths: set[Path]) -> Json:
    root: Json = {}
    for path in sorted(paths):
        node = root
        for part in path:
            node = node.setdefault(part, {})
    return root


def _paths(tree: Json, path: Path = ()) -> Iterator[Path]:
    for key, below in tree.items():
        if below:
            yield from _paths(below, (*path, key))
        else:
            yield (*path, key)


def with_owners(old: Json | None, new: Json, manager: str, at: datetime, subresource: str = "", operation: str = "Update") -> Json:
    """Set `metadata.managedFields` of a new state: what it changed is now this manager's, and nobody else's."""
    before = dict(_leaves(old, (), "")) if old is not None else {}
    after = dict(_leaves(new, (), ""))
    missing = object()
    written = {path for path, value in after.items() if before.get(path, missing) != value}
    if old is not None and not written and before.keys() == after.keys():
        return new
    entries: list[Json] = []
    mine: set[Path] = set(written)
    for entry in (old["metadata"].get("managedFields") or []) if old is not None else []:
        kept = {path for path in _paths(entry["fieldsV1"]) if path in after and path not in written}
        if (entry["manager"], entry.get("subresource", ""), entry["operation"]) == (manager, subresource, operation):
            mine |= kept
        elif kept:
            entries.append({**entry, "fieldsV1": _tree(kept)})
    if mine:
        entry = {"manager": manager, "operation": operation, "apiVersion": new["apiVersion"], "time": stamp(at)}
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": _tree(mine)}
        entries.append(entry | ({"subresource": subresource} if subresource else {}))
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}
