"""The paths of the Kubernetes API, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.sandbox.kube_objects import BY_PLURAL, Kind


@dataclass(frozen=True, slots=True)
class Place:
    """What a path points at. `namespace` None: all of them (or a cluster-wide kind); `name` empty: the collection."""

    kind: Kind
    namespace: str | None
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        """RBAC's word: plural, or plural and subresource."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def place(path: str) -> Place | None:
    """Take a path apart; None when it leads nowhere."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace: str | None = None
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] != "status":  # noqa: PLR2004 - namespaces/NAME/RESOURCE
        namespace, rest = rest[1], rest[2:]
    kind = BY_PLURAL.get(rest[0]) if rest else None
    if kind is None or (kind.group, kind.version) != (group, version) or len(rest) > 3:  # noqa: PLR2004 - plural/NAME/SUB
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""  # noqa: PLR2004 - as above
    if subresource and subresource not in kind.subresources:
        return None
    return Place(kind, namespace if kind.namespaced else None, name, subresource)
